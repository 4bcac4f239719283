/* Round trip of the format, and what a damaged file does: always a sentence, never wrong bytes. */
#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "io/data/describe.h"
#include "support.h"

enum { COUNT = 23 };

static void check_set(const lk_dataset *set, int64_t count) {
    lk_error err = {0};
    assert_int_equal(set->count, count);
    assert_int_equal(set->class_count, 2);
    assert_string_equal(set->class_names[1], "d\xc3\xb6g");
    assert_int_equal(set->group_count, 3);
    assert_string_equal(set->group_names[2], "eve");
    assert_string_equal(set->stored_rule, "{\"resize\": \"none\"}");
    for (int64_t i = 0; i < count; i++) {
        const lk_sample_info *info = &set->samples[i];
        uint8_t pixels[SIDE * SIDE];
        char source[64];
        check_ok(lk_dataset_read(set, i, pixels, &err), err);
        for (int p = 0; p < SIDE * SIDE; p++) assert_int_equal(pixels[p], pixel_of(i, p));
        assert_int_equal(info->label, i % 2);
        assert_int_equal(info->split, i % 3);
        assert_int_equal(info->group, i % 4 - 1);
        assert_int_equal(info->width, SIDE);
        snprintf(source, sizeof source, "%s/%lld.png", set->class_names[i % 2], (long long)i);
        assert_string_equal(set->sources[i], source);
    }
}

static void test_round_trip(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "a.h5");
    write_set(path, COUNT);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_set(set, COUNT);
    for (int split = 0; split < LK_SPLIT_COUNT; split++) {
        int64_t *indices = NULL, count = 0;
        check_ok(lk_dataset_split(set, (lk_split)split, &indices, &count, &err), err);
        assert_int_equal(count, split == 3 ? 0 : (COUNT - split + 2) / 3);
        for (int64_t i = 0; i < count; i++) assert_int_equal(indices[i], split + 3 * i);
        lk_free(indices);
    }
    check_fails(lk_dataset_read(set, COUNT, NULL, &err), LK_ERR_DATA, "no sample 23", err);
    check_fails(lk_dataset_read(set, -1, NULL, &err), LK_ERR_DATA, "no sample -1", err);
    lk_dataset_free(set);
    lk_dataset_free(NULL);
}

/* A file that version 1 wrote stays readable: it lies in tests/versions/1. */
static void test_version_1(void **state) {
    (void)state;
    lk_error err = {0};
    lk_dataset *set = NULL;
    check_ok(lk_dataset_open(&set, TEST_FOLDER "/../../versions/1/dataset.h5", &err), err);
    check_set(set, COUNT);
    lk_dataset_free(set);
}

/* Payload larger than one segment: samples of 1 MiB, so that 64 fill the first. */
static void test_segments(void **state) {
    enum { BYTES = 1 << 20, MANY = 131 };
    char path[320];
    lk_error err = {0};
    lk_dataset_writer *writer = NULL;
    static const char *const classes[] = {"a", "b"};
    const lk_writer_config config = {.class_names = classes, .class_count = 2};
    uint8_t *pixels = malloc(BYTES), *read = malloc(BYTES);
    path_in(path, state, "big.h5");
    check_ok(lk_dataset_writer_create(&writer, path, &config, &err), err);
    for (int i = 0; i < MANY; i++) {
        memset(pixels, i, BYTES);
        lk_sample_info info = {
            .length = BYTES, .width = 1024, .height = 1024, .label = i % 2, .group = -1, .channels = 1};
        lk_bytes_hash(pixels, BYTES, info.hash);
        check_ok(lk_dataset_writer_append(writer, &info, "x", pixels, &err), err);
    }
    check_ok(lk_dataset_writer_finish(writer, &err), err);
    lk_dataset_writer_free(writer);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Lexists(file, "/data/00002", H5P_DEFAULT) > 0);
    assert_true(H5Lexists(file, "/data/00003", H5P_DEFAULT) == 0);
    H5Fclose(file);
    lk_dataset *set = NULL;
    check_ok(lk_dataset_open(&set, path, &err), err);
    for (int i = 0; i < MANY; i++) {
        check_ok(lk_dataset_read(set, i, read, &err), err);
        memset(pixels, i, BYTES);
        assert_memory_equal(read, pixels, BYTES);
    }
    lk_dataset_free(set);
    free(pixels);
    free(read);
}

