#include "io/image/resize.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "io/image/codec.h"
#include "io/image/resize_kernels.h"

/* Widest result a plan may describe; only its window takes memory. */
#define MAX_RESULT (1 << 30)

typedef struct axis {
    lk_taps taps;
    bool identity; /* output o is input begin + o */
    size_t positions_capacity, weights_capacity, split_capacity;
    int32_t *positions; /* taps.first, then taps.taps */
} axis;

struct lk_resizer {
    const lk_resize_kernels *kernels;
    axis x, y;
    lk_rect window;
    bool vertical_first;
    double *exact; /* weights of one output before rounding */
    size_t exact_capacity;
    uint8_t *rows; /* what the first pass made */
    size_t rows_capacity;
};

const char *lk_interpolation_name(lk_interpolation interpolation) {
    static const char *const names[LK_INTERPOLATION_COUNT] = {"bilinear", "bicubic"};
    return (unsigned)interpolation < LK_INTERPOLATION_COUNT ? names[interpolation] : "unknown";
}

lk_status lk_resizer_create(lk_resizer **out, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, 1, "a resizer", err));
    const lk_resize_kernels *avx2 = lk_resize_avx2();
    (*out)->kernels = avx2 != NULL ? avx2 : &lk_resize_plain;
    return LK_OK;
}

static void free_axis(axis *a) {
    lk_free(a->positions);
    lk_free(a->taps.weights);
    lk_free(a->taps.split);
}

void lk_resizer_free(lk_resizer *resizer) {
    if (resizer == NULL) return;
    free_axis(&resizer->x);
    free_axis(&resizer->y);
    lk_free(resizer->exact);
    lk_free(resizer->rows);
    lk_free(resizer);
}

