/* 2-D convolution as a product of weights with patches. The patch of an output pixel holds the inputs it sees, zero
 * where it looks at padding:  patch(n, g, oy, ox)[i, ky, kx] = x[n, g I + i, oy s - p + ky d, ox s - p + kx d].
 *   y[n, o, oy, ox] = bias[o] + <weight[o], patch>
 *   dweight[o] = sum over pixels of dy[n, o, oy, ox] * patch          dbias[o] = sum over pixels of dy
 * With an activation the stash holds its derivative at y, and dy stands for dy times that.
 *   dpatch = sum over o of dy[n, o, oy, ox] * weight[o], and dx is the sum of the dpatches where they overlap.
 * Pixels go in tiles, so that a row of weights is used several times while it is in cache. Threads share out whole
 * outputs: the order of each sum does not depend on them. */
#include <omp.h>
#include <string.h>

#include "device/reference/internal.h"

#define TILE 16          /* pixels whose patches are held at once */
#define CHANNEL_CHUNK 64 /* output channels whose weight gradients one thread sums at once */

typedef struct conv_shape {
    int64_t n, c, h, w;          /* x */
    int64_t out_c, out_h, out_w; /* y */
    int64_t kernel_h, kernel_w, stride, pad_top, pad_left, dilation;
    int64_t groups, group_in, group_out; /* channels of x and y in one group */
    int64_t patch;                       /* group_in * kernel_h * kernel_w */
} conv_shape;

static conv_shape shape_of(const lk_op *op) {
    const lk_act_desc *x = &op->desc.x, *y = &op->info.y;
    return (conv_shape){.n = x->n,
                        .c = x->c,
                        .h = x->h,
                        .w = x->w,
                        .out_c = y->c,
                        .out_h = y->h,
                        .out_w = y->w,
                        .kernel_h = op->desc.conv.kernel_h,
                        .kernel_w = op->desc.conv.kernel_w,
                        .stride = op->desc.conv.stride,
                        .pad_top = op->desc.conv.pad - op->desc.conv.pad_less_top,
                        .pad_left = op->desc.conv.pad - op->desc.conv.pad_less_left,
                        .dilation = op->desc.conv.dilation,
                        .groups = op->desc.conv.groups,
                        .group_in = x->c / op->desc.conv.groups,
                        .group_out = y->c / op->desc.conv.groups,
                        .patch = x->c / op->desc.conv.groups * op->desc.conv.kernel_h * op->desc.conv.kernel_w};
}

/* Is the derivative of an activation kept? */
static bool has_slope(const lk_op *op) { return op->desc.conv.act != LK_ACT_NONE && lk_op_has_backward(&op->desc); }

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    int64_t out_c = op->desc.conv.out_channels, groups = op->desc.conv.groups;
    int64_t kernel_h = op->desc.conv.kernel_h, kernel_w = op->desc.conv.kernel_w, stride = op->desc.conv.stride;
    int64_t pad = op->desc.conv.pad, dilation = op->desc.conv.dilation;
    if (groups < 1 || out_c < 1 || x->c % groups != 0 || out_c % groups != 0)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err,
                                   "%lld groups do not divide %lld input and %lld output channels", (long long)groups,
                                   (long long)x->c, (long long)out_c);
    int64_t out_h = lk_reference_window(x->h, kernel_h, stride, pad, op->desc.conv.pad_less_top, dilation);
    int64_t out_w = lk_reference_window(x->w, kernel_w, stride, pad, op->desc.conv.pad_less_left, dilation);
    if (out_h == 0 || out_w == 0)
        return lk_reference_refuse(
            op, LK_ERR_CONFIG, err,
            "a kernel of %lld x %lld with stride %lld, padding %lld and dilation %lld does not fit",
            (long long)kernel_h, (long long)kernel_w, (long long)stride, (long long)pad, (long long)dilation);
    if (op->desc.conv.act < 0 || op->desc.conv.act >= LK_ACT_COUNT)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "no activation number %d", (int)op->desc.conv.act);
    LK_RETURN_IF(lk_reference_set_y(op, out_c, out_h, out_w, err));
    if (has_slope(op)) op->info.stash_bytes = lk_act_bytes(&op->info.y);
    lk_shape weight = lk_shape_of(4, out_c, x->c / groups, kernel_h, kernel_w);
    int64_t count = 0;
    LK_RETURN_IF(lk_shape_count_checked(&count, &weight, err));
    lk_reference_add_param(op, LK_PARAM_WEIGHT, weight);
    if (op->desc.conv.bias) lk_reference_add_param(op, LK_PARAM_BIAS, lk_shape_of(1, out_c));

    op->info.keeps_x = op->desc.training && !op->desc.frozen;
    op->info.workspace_bytes = op->threads * TILE * shape_of(op).patch * (int64_t)sizeof(double);
    double macs = (double)lk_act_count(&op->info.y) * (double)shape_of(op).patch;
    op->info.flops_forward = 2 * macs + (op->desc.conv.bias ? (double)lk_act_count(&op->info.y) : 0);
    op->info.flops_backward = 2 * (op->desc.need_dx + !op->desc.frozen) * macs;
    return LK_OK;
}

