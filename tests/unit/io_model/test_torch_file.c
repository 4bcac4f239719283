/* PyTorch's files: what is read, and that nothing in them is executed or trusted. */
#include <zip.h>

#include "../../fuzz/torch_bytes.h"
#include "helpers.h"
#include "io/model/pickle.h"
#include "io/model/torch_file.h"

static void write_zip(const char *path, const torch_bytes *state, int compressed) {
    static const float values[] = {0, 1, 2, 3, 4, 5};
    static const int64_t counter = 7;
    const struct {
        const char *name;
        const void *bytes;
        size_t size;
    } entries[] = {{"archive/data.pkl", state->data, state->size},
                   {"archive/byteorder", "little", 6},
                   {"archive/data/0", values, sizeof values},
                   {"archive/data/1", &counter, sizeof counter}};
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(zip);
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        zip_source_t *source = zip_source_buffer(zip, entries[i].bytes, entries[i].size, 0);
        int64_t index = zip_file_add(zip, entries[i].name, source, 0);
        assert_true(index >= 0);
        int method = compressed && i == 0 ? ZIP_CM_DEFLATE : ZIP_CM_STORE;
        assert_int_equal(zip_set_file_compression(zip, (zip_uint64_t)index, method, 0), 0);
    }
    assert_int_equal(zip_close(zip), 0);
}

static void write_form(const char *path, const torch_bytes *state, int stream) {
    torch_bytes whole = {0};
    if (!stream) {
        write_zip(path, state, 0);
        return;
    }
    put_stream(&whole, state);
    write_file(path, whole.data, whole.size);
}

static void test_both_forms(void **state) {
    char path[PATH_SIZE];
    for (int stream = 0; stream < 2; stream++) {
        torch_bytes pickle = {0};
        put_state(&pickle, stream);
        write_form(join(path, state, "a.pth"), &pickle, stream);
        lk_torch_file *file;
        lk_error err = {0};
        if (lk_torch_file_open(&file, path, &err) != LK_OK) fail_msg("%s", err.message);
        assert_int_equal(lk_torch_file_count(file), 2);
        assert_string_equal(lk_torch_file_key(file), "");
        const lk_named_tensor *count = lk_torch_file_get(file, 0), *weight = lk_torch_file_get(file, 1);
        assert_string_equal(count->name, "a.count");
        assert_int_equal(count->tensor.dtype, LK_I64);
        assert_string_equal(weight->name, "a.weight");
        float values[6];
        int64_t counter;
        assert_int_equal(lk_torch_file_read(file, 1, values, &err), LK_OK);
        assert_int_equal(lk_torch_file_read(file, 0, &counter, &err), LK_OK);
        const float transposed[] = {0, 2, 4, 1, 3, 5};
        assert_memory_equal(values, transposed, sizeof values);
        assert_int_equal(counter, 7);
        lk_torch_file_free(file);
    }
}

/* Every proper beginning of a file is refused with a sentence. */
static void test_truncated(void **state) {
    char path[PATH_SIZE];
    join(path, state, "cut.pth");
    for (int stream = 0; stream < 2; stream++) {
        torch_bytes pickle = {0};
        size_t size;
        put_state(&pickle, stream);
        write_form(path, &pickle, stream);
        char *whole = read_file(path, &size);
        for (size_t cut = 0; cut < size; cut += stream ? 1 : 7) {
            write_file(path, whole, cut);
            lk_torch_file *file;
            lk_error err = {0};
            assert_int_not_equal(lk_torch_file_open(&file, path, &err), LK_OK);
            assert_sentence(&err, LK_ERR_DATA, "cut.pth");
        }
        free(whole);
    }
}

/* A pickle and what its refusal must say. */
typedef struct hostile {
    const char *bytes;
    size_t size;
    const char *says;
} hostile;
#define HOSTILE(text, says) \
    { text, sizeof text - 1, says }