/* Source: Keys 1981 with a = -0.5, and the triangle; as Pillow evaluates them. */
static inline double filter(lk_interpolation interpolation, double x) {
    x = fabs(x);
    if (interpolation == LK_BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
    const double a = -0.5;
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

/* What one axis is asked for. */
typedef struct axis_spec {
    int32_t in_size;
    float begin, end; /* box; Pillow keeps it in single precision */
    int32_t size;     /* of the whole result */
    int32_t window, count;
    bool flip;
    lk_interpolation interpolation;
} axis_spec;

/* Weights of result position `at`, in Pillow's order of operations: the last bit depends on it. */
static void weigh(lk_taps *taps, int32_t o, const axis_spec *s, int32_t at, double scale, double support,
                  double *exact) {
    double inverse = 1.0 / (scale < 1.0 ? 1.0 : scale);
    double center = s->begin + (at + 0.5) * scale;
    int32_t first = (int32_t)(center - support + 0.5);
    if (first < 0) first = 0;
    int32_t last = (int32_t)(center + support + 0.5);
    if (last > s->in_size) last = s->in_size;
    int32_t count = last - first;
    double total = 0.0;
    for (int32_t t = 0; t < count; t++) {
        exact[t] = filter(s->interpolation, (t + first - center + 0.5) * inverse);
        total += exact[t];
    }
    int32_t *weights = taps->weights + (size_t)o * (size_t)taps->stride;
    for (int32_t t = 0; t < count; t++) {
        double w = total != 0.0 ? exact[t] / total : exact[t];
        weights[t] = (int32_t)(w * (1 << LK_RESIZE_BITS) + (w < 0 ? -0.5 : 0.5));
    }
    taps->first[o] = first;
    taps->taps[o] = count;
}

/* Lays the weights out for the AVX2 kernel and finds the outputs it may make without reading past the input. */
static lk_status split_weights(axis *a, bool flip, lk_error *err) {
    lk_taps *taps = &a->taps;
    int32_t most = 0, width = taps->end - taps->begin;
    for (int32_t o = 0; o < taps->count; o++) most = taps->taps[o] > most ? taps->taps[o] : most;
    taps->groups = (most + 3) / 4;
    size_t needed = (size_t)taps->count * (size_t)taps->groups * 32;
    LK_RETURN_IF(lk_grow((void **)&taps->split, &a->split_capacity, needed, sizeof(int16_t), "resize weights", err));
    taps->fast_begin = 0;
    taps->fast_end = 0;
    for (int32_t o = 0; o < taps->count; o++) {
        bool fast = taps->first[o] + 4 * taps->groups + 2 <= width;
        if (flip && !fast) taps->fast_begin = o + 1;
        if (fast) taps->fast_end = o + 1;
        int16_t *to = taps->split + (size_t)o * (size_t)taps->groups * 32;
        const int32_t *from = taps->weights + (size_t)o * (size_t)taps->stride;
        for (int32_t t = 0; t < 4 * taps->groups; t++) {
            int32_t w = t < taps->taps[o] ? from[t] : 0;
            int16_t *low = to + t / 4 * 32 + t % 4 / 2 * 8 + t % 2;
            for (int c = 0; c < 4; c++) {
                low[2 * c] = (int16_t)(c < 3 ? w & 2047 : 0);
                low[2 * c + 16] = (int16_t)(c < 3 ? w >> 11 : 0);
            }
        }
    }
    if (taps->fast_end > taps->count - 1) taps->fast_end = taps->count - 1; /* its store runs a byte over */
    if (taps->fast_begin > taps->fast_end) taps->fast_begin = taps->fast_end;
    return LK_OK;
}

static lk_status plan_axis(lk_resizer *resizer, axis *a, const axis_spec *s, lk_error *err) {
    lk_taps *taps = &a->taps;
    double scale = (double)(s->end - s->begin) / s->size;
    a->identity = scale == 1.0 && s->begin == floorf(s->begin);
    if (a->identity && !s->flip) {
        taps->begin = (int32_t)s->begin + s->window;
        taps->end = taps->begin + s->count;
        return LK_OK;
    }
    a->identity = false;
    double support = (s->interpolation == LK_BILINEAR ? 1.0 : 2.0) * (scale < 1.0 ? 1.0 : scale);
    double most = ceil(support) * 2 + 1;
    taps->stride = most < s->in_size ? (int32_t)most : s->in_size;
    taps->count = s->count;
    size_t count = (size_t)s->count;
    LK_RETURN_IF(lk_grow((void **)&resizer->exact, &resizer->exact_capacity, (size_t)taps->stride, sizeof(double),
                         "resize weights", err));
    LK_RETURN_IF(lk_grow((void **)&taps->weights, &a->weights_capacity, count * (size_t)taps->stride, sizeof(int32_t),
                         "resize weights", err));
    LK_RETURN_IF(
        lk_grow((void **)&a->positions, &a->positions_capacity, 2 * count, sizeof(int32_t), "resize weights", err));
    taps->first = a->positions;
    taps->taps = a->positions + count;
    for (int32_t o = 0; o < s->count; o++)
        weigh(taps, o, s, s->window + (s->flip ? s->count - 1 - o : o), scale, support, resizer->exact);
    int32_t low = s->flip ? s->count - 1 : 0, high = s->flip ? 0 : s->count - 1;
    taps->begin = taps->first[low];
    taps->end = taps->first[high] + taps->taps[high];
    for (int32_t o = 0; o < s->count; o++) taps->first[o] -= taps->begin;
    return LK_OK;
}

static lk_status check_spec(const lk_resize_spec *s, lk_error *err) {
    const lk_box *b = &s->box;
    const lk_rect *w = &s->window;
    if (s->width < 1 || s->height < 1 || s->width > MAX_RESULT || s->height > MAX_RESULT)
        return lk_fail(err, LK_ERR_DATA, "cannot resize to %d x %d pixels", s->width, s->height);
    if (!(b->x0 >= 0 && b->y0 >= 0 && b->x1 <= s->in_width && b->y1 <= s->in_height && (float)b->x0 < (float)b->x1 &&
          (float)b->y0 < (float)b->y1))
        return lk_fail(err, LK_ERR_DATA, "the box (%g, %g, %g, %g) is empty or outside an image of %d x %d pixels",
                       b->x0, b->y0, b->x1, b->y1, s->in_width, s->in_height);
    if (w->x < 0 || w->y < 0 || w->width < 1 || w->height < 1 || w->width > s->width - w->x ||
        w->height > s->height - w->y)
        return lk_fail(err, LK_ERR_DATA, "the window is empty or outside a result of %d x %d pixels", s->width,
                       s->height);
    return LK_OK;
}

lk_status lk_resizer_plan(lk_resizer *resizer, const lk_resize_spec *s, lk_rect *needed, lk_error *err) {
    LK_RETURN_IF(check_spec(s, err));
    axis_spec x = {s->in_width, (float)s->box.x0, (float)s->box.x1, s->width,
                   s->window.x, s->window.width,  s->flip,          s->interpolation};
    axis_spec y = {s->in_height, (float)s->box.y0, (float)s->box.y1, s->height, s->window.y, s->window.height,
                   false,        s->interpolation};
    LK_RETURN_IF(plan_axis(resizer, &resizer->x, &x, err));
    LK_RETURN_IF(plan_axis(resizer, &resizer->y, &y, err));
    if (!resizer->x.identity && resizer->kernels->split) LK_RETURN_IF(split_weights(&resizer->x, s->flip, err));
    resizer->window = s->window;
    /* Rounding between the passes makes their order part of the result. Source: Pillow 13; older ones always begin with
     * the horizontal pass. */
    resizer->vertical_first =
        s->in_height > s->height && (int64_t)s->in_height - s->height > 2 * ((int64_t)s->in_width - s->width);
    const lk_taps *tx = &resizer->x.taps, *ty = &resizer->y.taps;
    *needed = (lk_rect){tx->begin, ty->begin, tx->end - tx->begin, ty->end - ty->begin};
    return LK_OK;
}

/* Pixels on their way through the passes. */
typedef struct rows {
    const uint8_t *pixels;
    size_t stride;
} rows;

static void pass_horizontal(const lk_resizer *r, rows in, int32_t count, int channels, uint8_t *dst, size_t stride) {
    r->kernels->horizontal(&r->x.taps, in.pixels, in.stride, channels, count, dst, stride);
}

static void pass_vertical(const lk_resizer *r, rows in, size_t bytes, uint8_t *dst, size_t stride) {
    const lk_taps *taps = &r->y.taps;
    for (int32_t y = 0; y < taps->count; y++)
        r->kernels->vertical(taps->weights + (size_t)y * (size_t)taps->stride, taps->taps[y],
                             in.pixels + (size_t)taps->first[y] * in.stride, in.stride, bytes,
                             dst + (size_t)y * stride);
}

static lk_status run_both(lk_resizer *r, rows in, int channels, uint8_t *dst, size_t dst_stride, lk_error *err) {
    const lk_taps *x = &r->x.taps, *y = &r->y.taps;
    size_t bytes = (size_t)(r->vertical_first ? x->end - x->begin : r->window.width) * (size_t)channels;
    int32_t count = r->vertical_first ? r->window.height : y->end - y->begin;
    size_t stride = lk_round_up(bytes);
    LK_RETURN_IF(lk_grow((void **)&r->rows, &r->rows_capacity, stride * (size_t)count, 1, "resized rows", err));
    rows between = {r->rows, stride};
    if (r->vertical_first) {
        pass_vertical(r, in, bytes, r->rows, stride);
        pass_horizontal(r, between, count, channels, dst, dst_stride);
    } else {
        pass_horizontal(r, in, count, channels, r->rows, stride);
        pass_vertical(r, between, bytes, dst, dst_stride);
    }
    return LK_OK;
}

lk_status lk_resizer_run(lk_resizer *resizer, const uint8_t *pixels, size_t stride, int channels, uint8_t *dst,
                         size_t dst_stride, lk_error *err) {
    rows in = {pixels, stride};
    size_t bytes = (size_t)resizer->window.width * (size_t)channels;
    int32_t height = resizer->window.height;
    if (!resizer->x.identity && !resizer->y.identity) return run_both(resizer, in, channels, dst, dst_stride, err);
    if (!resizer->x.identity)
        pass_horizontal(resizer, in, height, channels, dst, dst_stride);
    else if (!resizer->y.identity)
        pass_vertical(resizer, in, bytes, dst, dst_stride);
    else
        for (int32_t y = 0; y < height; y++) memcpy(dst + (size_t)y * dst_stride, pixels + (size_t)y * stride, bytes);
    return LK_OK;
}

lk_status lk_resize(lk_resizer *resizer, const lk_image *in, const lk_box *box, int32_t width, int32_t height,
                    lk_interpolation interpolation, uint8_t *dst, size_t dst_stride, lk_error *err) {
    lk_resize_spec spec = {.in_width = in->width,
                           .in_height = in->height,
                           .width = width,
                           .height = height,
                           .window = {0, 0, width, height},
                           .interpolation = interpolation};
    spec.box = box != NULL ? *box : (lk_box){0, 0, in->width, in->height};
    lk_rect needed;
    LK_RETURN_IF(lk_image_check_size(width, height, err));
    LK_RETURN_IF(lk_resizer_plan(resizer, &spec, &needed, err));
    size_t pixel = (size_t)in->channels, stride = (size_t)in->width * pixel;
    const uint8_t *first = in->pixels + (size_t)needed.y * stride + (size_t)needed.x * pixel;
    return lk_resizer_run(resizer, first, stride, in->channels, dst, dst_stride, err);
}
