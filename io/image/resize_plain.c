#include "io/image/resize_kernels.h"

static inline __attribute__((always_inline)) void row(const lk_taps *taps, int32_t from, int32_t to, const uint8_t *in,
                                                      const int channels, uint8_t *out) {
    for (int32_t o = from; o < to; o++) {
        const int32_t *w = taps->weights + (size_t)o * (size_t)taps->stride;
        const uint8_t *p = in + (ptrdiff_t)taps->first[o] * channels;
        int32_t sums[3] = {1 << (LK_RESIZE_BITS - 1), 1 << (LK_RESIZE_BITS - 1), 1 << (LK_RESIZE_BITS - 1)};
        for (int32_t t = 0; t < taps->taps[o]; t++, p += channels)
            for (int c = 0; c < channels; c++) sums[c] += p[c] * w[t];
        for (int c = 0; c < channels; c++) out[(size_t)o * (size_t)channels + (size_t)c] = lk_resize_clip(sums[c]);
    }
}

void lk_resize_row(const lk_taps *taps, int32_t from, int32_t to, const uint8_t *in, int channels, uint8_t *out) {
    if (channels == 3)
        row(taps, from, to, in, 3, out);
    else
        row(taps, from, to, in, 1, out);
}

static void horizontal(const lk_taps *taps, const uint8_t *in, size_t in_stride, int channels, int32_t rows,
                       uint8_t *out, size_t out_stride) {
    for (int32_t y = 0; y < rows; y++)
        lk_resize_row(taps, 0, taps->count, in + (size_t)y * in_stride, channels, out + (size_t)y * out_stride);
}

static void vertical(const int32_t *weights, int32_t taps, const uint8_t *in, size_t in_stride, size_t bytes,
                     uint8_t *out) {
    for (size_t i = 0; i < bytes; i++) {
        int32_t sum = 1 << (LK_RESIZE_BITS - 1);
        for (int32_t t = 0; t < taps; t++) sum += in[(size_t)t * in_stride + i] * weights[t];
        out[i] = lk_resize_clip(sum);
    }
}

const lk_resize_kernels lk_resize_plain = {horizontal, vertical, false};