/* P17: no write permission and a lock that somebody else holds are no obstacle. */
static void test_read_only_and_locked(void **state) {
    char path[320];
    lk_error err = {0};
    path_in(path, state, "a.h5");
    write_set(path, COUNT);
    assert_int_equal(chmod(path, 0444), 0);
    int held = open(path, O_RDONLY);
    assert_int_equal(flock(held, LOCK_EX), 0);
    lk_dataset *first = NULL, *second = NULL;
    check_ok(lk_dataset_open(&first, path, &err), err);
    check_ok(lk_dataset_open(&second, path, &err), err);
    check_set(second, COUNT);
    lk_dataset_free(first);
    lk_dataset_free(second);
    close(held);
}

static void test_same_bytes(void **state) {
    char a[320], b[320];
    long size_a, size_b;
    path_in(a, state, "a.h5");
    path_in(b, state, "b.h5");
    write_set(a, COUNT);
    sleep(1); /* a time stamp in the file would differ */
    write_set(b, COUNT);
    uint8_t *bytes_a = slurp(a, &size_a), *bytes_b = slurp(b, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, (size_t)size_a);
    free(bytes_a);
    free(bytes_b);
}

static void test_truncated(void **state) {
    char path[320], cut[320];
    long size;
    lk_error err = {0};
    path_in(path, state, "a.h5");
    path_in(cut, state, "cut.h5");
    write_set(path, COUNT);
    uint8_t *bytes = slurp(path, &size);
    for (long length = 0; length < size; length += length < 64 ? 1 : size / 97) {
        lk_dataset *set = NULL;
        spill(cut, bytes, (size_t)length);
        check_fails(lk_dataset_open(&set, cut, &err), LK_ERR_DATA, cut, err);
        assert_null(set);
    }
    spill(cut, bytes, (size_t)size - 1);
    lk_dataset *set = NULL;
    check_fails(lk_dataset_open(&set, cut, &err), LK_ERR_DATA, "truncated", err);
    free(bytes);
}

/* A file cut after it was opened: the read says so. */
static void test_truncated_while_open(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    uint8_t pixels[SIDE * SIDE];
    path_in(path, state, "a.h5");
    write_set(path, COUNT);
    check_ok(lk_dataset_open(&set, path, &err), err);
    assert_int_equal(truncate(path, 700), 0);
    check_fails(lk_dataset_read(set, COUNT - 1, pixels, &err), LK_ERR_DATA, "is truncated", err);
    lk_dataset_free(set);
}

/* One bit of every byte: an error with a sentence, or the very same contents. */
static void test_flipped_bits(void **state) {
    char path[320], bad[320];
    long size, refused = 0, unread = 0;
    path_in(path, state, "a.h5");
    path_in(bad, state, "bad.h5");
    write_set(path, COUNT);
    uint8_t *bytes = slurp(path, &size);
    spill(bad, bytes, (size_t)size);
    int fd = open(bad, O_RDWR);
    for (long at = 0; at < size; at += 5) {
        uint8_t flipped = bytes[at] ^ (uint8_t)(1 << at % 8);
        lk_error err = {0};
        lk_dataset *set = NULL;
        assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
        if (lk_dataset_open(&set, bad, &err) != LK_OK) {
            refused++;
            assert_int_equal(err.status, LK_ERR_DATA);
            assert_non_null(strstr(err.message, bad));
        } else {
            uint8_t pixels[SIDE * SIDE];
            bool damaged = false;
            for (int64_t i = 0; i < set->count; i++) {
                if (lk_dataset_read(set, i, pixels, &err) == LK_OK) continue;
                assert_false(damaged);
                assert_non_null(strstr(err.message, set->sources[i]));
                damaged = true;
            }
            unread += damaged;
            if (!damaged) check_set(set, COUNT);
            lk_dataset_free(set);
        }
        assert_int_equal(pwrite(fd, &bytes[at], 1, at), 1);
    }
    close(fd);
    print_message("%ld of %ld flips refused at open, %ld at read\n", refused, (size + 4) / 5, unread);
    assert_true(unread >= COUNT * SIDE * SIDE / 5 - 1);
    assert_true(refused > size / 5 / 10);
    free(bytes);
}

