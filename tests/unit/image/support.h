/* Pictures and files made in memory for the tests of io/image. */
#ifndef LK_TESTS_IMAGE_SUPPORT_H
#define LK_TESTS_IMAGE_SUPPORT_H

#include <spng.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>

#include "../unit.h"
#include "core/memory.h"
#include "core/random.h"
#include "io/image/image.h"

#define check_ok(call, err)                                             \
    do {                                                                \
        lk_status status_ = (call);                                     \
        if (status_ != LK_OK) fail_msg("%s: %s", #call, (err).message); \
    } while (0)

/* The call fails with this status and a sentence that holds `part`; the error is cleared. */
#define check_fails(call, expected, part, err)                                                             \
    do {                                                                                                   \
        assert_int_equal((call), (expected));                                                              \
        if (strstr((err).message, (part)) == NULL) fail_msg("\"%s\" lacks \"%s\"", (err).message, (part)); \
        lk_error_clear(&(err));                                                                            \
    } while (0)

typedef struct file {
    uint8_t *bytes;
    size_t size;
} file;

static inline uint32_t noise(uint64_t index, uint32_t sub) {
    lk_random_key key = {42, 0, LK_RANDOM_SPLIT};
    uint32_t words[4];
    lk_random_words(&key, index, sub, words);
    return words[0];
}

/* Noise over a gradient: any wrong row, column or channel shows. */
static inline void make_picture(lk_image *image, int width, int height, int channels) {
    lk_error err = {0};
    check_ok(lk_image_reserve(image, width, height, channels, &err), err);
    for (int i = 0; i < width * height * channels; i++)
        image->pixels[i] = (uint8_t)(noise((uint64_t)i, 0) % 64 + (uint32_t)(i * 190 / (width * height * channels)));
}

static inline file encode_jpeg(const lk_image *image, int quality) {
    lk_error err = {0};
    file out;
    check_ok(lk_image_encode_jpeg(&out.bytes, &out.size, image, quality, &err), err);
    return out;
}

static inline file encode_png(const lk_image *image) {
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = {
        .width = (uint32_t)image->width,
        .height = (uint32_t)image->height,
        .bit_depth = 8,
        .color_type = image->channels == 3 ? SPNG_COLOR_TYPE_TRUECOLOR : SPNG_COLOR_TYPE_GRAYSCALE};
    file out = {NULL, 0};
    int code = 0;
    spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    spng_set_ihdr(ctx, &header);
    size_t size = (size_t)image->width * (size_t)image->height * (size_t)image->channels;
    assert_int_equal(spng_encode_image(ctx, image->pixels, size, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    uint8_t *made = spng_get_png_buffer(ctx, &out.size, &code);
    assert_non_null(made);
    lk_error err = {0};
    check_ok(lk_alloc((void **)&out.bytes, out.size, 1, "a file", &err), err);
    memcpy(out.bytes, made, out.size);
    free(made);
    spng_ctx_free(ctx);
    return out;
}

static inline file encode_webp(const lk_image *rgb) {
    file out = {NULL, 0};
    uint8_t *made = NULL;
    out.size = WebPEncodeLosslessRGB(rgb->pixels, rgb->width, rgb->height, rgb->width * 3, &made);
    assert_true(out.size > 0);
    lk_error err = {0};
    check_ok(lk_alloc((void **)&out.bytes, out.size, 1, "a file", &err), err);
    memcpy(out.bytes, made, out.size);
    WebPFree(made);
    return out;
}

/* Puts a segment behind the first two bytes of a JPEG. */
static inline void insert_segment(file *jpeg, uint8_t marker, const void *payload, size_t size) {
    lk_error err = {0};
    uint8_t *bytes = NULL;
    check_ok(lk_alloc((void **)&bytes, jpeg->size + size + 4, 1, "a file", &err), err);
    memcpy(bytes, jpeg->bytes, 2);
    bytes[2] = 0xFF;
    bytes[3] = marker;
    bytes[4] = (uint8_t)((size + 2) >> 8);
    bytes[5] = (uint8_t)(size + 2);
    memcpy(bytes + 6, payload, size);
    memcpy(bytes + 6 + size, jpeg->bytes + 2, jpeg->size - 2);
    lk_free(jpeg->bytes);
    jpeg->bytes = bytes;
    jpeg->size += size + 4;
}

#endif
