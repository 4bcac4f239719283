/* Transforms and matrix product of winograd.h, 8 floats at a time. */
#include "device/cpu/kernels_isa.h"
#include "device/cpu/winograd.h"

#if LK_CPU_HAVE_AVX2
#pragma GCC target("avx2,fma")
#include <immintrin.h>
#include <stddef.h>

#define INLINE static inline __attribute__((always_inline))
typedef __m256 v8;

INLINE v8 load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, v8 v) { _mm256_storeu_ps(p, v); }
INLINE v8 add(v8 a, v8 b) { return _mm256_add_ps(a, b); }
INLINE v8 sub(v8 a, v8 b) { return _mm256_sub_ps(a, b); }
INLINE v8 half(v8 a) { return _mm256_mul_ps(a, _mm256_set1_ps(0.5f)); }

/* One register tile: 6 rows x 16 columns in 12 registers. */
#define ROW_START(r)                                                     \
    v8 c##r##0 = accumulate ? load(c + (r)*c_row) : _mm256_setzero_ps(); \
    v8 c##r##1 = accumulate ? load(c + (r)*c_row + 8) : _mm256_setzero_ps();
#define ROW_STEP(r)                            \
    s = _mm256_broadcast_ss(a + (r)*a_row);    \
    c##r##0 = _mm256_fmadd_ps(s, b0, c##r##0); \
    c##r##1 = _mm256_fmadd_ps(s, b1, c##r##1);
#define ROW_END(r)                 \
    store(c + (r)*c_row, c##r##0); \
    store(c + (r)*c_row + 8, c##r##1);
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)

INLINE void register_tile(int64_t depth, const float *a, int64_t a_row, int64_t a_k, const float *b, float *c,
                          int64_t c_row, bool accumulate) {
    EACH_ROW(ROW_START)
    for (int64_t k = 0; k < depth; k++) {
        v8 b0 = load(b), b1 = load(b + 8), s;
        EACH_ROW(ROW_STEP)
        a += a_k;
        b += LK_WINOGRAD_PANEL;
    }
    EACH_ROW(ROW_END)
}

static void product(const lk_winograd_product *p) {
    for (int64_t panel = 0; panel < p->panels; panel++) {
        const float *b = p->b + panel * p->depth * LK_WINOGRAD_PANEL;
        float *c = p->c + panel * LK_WINOGRAD_PANEL;
        for (int64_t row = 0; row < p->rows; row += LK_WINOGRAD_ROWS) {
            const float *a = p->a + row * p->a_row;
            if (p->a_k == 1)
                register_tile(p->depth, a, p->a_row, 1, b, c + row * p->c_row, p->c_row, false);
            else
                register_tile(p->depth, a, 1, p->a_k, b, c + row * p->c_row, p->c_row, p->accumulate);
        }
    }
}

/* Where tile t lies. */
typedef struct place {
    int64_t image, y, x; /* of its first output */
} place;

INLINE place place_of(const lk_winograd_image *g, int64_t t) {
    int64_t per_image = g->tiles_h * g->tiles_w, in_image = t % per_image;
    return (place){t / per_image, in_image / g->tiles_w * 2, in_image % g->tiles_w * 2};
}

INLINE void step(const lk_winograd_image *g, place *p) {
    p->x += 2;
    if (p->x < 2 * g->tiles_w) return;
    p->x = 0;
    p->y += 2;
    if (p->y < 2 * g->tiles_h) return;
    p->y = 0;
    p->image++;
}

INLINE int64_t plane_at(const lk_winograd_image *g, int64_t image, int64_t block) {
    return (image * (g->channels / 8) + block) * g->h * g->w * 8;
}

/* One line of B^T d: v0 - v2, v1 + v2, v2 - v1, v1 - v3. */
#define TURN_INPUT(d0, d1, d2, d3, o0, o1, o2, o3) \
    v8 o0 = sub(d0, d2), o1 = add(d1, d2), o2 = sub(d2, d1), o3 = sub(d1, d3);

/* B^T d B of the 4 x 4 values at d, rows `row` apart. */
INLINE void input_tile(const float *d, int64_t row, float *v, int64_t point_stride) {
    v8 r[4][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; x++) {
        TURN_INPUT(load(d + x * 8), load(d + row + x * 8), load(d + 2 * row + x * 8), load(d + 3 * row + x * 8), a, b,
                   c, e)
        r[0][x] = a, r[1][x] = b, r[2][x] = c, r[3][x] = e;
    }
#pragma GCC unroll 4
    for (int y = 0; y < 4; y++) {
        TURN_INPUT(r[y][0], r[y][1], r[y][2], r[y][3], a, b, c, e)
        float *to = v + 4 * y * point_stride;
        store(to, a), store(to + point_stride, b), store(to + 2 * point_stride, c), store(to + 3 * point_stride, e);
    }
}

/* Copies the size x size values from (y, x) on, zero outside the image. */
INLINE void copy_edge(const lk_winograd_image *g, const float *plane, int64_t y, int64_t x, int size, float *to) {
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            bool inside = y + i >= 0 && y + i < g->h && x + j >= 0 && x + j < g->w;
            store(to + (i * size + j) * 8, inside ? load(plane + ((y + i) * g->w + x + j) * 8) : _mm256_setzero_ps());
        }
}