/* Opens the set for changes by way of HDF5, as somebody with h5py could. */
static hid_t edit(const char *path) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static void set_int_attribute(const char *path, const char *name, int value) {
    hid_t file = edit(path), attribute = H5Aopen(file, name, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
    H5Aclose(attribute);
    H5Fclose(file);
}

static void test_newer_version(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "a.h5");
    write_set(path, COUNT);
    set_int_attribute(path, "version", 2);
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA,
                "has data set format version 2, but lockstep " LK_VERSION " reads up to version 1", err);
    set_int_attribute(path, "version", 0);
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "damaged", err);
    set_int_attribute(path, "version", 1);
    check_ok(lk_dataset_open(&set, path, &err), err);
    lk_dataset_free(set);
}

static void replace_text_attribute(const char *path, const char *name, const char *text) {
    hid_t file = edit(path), type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text));
    H5Adelete(file, name);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, text) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    H5Fclose(file);
}

/* Writes one element of an index array and gives the index the hash that the changed one has, so that what is tested is
 * the check of the value and not that of the hash. */
static void set_element(const char *path, const char *name, hid_t type, int64_t i, int64_t value) {
    hid_t file = edit(path), dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    hsize_t at = (hsize_t)i, one = 1;
    hid_t memory = H5Screate_simple(1, &one, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL);
    assert_true(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    /* The refusal names both hashes' mismatch first; its message is how this test learns that it must follow. */
    lk_error err = {0};
    lk_dataset *set = NULL;
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "does not have the stored hash", err);
}

#include "io/data/format.h"
#include "io/data/index_hash.h"

static void hash_array(lk_index_hash *hash, hid_t file, const char *name) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), type = H5Dget_type(dataset);
    size_t size = (size_t)H5Dget_storage_size(dataset);
    void *array = malloc(size);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, array) >= 0);
    lk_index_hash_add(hash, array, size);
    free(array);
    H5Tclose(type);
    H5Dclose(dataset);
}

static void restore_hash(const char *path) {
    lk_error err = {0};
    lk_index_hash *hash = NULL;
    uint64_t value[2];
    char text[LK_INDEX_HASH_TEXT];
    const char *rule = "{\"resize\": \"none\"}";
    check_ok(lk_index_hash_create(&hash, &err), err);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int i = 0; i < LK_INDEX_FIELD_COUNT; i++) hash_array(hash, file, lk_index_get_column((lk_index_field)i)->path);
    hash_array(hash, file, "/class_names");
    hash_array(hash, file, "/group_names");
    lk_index_hash_add(hash, rule, strlen(rule));
    H5Fclose(file);
    lk_index_hash_get(hash, value);
    lk_index_hash_print(value, text);
    lk_index_hash_free(hash);
    replace_text_attribute(path, "index_hash", text);
}

static void test_index_outside(void **state) {
    static const struct {
        const char *name;
        int64_t value;
        const char *sentence;
    } cases[] = {
        {"/index/offset", 1000000, "points outside its segment"},
        {"/index/offset", COUNT * SIDE * SIDE - SIDE * SIDE + 1, "points outside its segment"},
        {"/index/offset", -1, "points outside its segment"},
        {"/index/offset", INT64_MAX, "points outside its segment"},
        {"/index/offset", INT64_MIN, "points outside its segment"},
        {"/index/length", 0, "impossible length"},
        {"/index/length", -5, "impossible length"},
        {"/index/length", INT64_MAX, "impossible length"},
        {"/index/length", 37, "another number of raw bytes"},
        {"/index/segment", 1, "segment that does not exist"},
        {"/index/segment", -1, "segment that does not exist"},
        {"/index/label", 2, "label that is no class"},
        {"/index/label", -2, "label that is no class"},
        {"/index/label", -1, "no label outside the predict split"},
        {"/index/split", 4, "unknown split"},
        {"/index/group", 3, "group that does not exist"},
        {"/index/encoding", 4, "unknown encoding"},
        {"/index/channels", 2, "neither 1 nor 3 channels"},
        {"/index/width", 0, "impossible size"},
        {"/index/height", -7, "impossible size"},
        {"/index/width", 65501, "impossible size"},
    };
    char path[320];
    lk_error err = {0};
    path_in(path, state, "a.h5");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lk_dataset *set = NULL;
        write_set(path, COUNT);
        set_element(path, cases[i].name, H5T_NATIVE_INT64, 5, cases[i].value);
        restore_hash(path);
        check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, cases[i].sentence, err);
        assert_null(set);
    }
    lk_dataset *set = NULL;
    write_set(path, COUNT);
    restore_hash(path); /* the cases above fail for their values, not for this function's hash */
    check_ok(lk_dataset_open(&set, path, &err), err);
    lk_dataset_free(set);
}

