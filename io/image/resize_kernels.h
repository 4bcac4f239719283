/* Inside io/image: the two inner loops of resizing, in portable C and with AVX2; both give the same bits. */
#ifndef LK_IO_IMAGE_RESIZE_KERNELS_H
#define LK_IO_IMAGE_RESIZE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fraction bits of a coefficient: 32 bits less 8 of the pixel and 2 of headroom. Source: Pillow. */
#define LK_RESIZE_BITS 22

/* One axis of a resize: output o is sum(weights[o * stride + t] * input[first[o] + t]) over t < taps[o]. */
typedef struct lk_taps {
    int32_t *first, *taps; /* count; first is relative to the needed input */
    int32_t *weights;      /* count x stride, rounded to LK_RESIZE_BITS */
    int32_t count, stride;
    int32_t begin, end; /* input range that is read */
    /* For the AVX2 kernel: outputs fast_begin..fast_end have `groups` groups of 4 taps, whose weights are split into 11
     * low bits and the rest, each [w0 w1 w0 w1 w0 w1 0 0 w2 w3 w2 w3 w2 w3 0 0] int16. */
    int16_t *split; /* count x groups x 2 x 16, 64-byte aligned */
    int32_t groups, fast_begin, fast_end;
} lk_taps;

typedef struct lk_resize_kernels {
    /* Row by row: out is rows x count x channels, out_stride bytes a row. */
    void (*horizontal)(const lk_taps *taps, const uint8_t *in, size_t in_stride, int channels, int32_t rows,
                       uint8_t *out, size_t out_stride);
    /* One output row of `bytes` bytes from `taps` input rows. */
    void (*vertical)(const int32_t *weights, int32_t taps, const uint8_t *in, size_t in_stride, size_t bytes,
                     uint8_t *out);
    bool split; /* horizontal wants lk_taps.split */
} lk_resize_kernels;

extern const lk_resize_kernels lk_resize_plain;
/* NULL where the processor or the build lacks AVX2. */
const lk_resize_kernels *lk_resize_avx2(void);

static inline uint8_t lk_resize_clip(int32_t sum) {
    sum >>= LK_RESIZE_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* Outputs [from, to) of one row, portable. */
void lk_resize_row(const lk_taps *taps, int32_t from, int32_t to, const uint8_t *in, int channels, uint8_t *out);

#endif
