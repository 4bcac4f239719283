/* Round trips of checkpoints and what reading refuses (P11). */
#include "helpers.h"

static void test_every_dtype_and_rank_round_trips(void **state) {
    char path[PATH_SIZE];
    join(path, state, "a.h5");
    uint8_t data[8 * 64];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37 + 11);
    lk_named_tensor tensors[LK_DTYPE_COUNT + LK_MAX_DIMS + 2];
    char names[LK_DTYPE_COUNT + LK_MAX_DIMS + 2][32];
    int count = 0;
    for (int d = 0; d < LK_DTYPE_COUNT; d++, count++)
        tensors[count].tensor = (lk_tensor){(lk_dtype)d, lk_shape_of(2, (int64_t)3, (int64_t)5), data};
    for (int rank = 0; rank <= LK_MAX_DIMS; rank++, count++) {
        lk_shape shape = {.rank = rank, .dims = {2, 1, 2, 3, 1, 2}};
        tensors[count].tensor = (lk_tensor){LK_F64, shape, data};
    }
    tensors[count++].tensor = (lk_tensor){LK_F32, lk_shape_of(2, (int64_t)0, (int64_t)7), data};
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "/group%d/tensor.%d", i % 3, count - i);
        tensors[i].name = names[i];
    }
    char *long_text = calloc(1, 300001);
    memset(long_text, 'x', 300000);
    lk_named_text texts[] = {{"empty", ""},
                             {"umlaut",
                              "Gr\xc3\xb6\xc3\x9f"
                              "e"},
                             {"long", long_text}};
    lk_error err = {0};
    if (lk_checkpoint_write(path, tensors, count, texts, 3, &err) != LK_OK) fail_msg("%s", err.message);
    lk_checkpoint *c = NULL;
    if (lk_checkpoint_open(&c, path, &err) != LK_OK) fail_msg("%s", err.message);
    assert_int_equal(lk_checkpoint_count(c), count);
    for (int i = 1; i < count; i++)
        assert_true(strcmp(lk_checkpoint_get(c, i - 1)->name, lk_checkpoint_get(c, i)->name) < 0);
    for (int i = 0; i < count; i++) {
        const lk_named_tensor *found = lk_checkpoint_find(c, names[i]);
        assert_non_null(found);
        assert_null(found->tensor.data);
        uint8_t back[sizeof data];
        memset(back, 0xEE, sizeof back);
        size_t bytes = (size_t)lk_shape_count(&tensors[i].tensor.shape) * lk_dtype_size(tensors[i].tensor.dtype);
        assert_int_equal(lk_checkpoint_read(c, names[i], tensors[i].tensor.dtype, &tensors[i].tensor.shape, back, &err),
                         LK_OK);
        assert_memory_equal(back, data, bytes);
        assert_int_equal(back[bytes], 0xEE);
    }
    for (int i = 0; i < 3; i++) assert_string_equal(lk_checkpoint_text(c, texts[i].name), texts[i].text);
    assert_null(lk_checkpoint_text(c, "none"));
    assert_null(lk_checkpoint_find(c, "/group0/none"));
    lk_checkpoint_free(c);
    free(long_text);
}

static void test_equal_content_gives_equal_bytes(void **state) {
    char a[PATH_SIZE], b[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(a, state, "a.h5"), 3, 1000, &err), LK_OK);
    assert_int_equal(write_small(join(b, state, "b.h5"), 3, 1000, &err), LK_OK);
    size_t size_a, size_b;
    char *bytes_a = read_file(a, &size_a), *bytes_b = read_file(b, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    free(bytes_a);
    free(bytes_b);
}

static void test_wrong_name_shape_or_dtype_is_refused(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(path, state, "a.h5"), 1, 6, &err), LK_OK);
    lk_checkpoint *c;
    assert_int_equal(lk_checkpoint_open(&c, path, &err), LK_OK);
    double data[6];
    lk_shape right = lk_shape_of(2, (int64_t)1, (int64_t)6), wrong = lk_shape_of(2, (int64_t)6, (int64_t)1);
    assert_int_equal(lk_checkpoint_read(c, "/model/none", LK_F32, &right, data, &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "has no tensor '/model/none'");
    lk_error_clear(&err);
    assert_int_equal(lk_checkpoint_read(c, "/model/conv1.weight", LK_F32, &wrong, data, &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "'/model/conv1.weight' is float32 1 x 6, wanted float32 6 x 1");
    lk_error_clear(&err);
    assert_int_equal(lk_checkpoint_read(c, "/model/conv1.weight", LK_F64, &right, data, &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "wanted float64");
    lk_checkpoint_free(c);
}

static void expect_open(const char *path, lk_status status, const char *part) {
    lk_error err = {0};
    lk_checkpoint *c = (lk_checkpoint *)&err;
    assert_int_equal(lk_checkpoint_open(&c, path, &err), status);
    assert_null(c);
    assert_sentence(&err, status, part);
    assert_sentence(&err, status, path);
}

static void test_what_is_no_checkpoint_is_refused(void **state) {
    char path[PATH_SIZE];
    expect_open(join(path, state, "missing.h5"), LK_ERR_IO, "No such file");
    expect_open(*state, LK_ERR_DATA, "no regular file");
    write_file(join(path, state, "empty.h5"), "", 0);
    expect_open(path, LK_ERR_DATA, "truncated");
    char text[2000];
    memset(text, 'a', sizeof text);
    write_file(join(path, state, "text.h5"), text, sizeof text);
    expect_open(path, LK_ERR_DATA, "is not a checkpoint");
    write_file(join(path, state, "short.h5"), text, 20);
    expect_open(path, LK_ERR_DATA, "is not a checkpoint");
    assert_int_equal(mkfifo(join(path, state, "pipe"), 0600), 0);
    expect_open(path, LK_ERR_DATA, "no regular file");
}

static void test_names_that_cannot_be_written_are_refused(void **state) {
    char path[PATH_SIZE];
    join(path, state, "names.h5");
    float x = 1;
    const char *bad[] = {"model/x", "/text/x", "/index", "", "/model/\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lk_error err = {0};
        lk_named_tensor tensor = {bad[i], {LK_F32, lk_shape_of(0), &x}};
        assert_int_equal(lk_checkpoint_write(path, &tensor, 1, NULL, 0, &err), LK_ERR_INTERNAL);
    }
    lk_error err = {0};
    lk_named_tensor twice[] = {{"/model/x", {LK_F32, lk_shape_of(0), &x}}, {"/model/x", {LK_F32, lk_shape_of(0), &x}}};
    assert_int_equal(lk_checkpoint_write(path, twice, 2, NULL, 0, &err), LK_ERR_INTERNAL);
    assert_sentence(&err, LK_ERR_INTERNAL, "refused '/model/x'");
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(count_files(*state, ".tmp."), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype_and_rank_round_trips),
        cmocka_unit_test(test_equal_content_gives_equal_bytes),
        cmocka_unit_test(test_wrong_name_shape_or_dtype_is_refused),
        cmocka_unit_test(test_what_is_no_checkpoint_is_refused),
        cmocka_unit_test(test_names_that_cannot_be_written_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