/* Puts something else in the place of an array. */
static void test_foreign_structures(void **state) {
    char path[320], other[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "a.h5");
    path_in(other, state, "other.h5");
    write_set(other, COUNT);
    for (int kind = 0; kind < 6; kind++) {
        write_set(path, COUNT);
        hid_t file = edit(path);
        const char *name = kind == 2 ? "/data" : "/index/label";
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        hsize_t dims = COUNT, chunk = 4;
        hid_t space = H5Screate_simple(1, &dims, NULL), create = H5Pcreate(H5P_DATASET_CREATE), made = -1;
        switch (kind) {
            case 0: H5Lcreate_external(other, name, file, name, H5P_DEFAULT, H5P_DEFAULT); break;
            case 1: H5Lcreate_soft("/index/split", file, name, H5P_DEFAULT, H5P_DEFAULT); break;
            case 2: H5Lcreate_external(other, name, file, name, H5P_DEFAULT, H5P_DEFAULT); break;
            case 3:
                H5Pset_chunk(create, 1, &chunk);
                H5Pset_deflate(create, 6);
                break;
            case 4: H5Pset_external(create, "/etc/passwd", 0, COUNT * 4); break;
            case 5: H5Pset_virtual(create, space, other, name, space); break;
        }
        if (kind >= 3) made = H5Dcreate2(file, name, H5T_STD_I32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
        if (made >= 0) H5Dclose(made);
        H5Pclose(create);
        H5Sclose(space);
        H5Fclose(file);
        check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA,
                    kind < 3 ? "is a link" : "not stored as plain contiguous bytes", err);
    }
}

/* Sizes in the file that would make a reader allocate terabytes. */
static void test_limits(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "a.h5");
    write_set(path, COUNT);
    hid_t file = edit(path);
    hsize_t dims = (hsize_t)1 << 40;
    H5Ldelete(file, "/index/label", H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &dims, NULL);
    hid_t made = H5Dcreate2(file, "/index/label", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(made);
    H5Sclose(space);
    H5Fclose(file);
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "lies outside the file", err);
}

static void test_not_a_data_set(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "none.h5");
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_IO, "No such file", err);
    spill(path, "", 0);
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "is not a data set", err);
    spill(path, "hello, this is no HDF5 file at all", 34);
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "is not a data set", err);
    check_fails(lk_dataset_open(&set, ((folder *)*state)->path, &err), LK_ERR_DATA, "is not a file", err);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "no attribute \"format\"", err);
    assert_false(lk_dataset_is(path));
    write_set(path, 3);
    assert_true(lk_dataset_is(path));
    replace_text_attribute(path, "format", "something-else");
    check_fails(lk_dataset_open(&set, path, &err), LK_ERR_DATA, "is not a data set", err);
    assert_false(lk_dataset_is(path));
}