static void input(const lk_winograd_image *g, const float *x, int64_t block, int64_t first, int64_t count, float *v,
                  int64_t point_stride, int64_t tile_stride) {
    place p = place_of(g, first);
    for (int64_t i = 0; i < count; i++, step(g, &p)) {
        const float *plane = x + plane_at(g, p.image, block);
        int64_t top = p.y - 1, left = p.x - 1;
        float *to = v + i * tile_stride;
        if (top >= 0 && left >= 0 && top + 4 <= g->h && left + 4 <= g->w) {
            input_tile(plane + (top * g->w + left) * 8, g->w * 8, to, point_stride);
        } else {
            float edge[4 * 4 * 8];
            copy_edge(g, plane, top, left, 4, edge);
            input_tile(edge, 4 * 8, to, point_stride);
        }
    }
}

/* One line of A dy: y0, y0 + y1, y0 - y1, -y1. */
INLINE void gradient_tile(const float *d, int64_t row, float *m, int64_t point_stride) {
    v8 zero = _mm256_setzero_ps();
    v8 a0 = load(d), a1 = load(d + 8), b0 = load(d + row), b1 = load(d + row + 8);
    v8 r[4][2] = {{a0, a1}, {add(a0, b0), add(a1, b1)}, {sub(a0, b0), sub(a1, b1)}, {sub(zero, b0), sub(zero, b1)}};
#pragma GCC unroll 4
    for (int y = 0; y < 4; y++) {
        float *to = m + 4 * y * point_stride;
        store(to, r[y][0]);
        store(to + point_stride, add(r[y][0], r[y][1]));
        store(to + 2 * point_stride, sub(r[y][0], r[y][1]));
        store(to + 3 * point_stride, sub(zero, r[y][1]));
    }
}

static void gradient(const lk_winograd_image *g, const float *dy, int64_t block, int64_t first, int64_t count, float *m,
                     int64_t point_stride, int64_t tile_stride) {
    place p = place_of(g, first);
    for (int64_t i = 0; i < count; i++, step(g, &p)) {
        const float *plane = dy + plane_at(g, p.image, block);
        float *to = m + i * tile_stride;
        if (p.y + 2 <= g->h && p.x + 2 <= g->w) {
            gradient_tile(plane + (p.y * g->w + p.x) * 8, g->w * 8, to, point_stride);
        } else {
            float edge[2 * 2 * 8];
            copy_edge(g, plane, p.y, p.x, 2, edge);
            gradient_tile(edge, 2 * 8, to, point_stride);
        }
    }
}

/* A^T m A: from lines m0 + m1 + m2 and m1 - m2 - m3. */
INLINE void output_tile(const float *m, int64_t point_stride, v8 y[2][2]) {
    v8 r[2][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; x++) {
        const float *at = m + x * point_stride;
        v8 m0 = load(at), m1 = load(at + 4 * point_stride), m2 = load(at + 8 * point_stride);
        v8 m3 = load(at + 12 * point_stride);
        r[0][x] = add(add(m0, m1), m2);
        r[1][x] = sub(sub(m1, m2), m3);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        y[i][0] = add(add(r[i][0], r[i][1]), r[i][2]);
        y[i][1] = sub(sub(r[i][1], r[i][2]), r[i][3]);
    }
}

static void output(const lk_winograd_image *g, const float *m, int64_t point_stride, int64_t tile_stride, int64_t block,
                   int64_t first, int64_t count, float *y) {
    place p = place_of(g, first);
    for (int64_t i = 0; i < count; i++, step(g, &p)) {
        v8 out[2][2];
        float *to = y + plane_at(g, p.image, block) + (p.y * g->w + p.x) * 8;
        output_tile(m + i * tile_stride, point_stride, out);
        bool right = p.x + 1 < g->w, below = p.y + 1 < g->h;
        store(to, out[0][0]);
        if (right) store(to + 8, out[0][1]);
        if (below) store(to + g->w * 8, out[1][0]);
        if (right && below) store(to + g->w * 8 + 8, out[1][1]);
    }
}

