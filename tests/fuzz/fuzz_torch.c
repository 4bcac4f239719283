/* Files of torch.save: each opens and gives all its tensors, or is refused with one sentence. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zip.h>

#include "core/memory.h"
#include "fuzz.h"
#include "io/model/torch_file.h"
#include "torch_bytes.h"

static void require(bool condition, const char *what, const lk_error *err) {
    if (condition) return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    abort();
}

static bool is_sentence(lk_status status, const lk_error *err) {
    return status == LK_ERR_DATA && err->message[0] != '\0' && strchr(err->message, '\n') == NULL;
}

/* The reader wants a path. */
static int make_file(char path[64], const uint8_t *bytes, size_t size) {
    int file = memfd_create("fuzz_torch", MFD_CLOEXEC);
    if (file < 0 || write(file, bytes, size) != (ssize_t)size) abort();
    snprintf(path, 64, "/proc/self/fd/%d", file);
    return file;
}

static void read_all(const lk_torch_file *torch) {
    for (int i = 0; i < lk_torch_file_count(torch); i++) {
        const lk_named_tensor *t = lk_torch_file_get(torch, i);
        lk_error err = {0};
        void *data = NULL;
        require(lk_alloc(&data, (size_t)lk_shape_count(&t->tensor.shape), lk_dtype_size(t->tensor.dtype), "a tensor",
                         &err) == LK_OK,
                "no memory", &err);
        lk_status status = lk_torch_file_read(torch, i, data, &err);
        require(status == LK_OK || is_sentence(status, &err), "bad refusal", &err);
        lk_free(data);
    }
}

int fuzz_run(const uint8_t *bytes, size_t size) {
    char path[64];
    lk_error err = {0};
    lk_torch_file *torch;
    int file = make_file(path, bytes, size);
    lk_status status = lk_torch_file_open(&torch, path, &err);
    if (status == LK_OK) {
        read_all(torch);
        lk_torch_file_free(torch);
    } else {
        require(is_sentence(status, &err), "bad refusal", &err);
    }
    close(file);
    return status == LK_OK;
}

static uint8_t *copy(const void *bytes, size_t size) {
    uint8_t *out = NULL;
    lk_error err = {0};
    require(LK_NEW(&out, size, "an input", &err) == LK_OK, "no memory", &err);
    memcpy(out, bytes, size);
    return out;
}

static uint8_t *make_zip(const torch_bytes *state, size_t *size) {
    static const float values[] = {0, 1, 2, 3, 4, 5};
    static const int64_t counter = 7;
    const struct {
        const char *name;
        const void *bytes;
        size_t size;
    } entries[] = {{"a/data.pkl", state->data, state->size},
                   {"a/byteorder", "little", 6},
                   {"a/data/0", values, sizeof values},
                   {"a/data/1", &counter, sizeof counter}};
    zip_source_t *whole = zip_source_buffer_create(NULL, 0, 0, NULL);
    zip_t *zip = zip_open_from_source(whole, ZIP_TRUNCATE, NULL);
    if (zip == NULL) abort();
    zip_source_keep(whole);
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        zip_source_t *source = zip_source_buffer(zip, entries[i].bytes, entries[i].size, 0);
        int64_t index = zip_file_add(zip, entries[i].name, source, 0);
        if (index < 0 || zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0) abort();
    }
    zip_stat_t info;
    if (zip_close(zip) != 0 || zip_source_stat(whole, &info) != 0 || zip_source_open(whole) != 0) abort();
    uint8_t buffer[16384];
    int64_t got = info.size <= sizeof buffer ? zip_source_read(whole, buffer, info.size) : -1;
    if (got != (int64_t)info.size) abort();
    zip_source_close(whole);
    zip_source_free(whole);
    *size = (size_t)got;
    return copy(buffer, *size);
}

uint8_t *fuzz_seed(int i, size_t *size) {
    torch_bytes state = {0}, whole = {0};
    if (i > 1) return NULL;
    put_state(&state, i);
    if (i == 0) return make_zip(&state, size);
    put_stream(&whole, &state);
    *size = whole.size;
    return copy(whole.data, whole.size);
}
