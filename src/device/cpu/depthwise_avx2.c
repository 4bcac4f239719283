/* The passes of depthwise.h, 8 floats at a time. */
#include <stdbool.h>

#include "device/cpu/depthwise.h"
#include "device/cpu/kernels_isa.h"

#define BAND_BYTES (32 * 1024) /* of a band of rows: what stays in the first-level cache */
#define LANES LK_DEPTHWISE_LANES
#define TILE 8 /* most outputs of one row held in registers */

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* A padded copy of some rows. */
typedef struct band {
    int64_t columns;   /* with padding, of one phase; phases lie one behind the other */
    int64_t phases;    /* 1, or 2 where columns are taken apart */
    int64_t left;      /* padding columns before column 0 */
    int64_t most_rows; /* that fit */
} band;

static int64_t row_size(const band *b) { return b->columns * b->phases * LANES; }

static band band_of(int64_t columns, int64_t phases, int64_t left, int64_t least_rows) {
    band b = {(columns + phases - 1) / phases, phases, left, 0};
    b.most_rows = larger(least_rows, BAND_BYTES / (row_size(&b) * (int64_t)sizeof(float)));
    return b;
}

/* Bands of x, for forward and the weights' gradient. */
static band x_band(const lk_depthwise *g) {
    return band_of((g->out_w - 1) * g->stride + g->kernel, g->stride, g->pad_left, g->kernel);
}

/* Kernel rows or columns that meet an input of even distance from the first output's. */
static int64_t even_taps(const lk_depthwise *g) { return (g->kernel + g->stride - 1) / g->stride; }

/* Bands of dy, for the data gradient. */
static band dy_band(const lk_depthwise *g) {
    int64_t taps = even_taps(g);
    int64_t last = (g->w - 1 + g->pad_left) / g->stride; /* column that the last input's first tap meets */
    return band_of(last + taps, 1, taps - 1, taps + 1);
}

int64_t lk_depthwise_scratch(const lk_depthwise *g) {
    band x = x_band(g), dy = dy_band(g);
    return larger(x.most_rows * row_size(&x), dy.most_rows * row_size(&dy));
}

#if LK_CPU_HAVE_AVX2
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
typedef __m256 v8;

INLINE v8 load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, v8 v) { _mm256_storeu_ps(p, v); }

INLINE float *put_zeros(float *to, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) store(to + i * LANES, _mm256_setzero_ps());
    return to + pixels * LANES;
}

/* One row of `width` pixels into the band; from NULL: a row of padding. */
static void copy_row(const band *b, const float *from, int64_t width, int64_t pixel, float *to) {
    if (from == NULL) {
        (void)put_zeros(to, b->columns * b->phases);
        return;
    }
    for (int64_t phase = 0; phase < b->phases; phase++) {
        /* Column i of the phase is pixel i * phases + phase - left. */
        int64_t first = (larger(b->left - phase, 0) + b->phases - 1) / b->phases;
        int64_t end = (width + b->left - phase + b->phases - 1) / b->phases;
        end = larger(smaller(end, b->columns), 0);
        first = smaller(first, end);
        to = put_zeros(to, first);
        const float *source = from + (first * b->phases + phase - b->left) * pixel;
        int64_t step = b->phases * pixel;
        for (int64_t i = first; i < end; i++, to += LANES, source += step) store(to, load(source));
        to = put_zeros(to, b->columns - end);
    }
}

/* Rows [first, last) of a plane of `height` rows; those outside are padding. */
static void copy_rows(const band *b, const float *plane, int64_t height, int64_t width, int64_t pixel, int64_t first,
                      int64_t last, float *to) {
    for (int64_t row = first; row < last; row++, to += row_size(b))
        copy_row(b, row >= 0 && row < height ? plane + row * width * pixel : NULL, width, pixel, to);
}

/* Rows of a band and of the kernel that meet in one row of results: each row in one or two phases. */
typedef struct meeting {
    const float *row[LK_DEPTHWISE_MAX_KERNEL][2];
    const float *weights[LK_DEPTHWISE_MAX_KERNEL][2];
    int rows;
    int64_t step; /* elements from one weight to the next */
} meeting;

/* acc[t] += sum over k of weight[k] row[t + k], for one row. */
INLINE void add_row(v8 *acc, const float *row, const float *weights, int64_t step, const int taps, const int count) {
    v8 w[LK_DEPTHWISE_MAX_KERNEL];
#pragma GCC unroll 5
    for (int k = 0; k < taps; k++) w[k] = load(weights + k * step);
#pragma GCC unroll 16
    for (int j = 0; j < count + taps - 1; j++) {
        v8 v = load(row + j * LANES);
#pragma GCC unroll 5
        for (int k = 0; k < taps; k++)
            if (j - k >= 0 && j - k < count) acc[j - k] = _mm256_fmadd_ps(w[k], v, acc[j - k]);
    }
}

