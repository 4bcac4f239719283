/* Small files of torch.save made by hand: a float32 matrix "a.weight" (2 x 3, transposed strides) and an int64 scalar
 * "a.count", in both forms. */
#ifndef LK_TESTS_TORCH_BYTES_H
#define LK_TESTS_TORCH_BYTES_H

#include <stdint.h>
#include <string.h>

typedef struct torch_bytes {
    uint8_t data[8192];
    size_t size;
} torch_bytes;

static inline void put(torch_bytes *b, const void *from, size_t size) {
    memcpy(b->data + b->size, from, size);
    b->size += size;
}

static inline void put_code(torch_bytes *b, const char *code) { put(b, code, strlen(code)); }

static inline void put_byte(torch_bytes *b, int byte) { b->data[b->size++] = (uint8_t)byte; }

static inline void put_text(torch_bytes *b, const char *text) {
    uint32_t length = (uint32_t)strlen(text);
    put_code(b, "X");
    put(b, &length, 4);
    put_code(b, text);
}

static inline void put_int(torch_bytes *b, int value) {
    put_code(b, "K");
    put_byte(b, value);
}

/* torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()). stream: the older form. */
static inline void put_tensor(torch_bytes *b, const char *type, const char *key, int count, const int *shape,
                              const int *strides, int rank, int stream) {
    put_code(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    put_code(b, "ctorch\n");
    put_code(b, type);
    put_code(b, "\n");
    put_text(b, key);
    put_text(b, "cpu");
    put_int(b, count);
    put_code(b, stream ? "NtQ" : "tQ");
    put_int(b, 0);
    for (int part = 0; part < 2; part++) {
        put_code(b, "(");
        for (int d = 0; d < rank; d++) put_int(b, part == 0 ? shape[d] : strides[d]);
        put_code(b, "t");
    }
    put_code(b,
             "\x89"
             "ccollections\nOrderedDict\n)RtR");
}

static inline void put_state(torch_bytes *b, int stream) {
    const int shape[] = {2, 3}, strides[] = {1, 2};
    put(b, "\x80\x02", 2);
    put_code(b, "ccollections\nOrderedDict\nq");
    put_byte(b, 0);
    put_code(b, ")Rq");
    put_byte(b, 1);
    put_code(b, "(");
    put_text(b, "a.weight");
    put_tensor(b, "FloatStorage", "0", 6, shape, strides, 2, stream);
    put_text(b, "a.count");
    put_tensor(b, "LongStorage", "1", 1, NULL, NULL, 0, stream);
    put_code(b, "u}");
    put_text(b, "_metadata");
    put_code(b, "h");
    put_byte(b, 0);
    put_code(b, ")Rsb.");
}

/* Behind `state`, a pickle, come the storages. */
static inline void put_stream(torch_bytes *b, const torch_bytes *state) {
    static const uint8_t magic[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
    const float values[] = {0, 1, 2, 3, 4, 5};
    const int64_t six = 6, one = 1, counter = 7;
    put(b, magic, sizeof magic);
    put(b, "\x80\x02M\xe9\x03.\x80\x02}", 9);
    put_text(b, "little_endian");
    put_code(b, "\x88s.");
    put(b, state->data, state->size);
    put(b, "\x80\x02](", 4);
    put_text(b, "0");
    put_text(b, "1");
    put_code(b, "e.");
    put(b, &six, 8);
    put(b, values, sizeof values);
    put(b, &one, 8);
    put(b, &counter, 8);
}

#endif
