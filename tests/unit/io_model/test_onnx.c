/* ONNX files: what is written reads back, and other files are refused. Other readers are in tests/parity. */
#include "helpers.h"
#include "io/model/base64.h"
#include "io/model/onnx.h"

static lk_onnx *build(float weight, int64_t stride, const char *value) {
    lk_onnx *onnx;
    lk_error err = {0};
    float data[4] = {weight, 2, 3, 4};
    int64_t strides[] = {stride, stride}, index = 7;
    lk_tensor weights = {LK_F32, lk_shape_of(4, (int64_t)1, (int64_t)1, (int64_t)2, (int64_t)2), data};
    lk_tensor scalar = {LK_I64, lk_shape_of(0), &index};
    lk_shape in = lk_shape_of(4, (int64_t)-1, (int64_t)1, (int64_t)8, (int64_t)8),
             out = lk_shape_of(2, (int64_t)-1, (int64_t)16);
    lk_onnx_attribute attributes[] = {{.name = "strides", .kind = LK_ONNX_INTS, .ints = strides, .ints_count = 2},
                                      {.name = "group", .kind = LK_ONNX_INT, .i = 1},
                                      {.name = "alpha", .kind = LK_ONNX_FLOAT, .f = 0.5f}};
    assert_int_equal(lk_onnx_create(&onnx, "test", &err), LK_OK);
    assert_int_equal(lk_onnx_input(onnx, "input", LK_F32, &in, &err), LK_OK);
    assert_int_equal(lk_onnx_output(onnx, "logits", LK_F32, &out, &err), LK_OK);
    assert_int_equal(lk_onnx_initializer(onnx, "conv.weight", &weights, &err), LK_OK);
    assert_int_equal(lk_onnx_initializer(onnx, "index", &scalar, &err), LK_OK);
    for (int i = 0; i < 40; i++) { /* more than the first allocation holds */
        char name[16], before[16];
        snprintf(name, sizeof name, "n%d", i);
        snprintf(before, sizeof before, "n%d", i - 1);
        const char *inputs[] = {i == 0 ? "input" : before, "conv.weight"};
        assert_int_equal(lk_onnx_node(onnx, "Conv", name, inputs, 2, i == 39 ? "logits" : name, attributes, 3, &err),
                         LK_OK);
    }
    assert_int_equal(lk_onnx_metadata(onnx, "meta", value, &err), LK_OK);
    return onnx;
}

static void test_round_trip(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    lk_onnx *onnx = build(1, 2, "{}"), *back = NULL;
    assert_int_equal(lk_onnx_write(onnx, join(path, state, "a.onnx"), &err), LK_OK);
    if (lk_onnx_open(&back, path, &err) != LK_OK) fail_msg("%s", err.message);
    assert_int_equal(lk_onnx_initializer_count(back), 2);
    lk_named_tensor weight = lk_onnx_get_initializer(back, 0), index = lk_onnx_get_initializer(back, 1);
    assert_string_equal(weight.name, "conv.weight");
    assert_int_equal(weight.tensor.shape.rank, 4);
    assert_true(((float *)weight.tensor.data)[3] == 4);
    assert_int_equal(index.tensor.dtype, LK_I64);
    assert_int_equal(index.tensor.shape.rank, 0);
    assert_int_equal(*(int64_t *)index.tensor.data, 7);
    assert_string_equal(lk_onnx_get_metadata(back, "meta"), "{}");
    assert_null(lk_onnx_get_metadata(back, "none"));
    assert_true(lk_onnx_has_input(back, "input"));
    assert_false(lk_onnx_has_input(back, "pixels"));
    assert_int_equal(lk_onnx_check_graph(back, onnx, path, &err), LK_OK);
    lk_onnx_free(onnx);
    lk_onnx_free(back);
}