static const hostile HOSTILES[] = {
    HOSTILE("\x80\x02"
            "cos\nsystem\nX\x02\0\0\0id\x85R.",
            "'os.system'"),
    HOSTILE("\x80\x02"
            "cbuiltins\neval\n.",
            "'builtins.eval'"),
    HOSTILE("\x80\x02"
            "c__builtin__\ngetattr\n.",
            "'__builtin__.getattr'"),
    HOSTILE("\x80\x02"
            "ctorch._utils\n_rebuild_tensor_v3\n.",
            "'torch._utils._rebuild_tensor_v3'"),
    HOSTILE("\x80\x02"
            "ctorch\n\x1b[31mFloatStorage\n.",
            "'torch.?[31mFloatStorage'"),
    HOSTILE("\x80\x04"
            "\x8c\x05posix\x8c\x06system\x93.",
            "'posix.system'"),
    HOSTILE("(S'id'\nios\nsystem\n.", "opcode STRING"),
    HOSTILE("(ios\nsystem\n.", "opcode INST"),
    HOSTILE("(ccollections\nOrderedDict\no.", "opcode OBJ"),
    HOSTILE("ccollections\nOrderedDict\n)\x81.", "opcode NEWOBJ"),
    HOSTILE("P0\n.", "opcode PERSID"),
    HOSTILE("\x82\x01.", "opcode EXT1"),
    HOSTILE("C\x01x.", "opcode SHORT_BINBYTES"),
    HOSTILE("\xff", "opcode unknown to Python (0xff)"),
    HOSTILE("ctorch\nFloatStorage\n)R.", "only names a type"),
    HOSTILE("N)R.", "calls (REDUCE) what is no name"),
    HOSTILE("ccollections\nOrderedDict\n)RNb.", "sets attributes (BUILD)"),
    HOSTILE("N}b.", "sets attributes (BUILD)"),
    HOSTILE("ccollections\nOrderedDict\nN\x85R.", "list of pairs"),
    HOSTILE("ccollections\nOrderedDict\n](NNe\x85R.", "other than pairs"),
    HOSTILE("Nr\xff\xff\xff\x7f.", "gap in its memo"),
    HOSTILE("h\x05.", "never put there"),
    HOSTILE(".", "empty stack"),
    HOSTILE("(.", "mark for a value"),
    HOSTILE("NN.", "left on its stack"),
    HOSTILE("t.", "needs a mark"),
    HOSTILE("Ns.", "empty stack"),
    HOSTILE("NNa.", "no list"),
    HOSTILE("](NNu.", "no dictionary"),
    HOSTILE("}(Nu.", "key without a value"),
    HOSTILE("](K\x01(\x85"
            "e.",
            "mark for a value"),
    HOSTILE("X\xff\xff\xff\xff"
            "abc",
            "middle of an opcode"),
    HOSTILE("cos", "middle of an opcode"),
    HOSTILE("\x80\x09.", "protocol 9"),
    HOSTILE("\x8a\x20"
            "00000000000000000000000000000000.",
            "integer of 32 bytes"),
};

static void test_code_is_refused_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof HOSTILES / sizeof HOSTILES[0]; i++) {
        lk_pickle pickle;
        lk_error err = {0};
        lk_status status =
            lk_pickle_parse(&pickle, (const uint8_t *)HOSTILES[i].bytes, HOSTILES[i].size, "x.pth", &err);
        lk_pickle_free(&pickle);
        if (status == LK_OK) fail_msg("pickle %zu was accepted", i);
        assert_sentence(&err, LK_ERR_DATA, HOSTILES[i].says);
    }
}

static void test_a_pickle_that_contains_itself_ends(void **state) {
    (void)state;
    static const char bytes[] = "}q\0(h\0h\0K\1h\0u."; /* d = {}; d[d] = d; d[1] = d */
    lk_pickle pickle;
    lk_error err = {0};
    assert_int_equal(lk_pickle_parse(&pickle, (const uint8_t *)bytes, sizeof bytes - 1, "x.pth", &err), LK_OK);
    assert_int_equal(pickle.values[pickle.root].count, 2);
    assert_int_equal(lk_pickle_lookup(&pickle, pickle.root, "state_dict"), -1);
    lk_pickle_free(&pickle);
}

