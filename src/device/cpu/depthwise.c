/* The depthwise convolutions that run by depthwise.h: planning, parameters, passes. */
#include "device/cpu/depthwise.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/conv.h"

#define LANES LK_DEPTHWISE_LANES

typedef struct depthwise_plan {
    const lk_depthwise_kernels *kernels;
    lk_depthwise shape;
    int64_t groups;            /* of eight channels, padding included */
    int64_t weights;           /* elements of one group's weights */
    int64_t scratch_bytes;     /* of one thread */
    dnnl_memory_desc_t stored; /* [group][kernel][kernel][8] */
    lk_dnnl_map map;
} depthwise_plan;

bool lk_cpu_depthwise_takes(const lk_op_desc *d) {
    return lk_depthwise_kernels_get() != NULL && d->compute == LK_F32 && d->x.dtype == LK_F32 &&
           d->x.block % LANES == 0 && d->conv.groups == d->x.c && d->conv.out_channels == d->x.c && d->x.c > 1 &&
           d->conv.kernel_h == d->conv.kernel_w && (d->conv.kernel_h == 3 || d->conv.kernel_h == 5) &&
           (d->conv.stride == 1 || d->conv.stride == 2) && d->conv.dilation == 1 && d->conv.pad < d->conv.kernel_h &&
           !d->conv.bias;
}

static void fill_info(const lk_cpu *cpu, lk_op *op) {
    const lk_op_desc *d = &op->desc;
    const depthwise_plan *p = op->plan;
    lk_op_info *info = &op->info;
    double passes = d->training ? d->need_dx + !d->frozen : 0;
    double bytes = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y));
    info->param_count = 1;
    info->params[0] = (lk_param_info){
        LK_PARAM_WEIGHT, lk_shape_of(4, d->x.c, INT64_C(1), p->shape.kernel, p->shape.kernel), p->groups * p->weights};
    info->keeps_x = d->training && !d->frozen;
    info->flops_forward =
        2.0 * (double)(p->shape.kernel * p->shape.kernel * info->y.n * info->y.c) * (double)(info->y.h * info->y.w);
    info->flops_backward = passes * info->flops_forward;
    info->bytes_forward = bytes;
    info->bytes_backward = passes * bytes;
    info->workspace_bytes = p->scratch_bytes * lk_cpu_threads(cpu);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:depthwise avx2");
    if (d->training && !d->frozen) memcpy(info->impl_dw, info->impl_forward, sizeof info->impl_dw);
    if (d->training && d->need_dx) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)like; /* there is one layout */
    lk_status status = LK_OK;
    const lk_op_desc *d = &op->desc;
    depthwise_plan *p = NULL;
    int64_t kernel = d->conv.kernel_h, groups = lk_cpu_group_count(&d->x, LANES);
    dnnl_dims_t dims = {d->x.c, 1, 1, kernel, kernel};
    lk_cpu_info_start(op, d->x.c, lk_cpu_conv_out(d, 0), lk_cpu_conv_out(d, 1));
    LK_TRY(LK_NEW(&p, 1, "a convolution", err));
    op->plan = p;
    if (op->info.y.h < 1 || op->info.y.w < 1)
        LK_TRY(lk_cpu_unsupported(op, "its kernel is larger than its input", err));
    p->kernels = lk_depthwise_kernels_get();
    p->groups = groups;
    p->weights = kernel * kernel * LANES;
    p->shape = (lk_depthwise){.h = d->x.h,
                              .w = d->x.w,
                              .out_h = op->info.y.h,
                              .out_w = op->info.y.w,
                              .kernel = kernel,
                              .stride = d->conv.stride,
                              .pad_top = d->conv.pad - d->conv.pad_less_top,
                              .pad_left = d->conv.pad - d->conv.pad_less_left,
                              .x_pixel = d->x.block,
                              .y_pixel = op->info.y.block};
    p->scratch_bytes = (int64_t)lk_round_up((size_t)lk_depthwise_scratch(&p->shape) * sizeof(float));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&p->stored, 5, dims, dnnl_f32, dnnl_Goihw8g));
    LK_TRY(lk_dnnl_map_create(&p->map, p->stored, err));
    fill_info(cpu, op);
