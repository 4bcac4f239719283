/* The 3x3 convolutions that run by winograd.h: planning, parameters, passes. */
#include "device/cpu/winograd.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/conv.h"

#define TILES 96        /* of a block: a multiple of LK_WINOGRAD_ROWS */
#define ROW_PADDING 16  /* elements between rows, so that rows of 512 channels do not share cache sets */
#define MIN_CHANNELS 32 /* below, the transforms outweigh what the matrix products save */

typedef struct winograd_plan {
    const lk_winograd_kernels *kernels;
    lk_winograd_image x, y;
    int64_t tiles;             /* of all images */
    dnnl_memory_desc_t stored; /* [in][3][3][out] */
    lk_dnnl_map map;
    int64_t points_at, turned_at; /* bytes into the derived memory: forward and data gradient weights */
    int64_t second_at, sums_at;   /* bytes into the workspace; the first area is at 0 */
} winograd_plan;

/* Elements of transformed tiles of `channels`: [point][TILES][row]. */
static int64_t tile_row(int64_t channels) { return lk_winograd_round(channels, LK_WINOGRAD_PANEL) + ROW_PADDING; }
static int64_t point_size(int64_t channels) { return TILES * tile_row(channels); }
static int64_t area_bytes(int64_t channels) {
    return LK_WINOGRAD_POINTS * point_size(channels) * (int64_t)sizeof(float);
}

/* Elements of one point's weights with `columns` of them in panels. */
static int64_t weight_size(int64_t rows, int64_t columns) {
    return rows * lk_winograd_round(columns, LK_WINOGRAD_PANEL);
}
static int64_t weight_bytes(int64_t rows, int64_t columns) {
    return LK_WINOGRAD_POINTS * weight_size(rows, columns) * (int64_t)sizeof(float);
}

/* Rows of the sums of the weight gradient. */
static int64_t sum_rows(const winograd_plan *p) { return lk_winograd_round(p->x.channels, LK_WINOGRAD_ROWS); }

bool lk_cpu_winograd_takes(const lk_cpu *cpu, const lk_op_desc *d) {
    (void)cpu;
    if (lk_winograd_kernels_get() == NULL) return false;
    /* With 512-bit vectors oneDNN's direct convolutions have twice the arithmetic of these loops. */
    if ((dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core) return false;
    return d->compute == LK_F32 && d->x.dtype == LK_F32 && d->x.block == 8 && d->conv.kernel_h == 3 &&
           d->conv.kernel_w == 3 && d->conv.stride == 1 && d->conv.pad == 1 && d->conv.dilation == 1 &&
           d->conv.pad_less_top == 0 && d->conv.pad_less_left == 0 && d->conv.groups == 1 && !d->conv.bias &&
           d->x.c % 8 == 0 && d->conv.out_channels % 8 == 0 && d->x.c >= MIN_CHANNELS &&
           d->conv.out_channels >= MIN_CHANNELS && d->x.h >= 4 && d->x.w >= 4;
}

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    winograd_plan *p = op->plan;
    lk_op_info *info = &op->info;
    int64_t in = d->x.c, out = d->conv.out_channels;
    double passes = d->training ? d->need_dx + !d->frozen : 0;
    double bytes = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y));
    info->param_count = 1;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, lk_shape_of(4, out, in, 3, 3), 9 * in * out};
    info->keeps_x = d->training && !d->frozen;
    info->flops_forward = 18.0 * (double)(lk_act_count(&info->y) * in);
    info->flops_backward = passes * info->flops_forward;
    info->bytes_forward = bytes + (double)weight_bytes(in, out);
    info->bytes_backward = passes * (bytes + (double)weight_bytes(in, out));
    info->derived_bytes = weight_bytes(in, out);
    p->turned_at = info->derived_bytes;
    if (d->training && d->need_dx) info->derived_bytes += weight_bytes(out, in);
    p->second_at = area_bytes(in);
    p->sums_at = p->second_at + area_bytes(out);
    info->workspace_bytes = p->sums_at;
    if (d->training && !d->frozen)
        info->workspace_bytes +=
            LK_WINOGRAD_POINTS * sum_rows(p) * lk_winograd_round(out, LK_WINOGRAD_PANEL) * (int64_t)sizeof(float);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:winograd avx2");
    if (d->training && !d->frozen) memcpy(info->impl_dw, info->impl_forward, sizeof info->impl_dw);
    if (d->training && d->need_dx) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like; /* there is one layout */
    lk_status status = LK_OK;
    const lk_op_desc *d = &op->desc;
    winograd_plan *p = NULL;
    dnnl_dims_t dims = {d->conv.out_channels, d->x.c, 3, 3};
    lk_cpu_info_start(op, d->conv.out_channels, d->x.h, d->x.w);
    LK_TRY(LK_NEW(&p, 1, "a convolution", err));
    op->plan = p;
    p->kernels = lk_winograd_kernels_get();
    p->x = (lk_winograd_image){d->x.c, d->x.h, d->x.w, (d->x.h + 1) / 2, (d->x.w + 1) / 2};
    p->y = p->x;
    p->y.channels = d->conv.out_channels;
    p->tiles = d->x.n * p->x.tiles_h * p->x.tiles_w;
    LK_DNNL(dnnl_memory_desc_create_with_tag(&p->stored, 4, dims, dnnl_f32, dnnl_ihwo));
    LK_TRY(lk_dnnl_map_create(&p->map, p->stored, err));
    fill_info(op);