/* One line of G w: w0, (w0 + w1 + w2) / 2, (w0 - w1 + w2) / 2, w2. */
#define TURN_WEIGHT(w0, w1, w2, o0, o1, o2, o3) \
    v8 o0 = w0, o1 = half(add(add(w0, w2), w1)), o2 = half(sub(add(w0, w2), w1)), o3 = w2;

static void weights(const float *w, int64_t out, int64_t in_count, float *u, int64_t point_stride) {
    for (int64_t o = 0; o < out; o += 8) {
        v8 r[4][3];
        float *to = u + o / LK_WINOGRAD_PANEL * in_count * LK_WINOGRAD_PANEL + o % LK_WINOGRAD_PANEL;
#pragma GCC unroll 3
        for (int x = 0; x < 3; x++) {
            TURN_WEIGHT(load(w + x * out + o), load(w + (3 + x) * out + o), load(w + (6 + x) * out + o), a, b, c, e)
            r[0][x] = a, r[1][x] = b, r[2][x] = c, r[3][x] = e;
        }
#pragma GCC unroll 4
        for (int y = 0; y < 4; y++) {
            TURN_WEIGHT(r[y][0], r[y][1], r[y][2], a, b, c, e)
            float *at = to + 4 * y * point_stride;
            store(at, a), store(at + point_stride, b), store(at + 2 * point_stride, c);
            store(at + 3 * point_stride, e);
        }
    }
}

/* 8 x 8 transposition of rows `from_row` apart. */
INLINE void transpose(const float *from, int64_t from_row, float *to, int64_t to_row) {
    v8 a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) a[i] = load(from + i * from_row);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        store(to + i * to_row, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        store(to + (i + 4) * to_row, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

static void weights_turned(const float *u, int64_t in, int64_t out, int64_t point, float *turned) {
    static const int64_t mirror[4] = {3, 1, 2, 0}; /* turning a filter by 180 degrees swaps its first and last points */
    int64_t source = mirror[point / 4] * 4 + mirror[point % 4];
    const float *from = u + source * lk_winograd_round(out, LK_WINOGRAD_PANEL) * in;
    float *to = turned + point * lk_winograd_round(in, LK_WINOGRAD_PANEL) * out;
    for (int64_t i = 0; i < in; i += 8)
        for (int64_t o = 0; o < out; o += 8)
            transpose(
                from + (o / LK_WINOGRAD_PANEL * in + i) * LK_WINOGRAD_PANEL + o % LK_WINOGRAD_PANEL, LK_WINOGRAD_PANEL,
                to + (i / LK_WINOGRAD_PANEL * out + o) * LK_WINOGRAD_PANEL + i % LK_WINOGRAD_PANEL, LK_WINOGRAD_PANEL);
}

/* One line of G^T d: d0 + (d1 + d2) / 2, (d1 - d2) / 2, (d1 + d2) / 2 + d3. */
#define TURN_GRADIENT(d0, d1, d2, d3, o0, o1, o2)            \
    v8 o0##_sum = half(add(d1, d2)), o0 = add(d0, o0##_sum); \
    v8 o1 = half(sub(d1, d2)), o2 = add(o0##_sum, d3);

static void weight_gradient(const float *d, int64_t point_stride, int64_t out, float *grad) {
    for (int64_t o = 0; o < out; o += 8) {
        v8 r[3][4];
#pragma GCC unroll 4
        for (int x = 0; x < 4; x++) {
            const float *at = d + x * point_stride + o;
            TURN_GRADIENT(load(at), load(at + 4 * point_stride), load(at + 8 * point_stride),
                          load(at + 12 * point_stride), a, b, c)
            r[0][x] = a, r[1][x] = b, r[2][x] = c;
        }
#pragma GCC unroll 3
        for (int y = 0; y < 3; y++) {
            TURN_GRADIENT(r[y][0], r[y][1], r[y][2], r[y][3], a, b, c)
            float *to = grad + 3 * y * out + o;
            store(to, a), store(to + out, b), store(to + 2 * out, c);
        }
    }
}

static const lk_winograd_kernels KERNELS = {product, input, gradient, output, weights, weights_turned, weight_gradient};
#endif

const lk_winograd_kernels *lk_winograd_kernels_get(void) {
#if LK_CPU_HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &KERNELS;
#endif
    return NULL;
}
