/* TensorBoard event files: framing and checksums. The tensorboard package reads them in tests/parity. */
#include "../io_model/helpers.h"
#include "io/log/crc32c.h"
#include "io/log/events.h"
#include "io/log/predictions.h"

static void test_crc32c(void **state) {
    (void)state;
    /* RFC 3720, appendix B.4. */
    unsigned char zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xFF, sizeof ones);
    for (int i = 0; i < 32; i++) up[i] = (unsigned char)i;
    assert_int_equal(lk_crc32c(zeros, 32), 0x8A9136AA);
    assert_int_equal(lk_crc32c(ones, 32), 0x62A8AB43);
    assert_int_equal(lk_crc32c(up, 32), 0x46DD794E);
    assert_int_equal(lk_crc32c("123456789", 9), 0xE3069283);
    assert_int_equal(lk_crc32c("", 0), 0);
}

static uint32_t get_u32(const char *bytes) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value |= (uint32_t)(unsigned char)bytes[i] << (8 * i);
    return value;
}

/* Walks the records of a file; every checksum must be right. Returns how many there are. */
static int count_records(const char *folder) {
    char path[PATH_SIZE] = "";
    DIR *dir = opendir(folder);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0)
            snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
    closedir(dir);
    size_t size, at = 0;
    char *bytes = read_file(path, &size);
    int count = 0;
    for (; at < size; count++) {
        assert_true(at + 16 <= size);
        size_t length = get_u32(bytes + at);
        assert_int_equal(get_u32(bytes + at + 4), 0);
        assert_int_equal(get_u32(bytes + at + 8), lk_crc32c_masked(bytes + at, 8));
        assert_true(at + 16 + length <= size);
        assert_int_equal(get_u32(bytes + at + 12 + length), lk_crc32c_masked(bytes + at + 12, length));
        at += 16 + length;
    }
    assert_int_equal(at, size);
    free(bytes);
    return count;
}

static void test_records_are_framed(void **state) {
    lk_events *events;
    lk_error err = {0};
    if (lk_events_create(&events, *state, &err) != LK_OK) fail_msg("%s", err.message);
    assert_int_equal(count_records(*state), 1); /* the version, at once */
    for (int i = 0; i < 5000; i++) assert_int_equal(lk_events_scalar(events, "loss/train", i, 0.5 * i, &err), LK_OK);
    assert_int_equal(lk_events_flush(events, &err), LK_OK);
    assert_int_equal(count_records(*state), 5001);
    assert_int_equal(lk_events_scalar(events, "", -1, 0, &err), LK_OK);
    lk_events_free(events); /* flushes */
    assert_int_equal(count_records(*state), 5002);
    lk_events_free(NULL);
}

static void test_two_files_of_one_second_stay_apart(void **state) {
    lk_events *a, *b;
    lk_error err = {0};
    int before = count_files(*state, "tfevents");
    assert_int_equal(lk_events_create(&a, *state, &err), LK_OK);
    assert_int_equal(lk_events_create(&b, *state, &err), LK_OK);
    assert_int_equal(count_files(*state, "tfevents"), before + 2);
    lk_events_free(a);
    lk_events_free(b);
}

static void test_a_missing_folder_is_named(void **state) {
    char path[PATH_SIZE];
    lk_events *events;
    lk_error err = {0};
    assert_int_equal(lk_events_create(&events, join(path, state, "none"), &err), LK_ERR_IO);
    assert_null(events);
    assert_sentence(&err, LK_ERR_IO, "none/events.out.tfevents.");
}

static void test_predictions_of_other_class_counts_are_refused(void **state) {
    char path[PATH_SIZE];
    join(path, state, "predictions.h5");
    int64_t samples[2] = {4, 9};
    int32_t labels[2] = {1, 0};
    float logits[6] = {1, 2, 3, 4, 5, 6};
    const char *names[] = {"a", "b", "c"};
    lk_predictions groups[] = {{"best_f1/test", 2, 3, samples, labels, logits},
                               {"best_loss/test", 2, 2, samples, labels, logits}};
    lk_error err = {0};
    assert_int_equal(lk_predictions_write(path, groups, 2, names, &err), LK_ERR_INTERNAL);
    assert_int_not_equal(access(path, F_OK), 0);
    lk_error_clear(&err);
    assert_int_equal(lk_predictions_write(path, groups, 1, names, &err), LK_OK);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(count_files(*state, ".tmp."), 0);
    assert_int_equal(lk_predictions_write(join(path, state, "none/p.h5"), groups, 1, names, &err), LK_ERR_IO);
    assert_sentence(&err, LK_ERR_IO, "none/p.h5: No such file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_records_are_framed),
        cmocka_unit_test(test_two_files_of_one_second_stay_apart),
        cmocka_unit_test(test_a_missing_folder_is_named),
        cmocka_unit_test(test_predictions_of_other_class_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