static double dot(const double *a, const double *b, int64_t count) {
    double lanes[8] = {0}; /* eight sums side by side: a compiler may not reorder one sum itself */
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int j = 0; j < 8; j++) lanes[j] += a[i + j] * b[i + j];
    double sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    for (; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* y += a * x */
static void add_scaled(double *restrict y, double a, const double *restrict x, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] += a * x[i];
}

/* Index in a channel of x for the kernel's element (ky, kx) at output pixel `pixel` (oy * out_w + ox); -1: padding. */
static int64_t source(const conv_shape *s, int64_t pixel, int64_t ky, int64_t kx) {
    int64_t y = pixel / s->out_w * s->stride - s->pad_top + ky * s->dilation;
    int64_t x = pixel % s->out_w * s->stride - s->pad_left + kx * s->dilation;
    return y < 0 || y >= s->h || x < 0 || x >= s->w ? -1 : y * s->w + x;
}

/* x: the first channel of the sample and group. */
static void gather(const conv_shape *s, const double *x, int64_t pixel, double *patch) {
    int64_t area = s->kernel_h * s->kernel_w;
    for (int64_t k = 0; k < area; k++) {
        int64_t at = source(s, pixel, k / s->kernel_w, k % s->kernel_w);
        for (int64_t i = 0; i < s->group_in; i++) patch[i * area + k] = at < 0 ? 0 : x[i * s->h * s->w + at];
    }
}

static void scatter_add(const conv_shape *s, const double *patch, int64_t pixel, double *x) {
    int64_t area = s->kernel_h * s->kernel_w;
    for (int64_t k = 0; k < area; k++) {
        int64_t at = source(s, pixel, k / s->kernel_w, k % s->kernel_w);
        if (at < 0) continue;
        for (int64_t i = 0; i < s->group_in; i++) x[i * s->h * s->w + at] += patch[i * area + k];
    }
}

static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

/* The calling thread's part of the workspace: TILE patches. */
static double *own_patches(const lk_call *call, const conv_shape *s) {
    return (double *)call->buffers.workspace + omp_get_thread_num() * TILE * s->patch;
}

static void activate(const lk_call *call) {
    lk_act act = call->op->desc.conv.act;
    double *y = call->buffers.y, *slope = has_slope(call->op) ? call->buffers.stash : NULL;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) {
        double z = y[i];
        y[i] = lk_reference_act(act, z);
        if (slope != NULL) slope[i] = lk_reference_act_gradient(act, lk_act_invertible(act) ? y[i] : z, 1);
    }
}

