/* Data sets: a mutated file is refused with a sentence, or opens and gives samples that lie inside it. A second way in
 * changes one entry of a sound index and gives it the right hash, so that the checks of the values are met too. */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "fuzz.h"
#include "io/data/describe.h"
#include "io/data/format.h"
#include "io/data/hdf5_file.h"
#include "io/data/index_hash.h"
#include "io/data/writer.h"

static void require(bool condition, const char *what, const lk_error *err) {
    if (condition) return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    abort();
}

/* A refusal is LK_ERR_DATA with one sentence, never anything else. */
static bool accepted(lk_status status, lk_error *err) {
    if (status == LK_OK) return true;
    require(status == LK_ERR_DATA && err->message[0] != '\0' && strchr(err->message, '\n') == NULL, "bad refusal", err);
    lk_error_clear(err);
    return false;
}

/* Writes the one file that is opened again and again, named after this process. */
static void make_file(char path[64], const uint8_t *bytes, size_t size) {
    snprintf(path, 64, "fuzz_dataset.%ld.h5", (long)getpid());
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) abort();
}

static void use(const lk_dataset *dataset, int64_t file_bytes) {
    lk_error err = {0};
    int64_t *indices = NULL, count = 0, total = 0;
    for (int split = 0; split < LK_SPLIT_COUNT; split++) {
        require(lk_dataset_split(dataset, (lk_split)split, &indices, &count, &err) == LK_OK, "split", &err);
        total += count;
        lk_free(indices);
    }
    require(total == dataset->count, "the splits are not all samples", &err);
    for (int64_t i = 0; i < dataset->count; i++) {
        const lk_sample_info *info = &dataset->samples[i];
        bool inside = info->offset >= 0 && info->length > 0 && info->offset + info->length <= file_bytes;
        require(inside && info->label < dataset->class_count && info->group < dataset->group_count, "outside", &err);
        uint8_t *exact = malloc((size_t)info->length);
        if (exact == NULL) abort();
        (void)accepted(lk_dataset_read(dataset, i, exact, &err), &err);
        free(exact);
    }
    FILE *out = fopen("/dev/null", "w");
    require(out != NULL && lk_dataset_print(dataset, out, false, &err) == LK_OK, "print", &err);
    require(lk_dataset_print(dataset, out, true, &err) == LK_OK, "print as JSON", &err);
    fclose(out);
}

static int open_and_use(const char *path, size_t size) {
    lk_error err = {0};
    lk_dataset *dataset = NULL;
    bool good = accepted(lk_dataset_open(&dataset, path, &err), &err);
    require(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0, "something of HDF5 stayed open", &err);
    if (!good) return 0;
    use(dataset, (int64_t)size);
    lk_dataset_free(dataset);
    return 1;
}

static void add_array(lk_index_hash *hash, hid_t file, const char *name) {
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0) return;
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), type = H5Dget_type(dataset);
    size_t size = (size_t)H5Dget_storage_size(dataset);
    void *array = malloc(size);
    if (array == NULL || H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, array) < 0) abort();
    lk_index_hash_add(hash, array, size);
    free(array);
    H5Tclose(type);
    H5Dclose(dataset);
}

static void write_hash(hid_t file) {
    lk_error err = {0};
    lk_index_hash *hash = NULL;
    uint64_t value[2];
    char text[LK_INDEX_HASH_TEXT];
    require(lk_index_hash_create(&hash, &err) == LK_OK, "hash", &err);
    for (int i = 0; i < LK_INDEX_FIELD_COUNT; i++) add_array(hash, file, lk_index_get_column((lk_index_field)i)->path);
    add_array(hash, file, "/class_names");
    add_array(hash, file, "/group_names");
    lk_index_hash_get(hash, value);
    lk_index_hash_print(value, text);
    lk_index_hash_free(hash);
    hid_t attribute = H5Aopen(file, "index_hash", H5P_DEFAULT), type = H5Aget_type(attribute);
    if (H5Awrite(attribute, type, text) < 0) abort();
    H5Tclose(type);
    H5Aclose(attribute);
}