/* Changes one number in the pickle of the valid file: element counts, shapes, strides, offsets that do not fit. */
static void test_views_stay_inside_their_storage(void **state) {
    static const struct {
        const char *from, *to, *says;
        size_t size;
    } changes[] = {
        {"(K\2K\3t(K\1K\2t", "(K\2K\4t(K\1K\2t", "more elements than its storage", 12},
        {"(K\2K\3t(K\1K\2t", "(K\2K\3t(K\1K\3t", "reaches outside its storage", 12},
        {"(K\2K\3t(K\1K\2t", "(K\2K\3t(K\4K\2t", "reaches outside its storage", 12},
        {"K\0(K\2K\3t", "K\1(K\2K\3t", "reaches outside its storage", 8},
        {"K\0(K\2K\3t", "K\7(K\2K\3t", "begins outside its storage", 8},
        {"cpuK\6", "cpuK\7", "says", 5},
        {"FloatStorage", "LongSStorage", "torch.LongSStorage", 12},
    };
    char path[PATH_SIZE];
    join(path, state, "view.pth");
    for (int stream = 0; stream < 2; stream++)
        for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
            torch_bytes pickle = {0};
            put_state(&pickle, stream);
            uint8_t *at = memmem(pickle.data, pickle.size, changes[i].from, changes[i].size);
            assert_non_null(at);
            memcpy(at, changes[i].to, changes[i].size);
            write_form(path, &pickle, stream);
            lk_torch_file *file;
            lk_error err = {0};
            assert_int_not_equal(lk_torch_file_open(&file, path, &err), LK_OK);
            assert_sentence(&err, LK_ERR_DATA, changes[i].says);
        }
}

/* Strides of 2^62 must not wrap round. */
static void test_strides_do_not_overflow(void **state) {
    char path[PATH_SIZE];
    torch_bytes pickle = {0}, longer = {0};
    put_state(&pickle, 1);
    uint8_t *at = memmem(pickle.data, pickle.size, "(K\1K\2t", 6);
    assert_non_null(at);
    put(&longer, pickle.data, (size_t)(at - pickle.data));
    put(&longer, "(\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40t", 22);
    put(&longer, at + 6, pickle.size - (size_t)(at - pickle.data) - 6);
    write_form(join(path, state, "wrap.pth"), &longer, 1);
    lk_torch_file *file;
    lk_error err = {0};
    assert_int_not_equal(lk_torch_file_open(&file, path, &err), LK_OK);
    assert_sentence(&err, LK_ERR_DATA, "reaches outside its storage");
}

static void test_zips_that_are_not_from_pytorch(void **state) {
    char path[PATH_SIZE];
    torch_bytes pickle = {0};
    put_state(&pickle, 0);
    write_zip(join(path, state, "deflated.pth"), &pickle, 1);
    lk_torch_file *file;
    lk_error err = {0};
    assert_int_not_equal(lk_torch_file_open(&file, path, &err), LK_OK);
    assert_sentence(&err, LK_ERR_DATA, "is compressed");
}

/* A flipped bit in a storage is found by the archive's checksum. */
static void test_damaged_storage(void **state) {
    char path[PATH_SIZE];
    torch_bytes pickle = {0};
    size_t size;
    put_state(&pickle, 0);
    write_zip(join(path, state, "flip.pth"), &pickle, 0);
    char *bytes = read_file(path, &size);
    const float five = 5;
    char *at = memmem(bytes, size, &five, sizeof five);
    assert_non_null(at);
    at[3] ^= 1;
    write_file(path, bytes, size);
    free(bytes);
    lk_torch_file *file;
    lk_error err = {0};
    float values[6];
    if (lk_torch_file_open(&file, path, &err) != LK_OK) fail_msg("%s", err.message);
    assert_int_not_equal(lk_torch_file_read(file, 1, values, &err), LK_OK);
    assert_sentence(&err, LK_ERR_DATA, "its checksum is wrong");
    lk_torch_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_forms),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_code_is_refused_by_name),
        cmocka_unit_test(test_a_pickle_that_contains_itself_ends),
        cmocka_unit_test(test_views_stay_inside_their_storage),
        cmocka_unit_test(test_strides_do_not_overflow),
        cmocka_unit_test(test_zips_that_are_not_from_pytorch),
        cmocka_unit_test(test_damaged_storage),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