/* The gradient at element i of the convolution itself. */
static double dy_at(const lk_call *call, int64_t i) {
    double dy = lk_reference_dy(call, i);
    return has_slope(call->op) ? dy * ((const double *)call->buffers.stash)[i] : dy;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const conv_shape s = shape_of(call->op);
    const double *x = call->buffers.x, *weight = lk_reference_param(call, run, 0);
    const double *bias = call->op->desc.conv.bias ? lk_reference_param(call, run, 1) : NULL;
    double *y = call->buffers.y;
    int64_t area = s.out_h * s.out_w, tiles = lk_reference_ceil_div(area, TILE);
#pragma omp parallel for collapse(3) schedule(static) num_threads(call->op->threads)
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t g = 0; g < s.groups; g++)
            for (int64_t t = 0; t < tiles; t++) {
                double *patches = own_patches(call, &s);
                int64_t first = t * TILE, count = min(TILE, area - first);
                for (int64_t i = 0; i < count; i++)
                    gather(&s, x + (n * s.c + g * s.group_in) * s.h * s.w, first + i, patches + i * s.patch);
                for (int64_t o = g * s.group_out; o < (g + 1) * s.group_out; o++)
                    for (int64_t i = 0; i < count; i++)
                        y[(n * s.out_c + o) * area + first + i] =
                            dot(weight + o * s.patch, patches + i * s.patch, s.patch) + (bias == NULL ? 0 : bias[o]);
            }
    if (call->op->desc.conv.act != LK_ACT_NONE) activate(call);
    return LK_OK;
}

static void backward_data(const lk_call *call, const conv_shape *s, const double *weight) {
    double *dx = call->buffers.dx;
    int64_t area = s->out_h * s->out_w;
#pragma omp parallel for collapse(2) schedule(static) num_threads(call->op->threads)
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t g = 0; g < s->groups; g++) {
            double *patches = own_patches(call, s);
            double *target = dx + (n * s->c + g * s->group_in) * s->h * s->w;
            memset(target, 0, (size_t)(s->group_in * s->h * s->w) * sizeof *target);
            for (int64_t first = 0; first < area; first += TILE) {
                int64_t count = min(TILE, area - first);
                memset(patches, 0, (size_t)(count * s->patch) * sizeof *patches);
                for (int64_t o = g * s->group_out; o < (g + 1) * s->group_out; o++)
                    for (int64_t i = 0; i < count; i++)
                        add_scaled(patches + i * s->patch, dy_at(call, (n * s->out_c + o) * area + first + i),
                                   weight + o * s->patch, s->patch);
                for (int64_t i = 0; i < count; i++) scatter_add(s, patches + i * s->patch, first + i, target);
            }
        }
}

static void backward_weights(const lk_call *call, const conv_shape *s, double *dweight) {
    const double *x = call->buffers.x;
    int64_t area = s->out_h * s->out_w, chunks = lk_reference_ceil_div(s->group_out, CHANNEL_CHUNK);
    memset(dweight, 0, (size_t)(s->out_c * s->patch) * sizeof *dweight);
#pragma omp parallel for collapse(2) schedule(static) num_threads(call->op->threads)
    for (int64_t g = 0; g < s->groups; g++)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            double *patches = own_patches(call, s);
            int64_t begin = g * s->group_out + chunk * CHANNEL_CHUNK;
            int64_t end = min(begin + CHANNEL_CHUNK, (g + 1) * s->group_out);
            for (int64_t n = 0; n < s->n; n++)
                for (int64_t first = 0; first < area; first += TILE) {
                    int64_t count = min(TILE, area - first);
                    for (int64_t i = 0; i < count; i++)
                        gather(s, x + (n * s->c + g * s->group_in) * s->h * s->w, first + i, patches + i * s->patch);
                    for (int64_t o = begin; o < end; o++)
                        for (int64_t i = 0; i < count; i++)
                            add_scaled(dweight + o * s->patch, dy_at(call, (n * s->out_c + o) * area + first + i),
                                       patches + i * s->patch, s->patch);
                }
        }
}

static void backward_bias(const lk_call *call, const conv_shape *s, double *dbias) {
    int64_t area = s->out_h * s->out_w;
    for (int64_t o = 0; o < s->out_c; o++) {
        double sum = 0;
        for (int64_t n = 0; n < s->n; n++)
            for (int64_t i = 0; i < area; i++) sum += dy_at(call, (n * s->out_c + o) * area + i);
        dbias[o] = sum;
    }
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const conv_shape s = shape_of(call->op);
    if (call->op->desc.need_dx) backward_data(call, &s, lk_reference_param(call, run, 0));
    if (call->op->desc.frozen) return LK_OK;
    backward_weights(call, &s, lk_reference_grad(call, run, 0));
    if (call->op->desc.conv.bias) backward_bias(call, &s, lk_reference_grad(call, run, 1));
    return LK_OK;
}

const lk_reference_op lk_reference_CONV2D = {plan, forward, backward};
