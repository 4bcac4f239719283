/* safetensors: round trip, and headers that must be refused. */
#include "helpers.h"
#include "io/model/safetensors.h"

static void test_round_trip(void **state) {
    char path[PATH_SIZE];
    join(path, state, "a.safetensors");
    uint8_t data[8 * 6];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 31 + 5);
    lk_named_tensor tensors[LK_DTYPE_COUNT + 2];
    char names[LK_DTYPE_COUNT + 2][24];
    int count = 0;
    for (; count < LK_DTYPE_COUNT; count++)
        tensors[count].tensor = (lk_tensor){(lk_dtype)count, lk_shape_of(2, (int64_t)3, (int64_t)2), data};
    tensors[count++].tensor = (lk_tensor){LK_I64, lk_shape_of(0), data};
    tensors[count++].tensor = (lk_tensor){LK_F32, lk_shape_of(2, (int64_t)0, (int64_t)2), data};
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "layer%d.weight", count - i);
        tensors[i].name = names[i];
    }
    lk_named_text texts[] = {{"format", "pt"}, {"meta", "{\"a\": \"\xc3\xbc\"}\n"}};
    lk_error err = {0};
    if (lk_safetensors_write(path, tensors, count, texts, 2, &err) != LK_OK) fail_msg("%s", err.message);
    lk_safetensors *file;
    if (lk_safetensors_open(&file, path, &err) != LK_OK) fail_msg("%s", err.message);
    assert_int_equal(lk_safetensors_count(file), count);
    for (int i = 0; i < count; i++) {
        const lk_named_tensor *found = lk_safetensors_get(file, i);
        int k = 0;
        while (k < count && strcmp(names[k], found->name) != 0) k++;
        assert_true(k < count);
        assert_int_equal(found->tensor.dtype, tensors[k].tensor.dtype);
        assert_true(lk_shape_equal(&found->tensor.shape, &tensors[k].tensor.shape));
        size_t width = lk_dtype_size(found->tensor.dtype);
        assert_memory_equal(found->tensor.data, data, (size_t)lk_shape_count(&found->tensor.shape) * width);
        assert_int_equal((uintptr_t)found->tensor.data % width, 0);
    }
    assert_string_equal(lk_safetensors_metadata(file, "meta"), texts[1].text);
    assert_null(lk_safetensors_metadata(file, "none"));
    lk_safetensors_free(file);
}

static void test_equal_names_are_refused_when_writing(void **state) {
    char path[PATH_SIZE];
    join(path, state, "twice.safetensors");
    float x = 1;
    lk_named_tensor twice[] = {{"a", {LK_F32, lk_shape_of(0), &x}}, {"a", {LK_F32, lk_shape_of(0), &x}}};
    lk_error err = {0};
    assert_int_equal(lk_safetensors_write(path, twice, 2, NULL, 0, &err), LK_ERR_INTERNAL);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* header length, header, and 16 bytes of data. length 0: the header's own. */
static void write_header(const char *path, const char *header, uint64_t length) {
    char bytes[4096] = {0};
    if (length == 0) length = strlen(header);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(length >> (8 * i));
    memcpy(bytes + 8, header, strlen(header));
    write_file(path, bytes, 8 + strlen(header) + 16);
}

static void expect_refused(const char *path, const char *part) {
    lk_error err = {0};
    lk_safetensors *file = (lk_safetensors *)&err;
    assert_int_equal(lk_safetensors_open(&file, path, &err), LK_ERR_DATA);
    assert_null(file);
    assert_sentence(&err, LK_ERR_DATA, part);
    assert_sentence(&err, LK_ERR_DATA, path);
}

#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_hostile_headers_are_refused(void **state) {
    static const struct {
        const char *header, *part;
    } cases[] = {
        {"{", "does not fit"},
        {"{\"a\"", "does not parse"},
        {"[]", "begin with '{'"},
        {"{}", "goes on after"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("a", "F32", "[4]", "[0,16]") "}", "does not parse"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("b", "F32", "[4]", "[0,16]") "}", "overlaps"},
        {"{" ENTRY("a", "F32", "[3]", "[0,12]") "," ENTRY("b", "F32", "[2]", "[8,16]") "}", "overlaps"},
        {"{" ENTRY("a", "F32", "[2]", "[8,16]") "}", "gap"},
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "}", "goes on after"},
        {"{" ENTRY("a", "F32", "[5]", "[0,20]") "}", "outside"},
        {"{" ENTRY("a", "F32", "[4]", "[16,0]") "}", "outside"},
        {"{" ENTRY("a", "F32", "[4]", "[-16,0]") "}", "outside"},
        {"{" ENTRY("a", "F32", "[3]", "[0,16]") "}", "another size"},
        {"{" ENTRY("a", "F32", "[-4]", "[0,16]") "}", "does not fit"},
        {"{" ENTRY("a", "F32", "[9223372036854775807,4]", "[0,16]") "}", "does not fit"},
        {"{" ENTRY("a", "F32", "[4611686018427387908]", "[0,16]") "}", "does not fit"},
        {"{" ENTRY("a", "F32", "[4.0]", "[0,16]") "}", "whole number"},
        {"{" ENTRY("a", "F32", "[1,1,1,1,1,1,4]", "[0,16]") "}", "at most 6"},
        {"{" ENTRY("a", "F8_E4M3", "[16]", "[0,16]") "}", "unknown dtype"},
        {"{" ENTRY("a", "F32", "[4]", "[0]") "}", "data_offsets"},
        {"{" ENTRY("a", "F32", "[4]", "[0,16,16]") "}", "data_offsets"},
        {"{\"a\":3}", "unknown dtype"},
        {"{\"__metadata__\":3," ENTRY("a", "F32", "[4]", "[0,16]") "}", "no mapping"},
        {"{\"__metadata__\":{\"x\":3}," ENTRY("a", "F32", "[4]", "[0,16]") "}", "no text"},
    };
    char path[PATH_SIZE];
    join(path, state, "hostile.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_header(path, cases[i].header, 0);
        expect_refused(path, cases[i].part);
    }
    const char *good = "{" ENTRY("a", "F32", "[4]", "[0,16]") "}";
    write_header(path, good, 0);
    lk_error err = {0};
    lk_safetensors *file;
    assert_int_equal(lk_safetensors_open(&file, path, &err), LK_OK);
    lk_safetensors_free(file);
    static const uint64_t lengths[] = {1, 10, 5000, UINT64_C(1) << 40, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_header(path, good, lengths[i]);
        expect_refused(path, i == 1 ? "does not parse" : "does not fit");
    }
}

static void test_truncated_files_are_refused(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    float x[50] = {0};
    lk_named_tensor tensor = {"a", {LK_F32, lk_shape_of(1, (int64_t)50), x}};
    assert_int_equal(lk_safetensors_write(join(path, state, "t.safetensors"), &tensor, 1, NULL, 0, &err), LK_OK);
    size_t size;
    char *bytes = read_file(path, &size);
    for (size_t length = 0; length < size; length++) {
        write_file(path, bytes, length);
        expect_refused(path, "not a");
    }
    free(bytes);
    expect_refused(*state, "no header"); /* a folder */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_equal_names_are_refused_when_writing),
        cmocka_unit_test(test_hostile_headers_are_refused),
        cmocka_unit_test(test_truncated_files_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
