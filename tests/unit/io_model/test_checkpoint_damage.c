/* Whatever happened to a checkpoint's bytes is found before anything is used (P11). */
#include "helpers.h"
#include "io/model/checkpoint_format.h"

#define COUNT 5000
#define FLIPS 2000

static lk_status open_status(const char *path, lk_error *err) {
    lk_checkpoint *c = NULL;
    lk_error_clear(err);
    lk_status status = lk_checkpoint_open(&c, path, err);
    lk_checkpoint_free(c);
    return status;
}

static void test_every_flipped_byte_is_found(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(path, state, "flip.h5"), 5, COUNT, &err), LK_OK);
    size_t size;
    char *bytes = read_file(path, &size);
    FILE *file = fopen(path, "r+b");
    uint32_t random = 1;
    for (size_t i = 0; i < LK_CHECKPOINT_BLOCK + FLIPS; i++) {
        random = random * 1664525u + 1013904223u;
        size_t at = i < LK_CHECKPOINT_BLOCK ? i : random % size; /* all of the block, then a sample */
        char flipped = (char)(bytes[at] ^ (1 << (random >> 29)));
        fseek(file, (long)at, SEEK_SET);
        fputc(flipped, file);
        fflush(file);
        if (open_status(path, &err) != LK_ERR_DATA) fail_msg("a flip at byte %zu was not found", at);
        assert_sentence(&err, LK_ERR_DATA, path);
        fseek(file, (long)at, SEEK_SET);
        fputc(bytes[at], file);
        fflush(file);
    }
    fclose(file);
    assert_int_equal(read_small(path, COUNT, &err), 5);
    free(bytes);
}

static void test_every_length_but_the_right_one_is_found(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(path, state, "short.h5"), 5, COUNT, &err), LK_OK);
    size_t size;
    char *bytes = read_file(path, &size);
    for (size_t length = 0; length < size; length += length < 600 ? 1 : 97) {
        assert_int_equal(truncate(path, (off_t)length), 0);
        assert_int_equal(open_status(path, &err), LK_ERR_DATA);
        if (length >= 8) assert_sentence(&err, LK_ERR_DATA, "truncated");
        write_file(path, bytes, size);
    }
    FILE *file = fopen(path, "ab");
    fputc(0, file);
    fclose(file);
    assert_int_equal(open_status(path, &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "damaged");
    free(bytes);
}