out:
    return status;
}

static void drop(lk_op *op) {
    winograd_plan *p = op->plan;
    if (p == NULL) return;
    dnnl_memory_desc_destroy(p->stored);
    lk_dnnl_map_free(&p->map);
    lk_free(p);
}

const_dnnl_memory_desc_t lk_cpu_winograd_stored(const lk_op *op) { return ((const winograd_plan *)op->plan)->stored; }

static lk_status pack(const lk_op *op, int i, const float *canonical, float *stored, lk_error *err) {
    (void)i, (void)err;
    lk_dnnl_map_pack(&((const winograd_plan *)op->plan)->map, canonical, stored, op->info.params[0].stored_count);
    return LK_OK;
}

static lk_status unpack(const lk_op *op, int i, const float *stored, float *canonical, lk_error *err) {
    (void)i, (void)err;
    lk_dnnl_map_unpack(&((const winograd_plan *)op->plan)->map, stored, canonical);
    return LK_OK;
}

static lk_status refresh(lk_cpu *cpu, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                         const float *params, void *derived, lk_error *err) {
    (void)stream, (void)err;
    const winograd_plan *p = op->plan;
    int64_t in = p->x.channels, out = p->y.channels;
    const float *w = params + buffers->param_offset[0];
    float *points = (float *)((char *)derived + buffers->derived_offset);
    float *turned = (float *)((char *)points + p->turned_at);
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < in; i++)
            p->kernels->weights(w + i * 9 * out, out, in, points + i * LK_WINOGRAD_PANEL, weight_size(in, out));
#pragma omp for schedule(static)
        for (int64_t point = 0; point < (op->desc.training && op->desc.need_dx ? LK_WINOGRAD_POINTS : 0); point++)
            p->kernels->weights_turned(points, in, out, point, turned);
    }
    return LK_OK;
}

/* One convolution of `from` into `to`: the forward pass, or the data gradient with turned weights. Every block of
 * tiles is transformed, multiplied point by point, and transformed back. */
static void convolve(const winograd_plan *p, int threads, const lk_winograd_image *from, const lk_winograd_image *to,
                     const float *x, const float *weights, float *y, float *first_area, float *second_area) {
    const lk_winograd_kernels *k = p->kernels;
    int64_t in_row = tile_row(from->channels), out_row = tile_row(to->channels);
    int64_t in_point = point_size(from->channels), out_point = point_size(to->channels);
#pragma omp parallel num_threads(threads) if (threads > 1)
    for (int64_t first = 0; first < p->tiles; first += TILES) {
        int64_t count = p->tiles - first < TILES ? p->tiles - first : TILES;
#pragma omp for schedule(static)
        for (int64_t c = 0; c < from->channels; c += 8)
            k->input(from, x, c / 8, first, count, first_area + c, in_point, in_row);
#pragma omp for schedule(static)
        for (int64_t point = 0; point < LK_WINOGRAD_POINTS; point++) {
            lk_winograd_product product = {.rows = lk_winograd_round(count, LK_WINOGRAD_ROWS),
                                           .panels = (to->channels + LK_WINOGRAD_PANEL - 1) / LK_WINOGRAD_PANEL,
                                           .depth = from->channels,
                                           .a = first_area + point * in_point,
                                           .a_row = in_row,
                                           .a_k = 1,
                                           .b = weights + point * weight_size(from->channels, to->channels),
                                           .c = second_area + point * out_point,
                                           .c_row = out_row};
            k->product(&product);
        }
#pragma omp for schedule(static)
        for (int64_t c = 0; c < to->channels; c += 8)
            k->output(to, second_area + c, out_point, out_row, c / 8, first, count, y);
    }
}