/* Overwrites one element of the numeric field that the bytes choose, by a value that they choose. */
static void change_element(hid_t file, uint64_t choice) {
    static const int64_t values[] = {-2, -1,  0,     1,     2,       3,         4,         5,         35,       36,
                                     37, 255, 65500, 65501, 1 << 20, INT32_MIN, INT32_MAX, INT64_MIN, INT64_MAX};
    lk_index_field field = (lk_index_field)(choice % LK_INDEX_HASH);
    int64_t value = values[choice / 16 % (sizeof values / sizeof *values)];
    hid_t dataset = H5Dopen2(file, lk_index_get_column(field)->path, H5P_DEFAULT), space = H5Dget_space(dataset);
    hsize_t one = 1, at = choice / 4096 % (uint64_t)H5Sget_simple_extent_npoints(space);
    hid_t memory = H5Screate_simple(1, &one, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL);
    if (H5Dwrite(dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &value) < 0) abort();
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void run_edited(const uint8_t *bytes, size_t size) {
    char path[64];
    static uint8_t *seeds[2]; /* kept: writing one waits for the disk */
    static size_t sizes[2];
    uint64_t choice[2];
    lk_bytes_hash(bytes, (int64_t)size, choice);
    int which = (int)(choice[1] % 2);
    if (seeds[which] == NULL) seeds[which] = fuzz_seed(which, &sizes[which]);
    make_file(path, seeds[which], sizes[which]);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (file < 0) abort();
    change_element(file, choice[0]);
    write_hash(file);
    H5Fclose(file);
    struct stat info;
    if (stat(path, &info) != 0) abort();
    (void)open_and_use(path, (size_t)info.st_size);
}

int fuzz_run(const uint8_t *bytes, size_t size) {
    char path[64];
    make_file(path, bytes, size);
    int result = open_and_use(path, size);
    (void)lk_dataset_is(path);
    if (size % 4 == 0) run_edited(bytes, size);
    unlink(path);
    return result;
}

enum { SIDE = 6 };

static void append(lk_dataset_writer *writer, int i, bool predict) {
    lk_error err = {0};
    uint8_t pixels[SIDE * SIDE];
    memset(pixels, i * 31, sizeof pixels);
    lk_sample_info info = {.length = sizeof pixels,
                           .width = SIDE,
                           .height = SIDE,
                           .label = predict ? -1 : i % 2,
                           .group = predict ? -1 : i % 3 - 1,
                           .channels = 1,
                           .split = predict ? LK_SPLIT_PREDICT : (uint8_t)(i % 3)};
    lk_bytes_hash(pixels, sizeof pixels, info.hash);
    require(lk_dataset_writer_append(writer, &info, "folder/image.png", pixels, &err) == LK_OK, "append", &err);
}

static void write_seed(const char *path, int i) {
    static const char *const classes[] = {"cat", "dog"}, *const groups[] = {"ann", "bob"};
    static const lk_writer_config configs[] = {{classes, 2, groups, 2, "", true}, {NULL, 0, NULL, 0, "", true}};
    lk_error err = {0};
    lk_dataset_writer *writer = NULL;
    require(lk_dataset_writer_create(&writer, path, &configs[i], &err) == LK_OK, "create", &err);
    for (int k = 0; k < 7; k++) append(writer, k, i == 1);
    require(lk_dataset_writer_finish(writer, &err) == LK_OK, "finish", &err);
    lk_dataset_writer_free(writer);
}

/* libhdf5 1.10 loses some hundred bytes for each damaged file. What it is asked to close is checked above. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

/* Two sets: with classes and groups, and without either. */
uint8_t *fuzz_seed(int i, size_t *size) {
    char path[64];
    lk_error err = {0};
    uint8_t *bytes = NULL;
    struct stat info;
    if (i > 1) return NULL;
    snprintf(path, sizeof path, "fuzz_dataset.seed.%ld", (long)getpid());
    write_seed(path, i);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0) abort();
    *size = (size_t)info.st_size;
    require(LK_NEW(&bytes, *size, "a seed", &err) == LK_OK, "memory", &err);
    if (fread(bytes, 1, *size, file) != *size) abort();
    fclose(file);
    unlink(path);
    return bytes;
}