static void test_a_newer_version_says_so(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    assert_int_equal(write_small(join(path, state, "newer.h5"), 5, 10, &err), LK_OK);
    size_t size;
    char *bytes = read_file(path, &size);
    bytes[8] = 2;
    write_file(path, bytes, size);
    assert_int_equal(open_status(path, &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "format version 2, this program (" LK_VERSION ") reads up to 1");
    free(bytes);
}

/* A file of the block, `index` and nothing else, whose hashes are right. */
static void write_hostile(const char *path, const char *index, int64_t index_offset, int64_t index_length) {
    char bytes[4096] = {0};
    size_t size = LK_CHECKPOINT_BLOCK + strlen(index);
    assert_true(size <= sizeof bytes);
    memcpy(bytes + LK_CHECKPOINT_BLOCK, index, strlen(index));
    write_file(path, bytes, size);
    lk_checkpoint_block block = {
        .length = (int64_t)strlen(index), .index_offset = index_offset, .index_length = index_length};
    FILE *file = fopen(path, "r+b");
    lk_error err = {0};
    assert_int_equal(lk_checkpoint_hash(block.hash, fileno(file), (int64_t)size, path, &err), LK_OK);
    unsigned char head[LK_CHECKPOINT_BLOCK];
    lk_checkpoint_block_write(head, &block);
    assert_int_equal(fwrite(head, 1, sizeof head, file), sizeof head);
    fclose(file);
}

#define TENSOR(name, dtype, shape, offset) \
    "{\"name\":\"" name "\",\"dtype\":\"" dtype "\",\"shape\":" shape ",\"offset\":" offset "}"
#define TEXT(name) "{\"name\":\"" name "\",\"offset\":512,\"length\":200}"
#define INDEX(tensors, texts) "{\"tensors\":[" tensors "],\"texts\":[" texts "]}"

static void test_a_hostile_index_is_refused(void **state) {
    static const struct {
        const char *index, *part;
    } cases[] = {
        {"", "does not parse"},
        {"[]", "missing"},
        {"{\"tensors\":[]}", "missing"},
        {"{\"tensors\":{},\"texts\":[]}", "missing"},
        {"{\"tensors\":[],\"tensors\":[],\"texts\":[]}", "does not parse"},
        {INDEX("3", ""), "name"},
        {INDEX(TENSOR("x", "float32", "[1]", "512"), ""), "name"},
        {INDEX(TENSOR("/x", "complex", "[1]", "512"), ""), "unknown data type"},
        {INDEX(TENSOR("/x", "float32", "[1,1,1,1,1,1,1]", "512"), ""), "at most 6"},
        {INDEX(TENSOR("/x", "float32", "3", "512"), ""), "at most 6"},
        {INDEX(TENSOR("/x", "float32", "[1.0]", "512"), ""), "whole number"},
        {INDEX(TENSOR("/x", "float32", "[-1]", "512"), ""), "does not fit"},
        {INDEX(TENSOR("/x", "float32", "[9223372036854775807,9223372036854775807]", "512"), ""), "does not fit"},
        {INDEX(TENSOR("/x", "float32", "[4611686018427387904]", "512"), ""), "does not fit"},
        {INDEX(TENSOR("/x", "float32", "[60]", "512"), ""), "outside"},
        {INDEX(TENSOR("/x", "float32", "[1]", "511"), ""), "outside"},
        {INDEX(TENSOR("/x", "float32", "[1]", "-8"), ""), "outside"},
        {INDEX(TENSOR("/x", "float32", "[1]", "9223372036854775807"), ""), "outside"},
        {INDEX(TENSOR("/x", "float32", "[1]", "\"512\""), ""), "outside"},
        {INDEX(TENSOR("/x", "float32", "[1]", "512") "," TENSOR("/x", "float32", "[1]", "512"), ""), "twice"},
        {INDEX("", "{\"name\":\"meta\",\"offset\":512,\"length\":600}"), "outside"},
        {INDEX("", "{\"name\":\"meta\",\"offset\":512,\"length\":-1}"), "outside"},
        {INDEX("", "{\"name\":\"meta\",\"offset\":512,\"length\":50},{\"name\":\"b\",\"offset\":512,\"length\":4000}"),
         "outside"},
        {INDEX("", "{\"offset\":512,\"length\":1}"), "name"},
        {INDEX("", TEXT("a") "," TEXT("b") "," TEXT("c") "," TEXT("d") "," TEXT("e")),
         "'d' lies outside"}, /* together */
    };
    char path[PATH_SIZE];
    join(path, state, "hostile.h5");
    lk_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_hostile(path, cases[i].index, LK_CHECKPOINT_BLOCK, (int64_t)strlen(cases[i].index));
        assert_int_equal(open_status(path, &err), LK_ERR_DATA);
        assert_sentence(&err, LK_ERR_DATA, cases[i].part);
    }
    const char *good = INDEX(TENSOR("/x", "float32", "[1]", "512"), "");
    write_hostile(path, good, LK_CHECKPOINT_BLOCK, (int64_t)strlen(good));
    assert_int_equal(open_status(path, &err), LK_OK);
    static const int64_t ranges[][2] = {{0, 10}, {511, 10}, {513, 1000}, {1 << 20, 1}, {512, INT64_C(1) << 61}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        write_hostile(path, good, ranges[i][0], ranges[i][1]);
        assert_int_equal(open_status(path, &err), LK_ERR_DATA);
        assert_sentence(&err, LK_ERR_DATA, "index lies outside");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_flipped_byte_is_found),
        cmocka_unit_test(test_every_length_but_the_right_one_is_found),
        cmocka_unit_test(test_a_newer_version_says_so),
        cmocka_unit_test(test_a_hostile_index_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
