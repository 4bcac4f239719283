/* 3x3 convolutions by Winograd's minimal filtering: 2 x 2 outputs of one channel pair from 16 multiplications instead
 * of 36. Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4.1, F(2x2, 3x3);
 * the weight gradient is the same algorithm transposed, F(3x3, 2x2).
 *
 * A tensor is cut into tiles of 2 x 2 outputs, numbered over all images. Each tile's 4 x 4 values are transformed into
 * 16 numbers, a "point" each; at every point there is a plain matrix product over channels (or over tiles, for the
 * weight gradient). Tiles go in blocks, so that a block's transformed values stay in the cache. */
#ifndef LK_DEVICE_CPU_WINOGRAD_H
#define LK_DEVICE_CPU_WINOGRAD_H

#include <stdbool.h>
#include <stdint.h>

#define LK_WINOGRAD_POINTS 16
#define LK_WINOGRAD_ROWS 6   /* of a register tile of the matrix product */
#define LK_WINOGRAD_PANEL 16 /* its columns */

/* An activation in blocks of 8 channels, cut into tiles. */
typedef struct lk_winograd_image {
    int64_t channels, h, w;
    int64_t tiles_h, tiles_w; /* of one image */
} lk_winograd_image;

/* C += or = A B on a grid of register tiles. Element (row, k) of A is at a[row * a_row + k * a_k]; B is panels of 16
 * columns, [panel][k][16]; C is row-major. rows is a multiple of 6. */
typedef struct lk_winograd_product {
    int64_t rows, panels, depth;
    const float *a;
    int64_t a_row, a_k;
    const float *b;
    float *c;
    int64_t c_row;
    bool accumulate;
} lk_winograd_product;

typedef struct lk_winograd_kernels {
    void (*product)(const lk_winograd_product *p);
    /* Tiles [first, first + count) of 8 channels to points: v[point * point_stride + i * tile_stride + 0..7]. */
    void (*input)(const lk_winograd_image *g, const float *x, int64_t block, int64_t first, int64_t count, float *v,
                  int64_t point_stride, int64_t tile_stride);
    /* The gradient of y, 2 x 2 values a tile, to points, laid out likewise. */
    void (*gradient)(const lk_winograd_image *g, const float *dy, int64_t block, int64_t first, int64_t count, float *m,
                     int64_t point_stride, int64_t tile_stride);
    /* Points back to 2 x 2 outputs a tile. */
    void (*output)(const lk_winograd_image *g, const float *m, int64_t point_stride, int64_t tile_stride, int64_t block,
                   int64_t first, int64_t count, float *y);
    /* Weights [in][3][3][out] of one input channel to points u[point * point_stride + ((out / 16) * in_count * 16) +
     * out % 16]; u is at the input channel's row. */
    void (*weights)(const float *w, int64_t out, int64_t in_count, float *u, int64_t point_stride);
    /* The same points for the data gradient: points mirrored, matrices transposed: [point][in / 16][out][16]. */
    void (*weights_turned)(const float *u, int64_t in, int64_t out, int64_t point, float *turned);
    /* Points d[point * point_stride + 0..out) of one input channel to gradients [3][3][out]. */
    void (*weight_gradient)(const float *d, int64_t point_stride, int64_t out, float *grad);
} lk_winograd_kernels;

/* NULL where the processor lacks AVX2 with FMA. */
const lk_winograd_kernels *lk_winograd_kernels_get(void);

static inline int64_t lk_winograd_round(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

#endif
