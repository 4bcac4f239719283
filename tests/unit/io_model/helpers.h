/* What the tests of io/model share: a scratch folder, whole files, a small checkpoint. */
#ifndef LK_TESTS_IO_MODEL_HELPERS_H
#define LK_TESTS_IO_MODEL_HELPERS_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* clang-format off */
#include <cmocka.h> /* needs those above */
/* clang-format on */

#include "core/memory.h"
#include "io/model/checkpoint.h"

#define PATH_SIZE 512

/* Each test program has one scratch folder, given as the group's state. */
static inline int make_folder(void **state) {
    char *folder = strdup("/tmp/lockstep-io-XXXXXX");
    *state = mkdtemp(folder);
    return *state == NULL ? -1 : 0;
}

static inline int remove_folder(void **state) {
    DIR *dir = opendir(*state);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    int failed = rmdir(*state);
    free(*state);
    return failed;
}

static inline const char *join(char path[PATH_SIZE], void **state, const char *name) {
    snprintf(path, PATH_SIZE, "%s/%s", (const char *)*state, name);
    return path;
}

static inline char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline int count_files(const char *folder, const char *part) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL) count++;
    closedir(dir);
    return count;
}

/* A sentence: not empty, one line, names the file. */
static inline void assert_sentence(const lk_error *err, lk_status status, const char *part) {
    if (err->status != status || strstr(err->message, part) == NULL || strchr(err->message, '\n') != NULL)
        fail_msg("status %s, message '%s', wanted %s with '%s'", lk_status_name(err->status), err->message,
                 lk_status_name(status), part);
}

/* Two tensors and two texts that depend on `seed`; elements of the large one: `count`. */
static inline lk_status write_small(const char *path, float seed, int64_t count, lk_error *err) {
    float *weights = malloc((size_t)count * sizeof *weights);
    for (int64_t i = 0; i < count; i++) weights[i] = seed + (float)i;
    int64_t tracked = (int64_t)seed;
    lk_named_tensor tensors[] = {
        {"/model/conv1.weight", {LK_F32, lk_shape_of(2, (int64_t)1, count), weights}},
        {"/model/bn1.num_batches_tracked", {LK_I64, lk_shape_of(0), &tracked}},
    };
    char state[64];
    snprintf(state, sizeof state, "{\"epoch\": %d}", (int)seed);
    lk_named_text texts[] = {{"meta", "{}"}, {"state", state}};
    lk_status status = lk_checkpoint_write(path, tensors, 2, texts, 2, err);
    free(weights);
    return status;
}

/* Opens what write_small wrote and gives its seed, or -1 where it is not whole. */
static inline int read_small(const char *path, int64_t count, lk_error *err) {
    lk_checkpoint *c;
    if (lk_checkpoint_open(&c, path, err) != LK_OK) return -1;
    float *weights = malloc((size_t)count * sizeof *weights);
    int64_t tracked = -1;
    lk_shape matrix = lk_shape_of(2, (int64_t)1, count), scalar = lk_shape_of(0);
    int seed = -1;
    if (lk_checkpoint_read(c, "/model/conv1.weight", LK_F32, &matrix, weights, err) == LK_OK &&
        lk_checkpoint_read(c, "/model/bn1.num_batches_tracked", LK_I64, &scalar, &tracked, err) == LK_OK) {
        seed = (int)tracked;
        for (int64_t i = 0; i < count; i++)
            if (weights[i] != (float)seed + (float)i) seed = -1;
        char state[64];
        snprintf(state, sizeof state, "{\"epoch\": %d}", seed);
        if (lk_checkpoint_text(c, "state") == NULL || strcmp(lk_checkpoint_text(c, "state"), state) != 0) seed = -1;
    }
    free(weights);
    lk_checkpoint_free(c);
    return seed;
}

#endif