static void test_never_overwrites(void **state) {
    static const char *const classes[] = {"a", "b"};
    char path[320], text[360];
    lk_error err = {0};
    lk_dataset_writer *writer = NULL;
    lk_writer_config config = {.class_names = classes, .class_count = 2};
    path_in(path, state, "a.h5");
    spill(path, "precious", 8);
    check_fails(lk_dataset_writer_create(&writer, path, &config, &err), LK_ERR_IO, "exists", err);
    /* Nor does a failure after --force: no sample, so finish refuses. */
    config.overwrite = true;
    check_ok(lk_dataset_writer_create(&writer, path, &config, &err), err);
    check_fails(lk_dataset_writer_finish(writer, &err), LK_ERR_DATA, "no sample", err);
    lk_dataset_writer_free(writer);
    long size;
    uint8_t *bytes = slurp(path, &size);
    assert_int_equal(size, 8);
    assert_memory_equal(bytes, "precious", 8);
    free(bytes);
    snprintf(text, sizeof text, "%s.tmp.%ld", path, (long)getpid());
    assert_int_not_equal(access(text, F_OK), 0);
    path_in(path, state, "no/such/folder.h5");
    check_fails(lk_dataset_writer_create(&writer, path, &config, &err), LK_ERR_IO, "No such file", err);
}

/* A file that appears while packing is not replaced either. */
static void test_appears_meanwhile(void **state) {
    static const char *const classes[] = {"a", "b"};
    char path[320];
    lk_error err = {0};
    lk_dataset_writer *writer = NULL;
    const lk_writer_config config = {.class_names = classes, .class_count = 2};
    uint8_t pixel = 1;
    lk_sample_info info = {.length = 1, .width = 1, .height = 1, .group = -1, .channels = 1};
    path_in(path, state, "a.h5");
    check_ok(lk_dataset_writer_create(&writer, path, &config, &err), err);
    lk_bytes_hash(&pixel, 1, info.hash);
    check_ok(lk_dataset_writer_append(writer, &info, "x", &pixel, &err), err);
    spill(path, "precious", 8);
    check_fails(lk_dataset_writer_finish(writer, &err), LK_ERR_IO, "File exists", err);
    lk_dataset_writer_free(writer);
    long size;
    free(slurp(path, &size));
    assert_int_equal(size, 8);
}

/* The file may not grow beyond `limit` bytes: what a full disk does, at every size. */
static void test_full_disk(void **state) {
    char path[320], temporary[340];
    lk_error err = {0};
    struct rlimit before, limit;
    path_in(path, state, "a.h5");
    snprintf(temporary, sizeof temporary, "%s.tmp.%ld", path, (long)getpid());
    spill(path, "precious", 8);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    for (rlim_t most = 0; most < 6000; most += 500) {
        static const char *const classes[] = {"a", "b"};
        const lk_writer_config config = {.class_names = classes, .class_count = 2, .overwrite = true};
        lk_dataset_writer *writer = NULL;
        limit = before;
        limit.rlim_cur = most;
        setrlimit(RLIMIT_FSIZE, &limit);
        lk_status status = lk_dataset_writer_create(&writer, path, &config, &err);
        uint8_t pixels[4000] = {0};
        lk_sample_info info = {.length = 4000, .width = 40, .height = 100, .group = -1, .channels = 1};
        lk_bytes_hash(pixels, 4000, info.hash);
        if (status == LK_OK) status = lk_dataset_writer_append(writer, &info, "x", pixels, &err);
        if (status == LK_OK) status = lk_dataset_writer_finish(writer, &err);
        lk_dataset_writer_free(writer);
        setrlimit(RLIMIT_FSIZE, &before);
        if (status != LK_ERR_IO) fail_msg("%s: %s", lk_status_name(status), err.message);
        assert_non_null(strstr(err.message, "File too large"));
        assert_non_null(strstr(err.message, path));
        lk_error_clear(&err);
        assert_int_not_equal(access(temporary, F_OK), 0);
        long size;
        free(slurp(path, &size));
        assert_int_equal(size, 8);
    }
    write_set(path, COUNT); /* and HDF5 still works in this process */
}

/* libhdf5 1.10 loses some hundred bytes for each damaged file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, folder_setup, folder_teardown),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test_setup_teardown(test_segments, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_read_only_and_locked, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_same_bytes, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_truncated, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_truncated_while_open, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bits, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_newer_version, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_index_outside, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_foreign_structures, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_limits, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_not_a_data_set, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_never_overwrites, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_appears_meanwhile, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