/* `count` results from column `at` of the band on. taps: kernel columns of the first and the second phase. */
INLINE void make_tile(const meeting *m, int64_t at, float *to, int64_t to_step, const int taps, const int more_taps,
                      const int count) {
    v8 acc[TILE];
#pragma GCC unroll 8
    for (int t = 0; t < count; t++) acc[t] = _mm256_setzero_ps();
    for (int r = 0; r < m->rows; r++) {
        add_row(acc, m->row[r][0] + at * LANES, m->weights[r][0], m->step, taps, count);
        if (more_taps > 0) add_row(acc, m->row[r][1] + at * LANES, m->weights[r][1], m->step, more_taps, count);
    }
#pragma GCC unroll 8
    for (int t = 0; t < count; t++) store(to + t * to_step, acc[t]);
}

/* A row of `count` results in tiles of nearly equal size. */
INLINE void make_row(const meeting *m, int64_t count, float *to, int64_t to_step, const int taps, const int more_taps) {
    int64_t tiles = (count + TILE - 1) / TILE;
    for (int64_t tile = 0, at = 0; tile < tiles; tile++) {
        int64_t end = count * (tile + 1) / tiles;
        float *first = to + at * to_step;
#define CASE(n) \
    case n: make_tile(m, at, first, to_step, taps, more_taps, n); break;
        switch (end - at) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) }
#undef CASE
        at = end;
    }
}

/* One function for each number of kernel columns in the two phases. */
typedef void (*row_function)(const meeting *m, int64_t count, float *to, int64_t to_step);
#define ROW(a, b)                                                                            \
    static void row_##a##_##b(const meeting *m, int64_t count, float *to, int64_t to_step) { \
        make_row(m, count, to, to_step, a, b);                                               \
    }
ROW(5, 0)
ROW(3, 2)
ROW(3, 0)
ROW(2, 1)
ROW(2, 0)
ROW(1, 0)
#undef ROW

static row_function row_of(int64_t taps, int64_t more_taps) {
    if (more_taps == 2) return row_3_2;
    if (more_taps == 1) return row_2_1;
    return taps == 5 ? row_5_0 : taps == 3 ? row_3_0 : taps == 2 ? row_2_0 : row_1_0;
}

static void forward(const lk_depthwise *g, const float *x, const float *weights, float *y, float *scratch) {
    const band b = x_band(g);
    const row_function make = row_of(even_taps(g), g->kernel - even_taps(g));
    int64_t most = (b.most_rows - g->kernel) / g->stride + 1;
    meeting m = {.rows = (int)g->kernel, .step = g->stride * LANES};
    for (int64_t ky = 0; ky < g->kernel; ky++) {
        m.weights[ky][0] = weights + ky * g->kernel * LANES;
        m.weights[ky][1] = m.weights[ky][0] + LANES;
    }
    for (int64_t first = 0; first < g->out_h; first += most) {
        int64_t end = smaller(first + most, g->out_h), top = first * g->stride - g->pad_top;
        copy_rows(&b, x, g->h, g->w, g->x_pixel, top, (end - 1) * g->stride - g->pad_top + g->kernel, scratch);
        for (int64_t oy = first; oy < end; oy++) {
            for (int64_t ky = 0; ky < g->kernel; ky++) {
                m.row[ky][0] = scratch + ((oy - first) * g->stride + ky) * row_size(&b);
                m.row[ky][1] = m.row[ky][0] + b.columns * LANES;
            }
            make(&m, g->out_w, y + oy * g->out_w * g->y_pixel, g->y_pixel);
        }
    }
}

/* One row of dx: the columns whose taps are the kernel's even ones, then those with the odd ones (stride 2).
 *   dx[iy, ix] = sum over ky, kx of weight[ky, kx] dy[(iy + pad_top - ky) / stride, (ix + pad_left - kx) / stride]
 * where the divisions leave no rest: a convolution of dy with the kernel turned round. */
static void data_row(const lk_depthwise *g, const band *b, const float *const *rows, const float *const *kernel_rows,
                     int row_count, float *dx) {
    for (int64_t phase = 0; phase < g->stride; phase++) {
        int64_t taps = (g->kernel - phase + g->stride - 1) / g->stride;
        int64_t ix = (phase + g->stride * g->kernel - g->pad_left) % g->stride;
        int64_t column = (ix + g->pad_left - phase) / g->stride - (taps - 1) + b->left;
        meeting m = {.rows = row_count, .step = -g->stride * LANES};
        for (int r = 0; r < row_count; r++) {
            m.row[r][0] = rows[r] + column * LANES;
            m.weights[r][0] = kernel_rows[r] + (phase + (taps - 1) * g->stride) * LANES;
        }
        if (ix < g->w)
            row_of(taps, 0)(&m, (g->w - ix + g->stride - 1) / g->stride, dx + ix * g->x_pixel, g->stride * g->x_pixel);
    }
}