static void test_graphs_that_differ_are_told_apart(void **state) {
    (void)state;
    lk_onnx *a = build(1, 2, "{}"), *text = build(1, 2, "other"), *weight = build(9, 2, "{}"),
            *node = build(1, 1, "{}");
    lk_error err = {0};
    assert_int_equal(lk_onnx_check_graph(a, text, "x.onnx", &err), LK_OK); /* metadata are no part of the graph */
    assert_int_equal(lk_onnx_check_graph(a, weight, "x.onnx", &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "initialiser 0 ('conv.weight') differs");
    lk_error_clear(&err);
    assert_int_equal(lk_onnx_check_graph(a, node, "x.onnx", &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "node 0 differs");
    lk_error_clear(&err);
    const char *inputs[] = {"logits"};
    assert_int_equal(lk_onnx_node(text, "Relu", "extra", inputs, 1, "extra", NULL, 0, &err), LK_OK);
    assert_int_equal(lk_onnx_check_graph(text, a, "x.onnx", &err), LK_ERR_DATA);
    assert_sentence(&err, LK_ERR_DATA, "41 nodes instead of 40");
    lk_onnx_free(a);
    lk_onnx_free(text);
    lk_onnx_free(weight);
    lk_onnx_free(node);
}

static void expect_refused(const char *path, const char *part) {
    lk_error err = {0};
    lk_onnx *onnx = (lk_onnx *)&err;
    assert_int_equal(lk_onnx_open(&onnx, path, &err), LK_ERR_DATA);
    assert_null(onnx);
    assert_sentence(&err, LK_ERR_DATA, part);
}

static void test_damaged_files_are_refused_or_differ(void **state) {
    char path[PATH_SIZE];
    lk_error err = {0};
    lk_onnx *onnx = build(1, 2, "{}");
    assert_int_equal(lk_onnx_write(onnx, join(path, state, "d.onnx"), &err), LK_OK);
    size_t size;
    char *bytes = read_file(path, &size);
    for (size_t length = 0; length < size; length++) {
        write_file(path, bytes, length);
        lk_onnx *back;
        lk_error_clear(&err);
        if (lk_onnx_open(&back, path, &err) == LK_OK) { /* cut between two fields: only content is missing */
            assert_true(lk_onnx_check_graph(back, onnx, path, &err) != LK_OK ||
                        lk_onnx_get_metadata(back, "meta") == NULL);
            lk_onnx_free(back);
        } else {
            assert_int_equal(err.status, LK_ERR_DATA);
        }
    }
    free(bytes);
    lk_onnx_free(onnx);
    expect_refused(*state, "no regular file");
    write_file(join(path, state, "empty.onnx"), "", 0);
    expect_refused(path, "is empty");
    write_file(path, "hello, world", 12);
    expect_refused(path, "not an ONNX file");
    write_file(path, "\x08\x08", 2);
    expect_refused(path, "'graph' is missing");
}

/* Fields: graph(7) { initializer(5) { dims(1), data_type(2), name(8), raw_data(9) } }. */
static void test_hostile_initialisers_are_refused(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *part;
    } cases[] = {
        {"\x3a\x0d\x2a\x0b\x08\x03\x10\x01\x42\x01x\x4a\x02zz", 15, "another size"},  /* 3 floats in 2 bytes */
        {"\x3a\x0b\x2a\x09\x08\x01\x10\x01\x4a\x03zzz", 13, "is no float32"},         /* no name */
        {"\x3a\x0d\x2a\x0b\x08\x02\x10\x0b\x42\x01x\x4a\x02zz", 15, "is no float32"}, /* double */
        {"\x3a\x0a\x2a\x08\x08\x00\x10\x01\x42\x01x\x20", 12, "does not parse"},      /* a cut field */
        {"\x3a\x07\x2a\x05\x10\x01\x42\x01x", 9, "is no float32"},                    /* no data */
        {"\x3a\x14\x2a\x12\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01\x42\x01x\x4a\x00", 22, "another size"},
    };
    char path[PATH_SIZE];
    join(path, state, "hostile.onnx");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(path, cases[i].bytes, cases[i].size);
        expect_refused(path, cases[i].part);
    }
}

static void test_base64(void **state) {
    (void)state;
    /* RFC 4648, section 10. */
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    lk_error err = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *text, back[8] = "";
        size_t size = strlen(pairs[i][0]);
        assert_int_equal(lk_base64_encode(&text, pairs[i][0], size, &err), LK_OK);
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(lk_base64_decode(back, size, text, &err), LK_OK);
        assert_string_equal(back, pairs[i][0]);
        lk_free(text);
    }
    unsigned char all[256], again[256];
    for (int i = 0; i < 256; i++) all[i] = (unsigned char)(i * 167);
    char *text;
    assert_int_equal(lk_base64_encode(&text, all, sizeof all, &err), LK_OK);
    assert_int_equal(lk_base64_decode(again, sizeof again, text, &err), LK_OK);
    assert_memory_equal(all, again, sizeof all);
    lk_free(text);
    static const char *const bad[] = {"Zm9", "Zm9vZg==", "Zm-v", "====", "Zm9=", "Z=9v"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lk_error_clear(&err);
        char out[4];
        assert_int_equal(lk_base64_decode(out, 3, bad[i], &err), LK_ERR_DATA);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_graphs_that_differ_are_told_apart),
        cmocka_unit_test(test_damaged_files_are_refused_or_differ),
        cmocka_unit_test(test_hostile_initialisers_are_refused),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