/* One block of tiles into the sums of the weight gradient. The gradient's points lie in panels:
 * [point][out / 16][TILES][16]. */
static void add_block(const winograd_plan *p, const float *x, const float *dy, int64_t first, float *first_area,
                      float *second_area, float *sums) {
    const lk_winograd_kernels *k = p->kernels;
    int64_t in = p->x.channels, out = p->y.channels, padded = lk_winograd_round(out, LK_WINOGRAD_PANEL);
    int64_t count = p->tiles - first < TILES ? p->tiles - first : TILES;
    int64_t in_row = tile_row(in), in_point = point_size(in), out_point = point_size(out);
#pragma omp for schedule(static) nowait
    for (int64_t c = 0; c < in; c += 8) k->input(&p->x, x, c / 8, first, count, first_area + c, in_point, in_row);
#pragma omp for schedule(static)
    for (int64_t c = 0; c < out; c += 8) {
        float *panel = second_area + c / LK_WINOGRAD_PANEL * count * LK_WINOGRAD_PANEL + c % LK_WINOGRAD_PANEL;
        k->gradient(&p->y, dy, c / 8, first, count, panel, out_point, LK_WINOGRAD_PANEL);
    }
#pragma omp for schedule(static)
    for (int64_t point = 0; point < LK_WINOGRAD_POINTS; point++) {
        lk_winograd_product product = {.rows = sum_rows(p),
                                       .panels = padded / LK_WINOGRAD_PANEL,
                                       .depth = count,
                                       .a = first_area + point * in_point,
                                       .a_row = 1,
                                       .a_k = in_row,
                                       .b = second_area + point * out_point,
                                       .c = sums + point * sum_rows(p) * padded,
                                       .c_row = padded,
                                       .accumulate = first > 0};
        k->product(&product);
    }
}

static void weight_pass(const winograd_plan *p, int threads, const float *x, const float *dy, float *first_area,
                        float *second_area, float *sums, float *grad) {
    int64_t in = p->x.channels, out = p->y.channels, padded = lk_winograd_round(out, LK_WINOGRAD_PANEL);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        for (int64_t first = 0; first < p->tiles; first += TILES)
            add_block(p, x, dy, first, first_area, second_area, sums);
#pragma omp for schedule(static)
        for (int64_t c = 0; c < in; c++)
            p->kernels->weight_gradient(sums + c * padded, sum_rows(p) * padded, out, grad + c * 9 * out);
    }
}

static float *area(const lk_call *call, int64_t bytes) { return (float *)((char *)call->buffers.workspace + bytes); }

static const float *derived(const lk_call *call, const lk_run *run, int64_t at) {
    return (const float *)((const char *)run->derived + call->buffers.derived_offset + at);
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const winograd_plan *p = call->op->plan;
    convolve(p, lk_cpu_threads(cpu), &p->x, &p->y, call->buffers.x, derived(call, run, p->points_at), call->buffers.y,
             area(call, 0), area(call, p->second_at));
    return LK_OK;
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const winograd_plan *p = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    int threads = lk_cpu_threads(cpu);
    if (!call->op->desc.frozen)
        weight_pass(p, threads, b->x, b->dy[0], area(call, 0), area(call, p->second_at), area(call, p->sums_at),
                    lk_cpu_grad(call, run, 0));
    if (call->op->desc.need_dx)
        convolve(p, threads, &p->y, &p->x, b->dy[0], derived(call, run, p->turned_at), b->dx, area(call, p->second_at),
                 area(call, 0));
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_winograd = {.one_dy = true,
                                         .plan = plan,
                                         .drop = drop,
                                         .pack = pack,
                                         .unpack = unpack,
                                         .refresh = refresh,
                                         .forward = forward,
                                         .backward = backward};