out:
    return status;
}

static void drop(lk_op *op) {
    depthwise_plan *p = op->plan;
    if (p == NULL) return;
    dnnl_memory_desc_destroy(p->stored);
    lk_dnnl_map_free(&p->map);
    lk_free(p);
}

const_dnnl_memory_desc_t lk_cpu_depthwise_stored(const lk_op *op) { return ((const depthwise_plan *)op->plan)->stored; }

static lk_status pack(const lk_op *op, int i, const float *canonical, float *stored, lk_error *err) {
    (void)i, (void)err;
    lk_dnnl_map_pack(&((const depthwise_plan *)op->plan)->map, canonical, stored, op->info.params[0].stored_count);
    return LK_OK;
}

static lk_status unpack(const lk_op *op, int i, const float *stored, float *canonical, lk_error *err) {
    (void)i, (void)err;
    lk_dnnl_map_unpack(&((const depthwise_plan *)op->plan)->map, stored, canonical);
    return LK_OK;
}

/* Element where channel group `group` of image n starts. */
static int64_t plane_at(const lk_act_desc *d, int64_t n, int64_t group) {
    return n * lk_cpu_group_of(d).plane_stride + lk_cpu_group_offset(d, LANES, group);
}

static float *scratch_of(const lk_call *call) {
    const depthwise_plan *p = call->op->plan;
    return (float *)((char *)call->buffers.workspace + omp_get_thread_num() * p->scratch_bytes);
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const lk_op *op = call->op;
    const depthwise_plan *p = op->plan;
    const float *x = call->buffers.x, *weights = lk_cpu_param(call, run, 0);
    float *y = call->buffers.y;
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < op->desc.x.n * p->groups; i++) {
        int64_t n = i / p->groups, group = i % p->groups;
        p->kernels->forward(&p->shape, x + plane_at(&op->desc.x, n, group), weights + group * p->weights,
                            y + plane_at(&op->info.y, n, group), scratch_of(call));
    }
    return LK_OK;
}

/* One group of channels over all images: their sums never cross threads. */
static void weight_group(const lk_call *call, const float *x, const float *dy, int64_t group, float *grad) {
    const lk_op *op = call->op;
    const depthwise_plan *p = op->plan;
    double sums[LK_DEPTHWISE_MAX_KERNEL * LK_DEPTHWISE_MAX_KERNEL * LANES] = {0};
    for (int64_t n = 0; n < op->desc.x.n; n++)
        p->kernels->weight(&p->shape, x + plane_at(&op->desc.x, n, group), dy + plane_at(&op->info.y, n, group), sums,
                           scratch_of(call));
    for (int64_t i = 0; i < p->weights; i++) grad[group * p->weights + i] = (float)sums[i];
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const lk_op *op = call->op;
    const depthwise_plan *p = op->plan;
    const float *dy = call->buffers.dy[0], *weights = lk_cpu_param(call, run, 0);
    float *dx = call->buffers.dx, *grad = lk_cpu_grad(call, run, 0);
    int threads = lk_cpu_threads(cpu);
    int64_t planes = op->desc.need_dx ? op->desc.x.n * p->groups : 0, trained = op->desc.frozen ? 0 : p->groups;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static) nowait
        for (int64_t group = 0; group < trained; group++) weight_group(call, call->buffers.x, dy, group, grad);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < planes; i++) {
            int64_t n = i / p->groups, group = i % p->groups;
            p->kernels->data(&p->shape, dy + plane_at(&op->info.y, n, group), weights + group * p->weights,
                             dx + plane_at(&op->desc.x, n, group), scratch_of(call));
        }
    }
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_depthwise = {.one_dy = true,
                                          .plan = plan,
                                          .drop = drop,
                                          .pack = pack,
                                          .unpack = unpack,
                                          .forward = forward,
                                          .backward = backward};
