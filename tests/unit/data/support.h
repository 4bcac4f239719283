/* What the tests of data sets share: a folder that goes away, small sets, checks of sentences. */
#ifndef LK_TESTS_UNIT_DATA_SUPPORT_H
#define LK_TESTS_UNIT_DATA_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants the four above first. */
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/writer.h"

typedef struct folder {
    char path[256];
} folder;

static inline int folder_setup(void **state) {
    folder *made = calloc(1, sizeof *made);
    const char *base = getenv("TMPDIR");
    snprintf(made->path, sizeof made->path, "%s/lockstep-test-XXXXXX", base != NULL ? base : "/tmp");
    *state = made;
    return mkdtemp(made->path) == NULL ? -1 : 0;
}

static inline int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *level) {
    (void)info, (void)kind, (void)level;
    return remove(path);
}

static inline int folder_teardown(void **state) {
    folder *made = *state;
    nftw(made->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(made);
    return 0;
}

/* The path of `name` in the test's folder; one of four buffers in turn is not needed: callers keep the array. */
static inline void path_in(char out[320], void **state, const char *name) {
    snprintf(out, 320, "%s/%s", ((folder *)*state)->path, name);
}

#define check_ok(call, err)                                                   \
    do {                                                                      \
        lk_status check_status_ = (call);                                     \
        if (check_status_ != LK_OK) fail_msg("%s: %s", #call, (err).message); \
    } while (0)

/* The call must fail with this status and a sentence that contains `text`. */
#define check_fails(call, expected, text, err)                                                                    \
    do {                                                                                                          \
        lk_error_clear(&(err));                                                                                   \
        lk_status check_status_ = (call);                                                                         \
        if (check_status_ != (expected))                                                                          \
            fail_msg("%s gave %s, not %s (%s)", #call, lk_status_name(check_status_), lk_status_name(expected),   \
                     (err).message);                                                                              \
        if (strstr((err).message, (text)) == NULL) fail_msg("\"%s\" does not say \"%s\"", (err).message, (text)); \
        if (strchr((err).message, '\n') != NULL) fail_msg("\"%s\" has a line break", (err).message);              \
        lk_error_clear(&(err));                                                                                   \
    } while (0)

enum { SIDE = 6 };

/* Byte p of sample i. */
static inline uint8_t pixel_of(int64_t i, int p) { return (uint8_t)(i * 31 + p * 7 + 3); }

/* Writes `count` raw grey images of SIDE x SIDE in two classes; splits in turn 0, 1, 2 by i % 3. */
static inline void write_set(const char *path, int64_t count) {
    static const char *const classes[] = {"cat", "d\xc3\xb6g"}, *const groups[] = {"ann", "bob", "eve"};
    lk_error err = {0};
    lk_dataset_writer *writer = NULL;
    const lk_writer_config config = {classes, 2, groups, 3, "{\"resize\": \"none\"}", true};
    check_ok(lk_dataset_writer_create(&writer, path, &config, &err), err);
    for (int64_t i = 0; i < count; i++) {
        uint8_t pixels[SIDE * SIDE];
        char source[64];
        for (int p = 0; p < SIDE * SIDE; p++) pixels[p] = pixel_of(i, p);
        lk_sample_info info = {.length = sizeof pixels,
                               .width = SIDE,
                               .height = SIDE,
                               .label = (int32_t)(i % 2),
                               .group = (int32_t)(i % 4) - 1,
                               .encoding = LK_ENCODING_RAW,
                               .channels = 1,
                               .split = (uint8_t)(i % 3)};
        lk_bytes_hash(pixels, sizeof pixels, info.hash);
        snprintf(source, sizeof source, "%s/%lld.png", classes[i % 2], (long long)i);
        check_ok(lk_dataset_writer_append(writer, &info, source, pixels, &err), err);
    }
    check_ok(lk_dataset_writer_finish(writer, &err), err);
    lk_dataset_writer_free(writer);
}

/* Reads a whole file. Owner: the caller, with free. */
static inline uint8_t *slurp(const char *path, long *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    uint8_t *bytes = malloc((size_t)*size + 1);
    assert_int_equal(fread(bytes, 1, (size_t)*size, file), *size);
    fclose(file);
    return bytes;
}

static inline void spill(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    if (size > 0) assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

#endif