static void data(const lk_depthwise *g, const float *dy, const float *weights, float *dx, float *scratch) {
    const band b = dy_band(g);
    int64_t most = (b.most_rows - even_taps(g)) * g->stride;
    for (int64_t first = 0; first < g->h; first += most) {
        int64_t end = smaller(first + most, g->h);
        int64_t top = (first + g->pad_top) / g->stride - (even_taps(g) - 1);
        copy_rows(&b, dy, g->out_h, g->out_w, g->y_pixel, top, (end - 1 + g->pad_top) / g->stride + 1, scratch);
        for (int64_t iy = first; iy < end; iy++) {
            const float *rows[LK_DEPTHWISE_MAX_KERNEL], *kernel_rows[LK_DEPTHWISE_MAX_KERNEL];
            int count = 0;
            for (int64_t ky = (iy + g->pad_top) % g->stride; ky < g->kernel; ky += g->stride, count++) {
                rows[count] = scratch + ((iy + g->pad_top - ky) / g->stride - top) * row_size(&b);
                kernel_rows[count] = weights + ky * g->kernel * LANES;
            }
            data_row(g, &b, rows, kernel_rows, count, dx + iy * g->w * g->x_pixel);
        }
    }
}

/* sums[ky, kx] += sum over the rows [first, end) of dy[oy, ox] x[oy stride + ky, ox stride + kx], for `kys` rows of the
 * kernel from ky on. */
INLINE void add_products(const lk_depthwise *g, const band *b, const float *rows, const float *dy, int64_t count,
                         int64_t ky, double *sums, const int kys, const int kernel, const int stride) {
    v8 acc[3][LK_DEPTHWISE_MAX_KERNEL];
#pragma GCC unroll 3
    for (int r = 0; r < kys; r++) {
#pragma GCC unroll 5
        for (int k = 0; k < kernel; k++) acc[r][k] = _mm256_setzero_ps();
    }
    for (int64_t i = 0; i < count; i++) {
        const float *row = rows + (i * stride + ky) * row_size(b), *gradient = dy + i * g->out_w * g->y_pixel;
        const float *next = row + row_size(b), *third = next + row_size(b);
        const int64_t odd = b->columns * LANES; /* from a row's even columns to its odd ones */
        for (int64_t ox = 0; ox < g->out_w; ox++, gradient += g->y_pixel, row += LANES, next += LANES, third += LANES) {
            v8 d = load(gradient);
#pragma GCC unroll 5
            for (int k = 0; k < kernel; k++) {
                int64_t at = k / stride * LANES + (stride == 2 && k % 2 == 1 ? odd : 0);
                acc[0][k] = _mm256_fmadd_ps(d, load(row + at), acc[0][k]);
                if (kys > 1) acc[1][k] = _mm256_fmadd_ps(d, load(next + at), acc[1][k]);
                if (kys > 2) acc[2][k] = _mm256_fmadd_ps(d, load(third + at), acc[2][k]);
            }
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < kys; r++) {
#pragma GCC unroll 5
        for (int k = 0; k < kernel; k++) {
            double *to = sums + ((ky + r) * kernel + k) * LANES;
            __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(acc[r][k]));
            __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(acc[r][k], 1));
            _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), low));
            _mm256_storeu_pd(to + 4, _mm256_add_pd(_mm256_loadu_pd(to + 4), high));
        }
    }
}

/* The kernel's rows in groups whose sums fit into registers. */
INLINE void add_band(const lk_depthwise *g, const band *b, const float *rows, const float *dy, int64_t count,
                     double *sums, const int kernel, const int stride) {
    if (kernel == 3) {
        add_products(g, b, rows, dy, count, 0, sums, 3, 3, stride);
        return;
    }
    add_products(g, b, rows, dy, count, 0, sums, 2, 5, stride);
    add_products(g, b, rows, dy, count, 2, sums, 2, 5, stride);
    add_products(g, b, rows, dy, count, 4, sums, 1, 5, stride);
}

static void weight(const lk_depthwise *g, const float *x, const float *dy, double *sums, float *scratch) {
    const band b = x_band(g);
    int64_t most = (b.most_rows - g->kernel) / g->stride + 1;
    for (int64_t first = 0; first < g->out_h; first += most) {
        int64_t end = smaller(first + most, g->out_h), top = first * g->stride - g->pad_top;
        const float *rows = dy + first * g->out_w * g->y_pixel;
        copy_rows(&b, x, g->h, g->w, g->x_pixel, top, (end - 1) * g->stride - g->pad_top + g->kernel, scratch);
        if (g->kernel == 3 && g->stride == 1)
            add_band(g, &b, scratch, rows, end - first, sums, 3, 1);
        else if (g->kernel == 3)
            add_band(g, &b, scratch, rows, end - first, sums, 3, 2);
        else if (g->stride == 1)
            add_band(g, &b, scratch, rows, end - first, sums, 5, 1);
        else
            add_band(g, &b, scratch, rows, end - first, sums, 5, 2);
    }
}

static const lk_depthwise_kernels KERNELS = {forward, data, weight};
#endif

const lk_depthwise_kernels *lk_depthwise_kernels_get(void) {
#if LK_CPU_HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &KERNELS;
#endif
    return NULL;
}
