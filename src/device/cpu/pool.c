/* Maximum pooling and global average pooling. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/cpu_internal.h"

typedef struct pool_plan {
    const lk_cpu_kernels *kernels;
    lk_cpu_pool window; /* MAXPOOL */
    int64_t groups;     /* channel groups of one image */
    int64_t sums_bytes; /* MAXPOOL in bfloat16: float sums of one plane, per thread */
} pool_plan;

static int64_t max_out(int64_t size, const lk_op_desc *d) {
    return (size + 2 * d->maxpool.pad - d->maxpool.kernel) / d->maxpool.stride + 1;
}

static lk_status plan_common(lk_op *op, lk_error *err) {
    pool_plan *p = NULL;
    LK_RETURN_IF(LK_NEW(&p, 1, "a pooling", err));
    op->plan = p;
    p->kernels = lk_cpu_kernels_get(op->desc.x.dtype, op->desc.x.block);
    p->groups = lk_cpu_group_count(&op->desc.x, p->kernels->lanes);
    snprintf(op->info.impl_forward, sizeof op->info.impl_forward, "own:%d lanes", p->kernels->lanes);
    if (op->desc.training) memcpy(op->info.impl_dx, op->info.impl_forward, sizeof op->info.impl_dx);
    return LK_OK;
}

static void drop(lk_op *op) { lk_free(op->plan); }

static lk_status max_plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)like;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    if (d->maxpool.stride < 1 || d->maxpool.kernel < 1) return lk_cpu_unsupported(op, "its shape is impossible", err);
    lk_cpu_info_start(op, d->x.c, max_out(d->x.h, d), max_out(d->x.w, d));
    LK_RETURN_IF(plan_common(op, err));
    pool_plan *p = op->plan;
    if (d->x.dtype != d->compute) return lk_cpu_unsupported(op, "its input has another type", err);
    if (d->maxpool.kernel > 15 || d->maxpool.pad < 0 || d->maxpool.pad > d->maxpool.kernel / 2 || info->y.h < 1 ||
        info->y.w < 1)
        return lk_cpu_unsupported(op, "a window has at most 15 x 15 elements and half of it as padding", err);
    p->window = (lk_cpu_pool){d->x.h,         d->x.w,    info->y.h, info->y.w, d->maxpool.kernel, d->maxpool.stride,
                              d->maxpool.pad, d->x.block};
    double out = (double)(info->y.n * info->y.c * info->y.h * info->y.w);
    info->flops_forward = out * (double)(d->maxpool.kernel * d->maxpool.kernel);
    info->bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y));
    if (!d->training) return LK_OK;
    info->flops_backward = d->need_dx ? out : 0;
    info->bytes_backward = (double)(lk_act_bytes(&d->x) + d->dy_count * lk_act_bytes(&info->y));
    info->stash_bytes = lk_act_count(&info->y);
    if (d->x.dtype == LK_BF16) {
        p->sums_bytes = (int64_t)lk_round_up((size_t)(d->x.h * d->x.w * p->kernels->lanes) * sizeof(float));
        info->workspace_bytes = p->sums_bytes * lk_cpu_threads(cpu);
    }
    return LK_OK;
}

/* Bytes from the tensor's start to channel group `i` of all images. */
static int64_t plane_at(const lk_act_desc *d, const pool_plan *p, int64_t i) {
    int64_t image = lk_cpu_group_of(d).plane_stride;
    return (i / p->groups * image + lk_cpu_group_offset(d, p->kernels->lanes, i % p->groups)) *
           (int64_t)lk_dtype_size(d->dtype);
}

static lk_status max_forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)run, (void)err;
    const lk_op *op = call->op;
    const pool_plan *p = op->plan;
    const lk_op_buffers *b = &call->buffers;
    int64_t plane = op->info.y.h * op->info.y.w * p->kernels->lanes;
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < op->desc.x.n * p->groups; i++) {
        uint8_t *index = op->desc.training ? (uint8_t *)b->stash + i * plane : NULL;
        p->kernels->maxpool_forward(&p->window, (const char *)b->x + plane_at(&op->desc.x, p, i),
                                    (char *)b->y + plane_at(&op->info.y, p, i), index);
    }
    return LK_OK;
}

static lk_status max_backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)run, (void)err;
    const lk_op *op = call->op;
    const pool_plan *p = op->plan;
    const lk_op_buffers *b = &call->buffers;
    int64_t plane = op->info.y.h * op->info.y.w * p->kernels->lanes, planes = op->desc.x.n * p->groups;
    int64_t threads = op->desc.need_dx ? lk_cpu_threads(cpu) : 0;
    int64_t share = threads == 0 ? 0 : (planes + threads - 1) / threads;
#pragma omp parallel for schedule(static) num_threads((int)threads) if (threads > 1)
    for (int64_t t = 0; t < threads; t++) {
        float *sums = (float *)((char *)b->workspace + t * p->sums_bytes);
        for (int64_t i = t * share; i < (t + 1) * share && i < planes; i++) {
            int64_t at = plane_at(&op->info.y, p, i);
            const void *dy[2] = {(const char *)b->dy[0] + at,
                                 op->desc.dy_count > 1 ? (const char *)b->dy[1] + at : NULL};
            p->kernels->maxpool_backward(&p->window, dy, (const uint8_t *)b->stash + i * plane, sums,
                                         (char *)b->dx + plane_at(&op->desc.x, p, i));
        }
    }
    return LK_OK;
}

static lk_status avg_plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    lk_cpu_info_start(op, d->x.c, 1, 1);
    info->y.block = 1; /* rows of features, as LINEAR wants them */
    LK_RETURN_IF(plan_common(op, err));
    info->flops_forward = (double)(d->x.n * d->x.c * d->x.h * d->x.w);
    info->bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y));
    if (!d->training || !d->need_dx) return LK_OK;
    info->flops_backward = (double)(d->x.n * d->x.c);
    info->bytes_backward = info->bytes_forward;
    return LK_OK;
}

static float load_one(lk_dtype dtype, const void *p, int64_t i) {
    return dtype == LK_F32 ? ((const float *)p)[i] : lk_cpu_from_bf16(((const uint16_t *)p)[i]);
}

static void store_one(lk_dtype dtype, void *p, int64_t i, float v) {
    if (dtype == LK_F32)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = lk_cpu_bf16(v);
}

/* Channel group i of all images: its first channel's place in y, and how many of its lanes are channels. */
static int64_t features_at(const lk_op *op, int64_t i, int64_t *used) {
    const pool_plan *p = op->plan;
    int64_t first = i % p->groups * p->kernels->lanes, rest = op->desc.x.c - first;
    *used = rest < 0 ? 0 : rest < p->kernels->lanes ? rest : p->kernels->lanes;
    return i / p->groups * op->desc.x.c + first;
}

static lk_status avg_forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu, (void)stream, (void)run, (void)err;
    const lk_op *op = call->op;
    const pool_plan *p = op->plan;
    for (int64_t i = 0; i < op->desc.x.n * p->groups; i++) {
        float mean[LK_CPU_LANES];
        int64_t used, to = features_at(op, i, &used);
        p->kernels->avgpool_forward(op->desc.x.h * op->desc.x.w, op->desc.x.block,
                                    (const char *)call->buffers.x + plane_at(&op->desc.x, p, i), mean);
        for (int64_t l = 0; l < used; l++) store_one(op->info.y.dtype, call->buffers.y, to + l, mean[l]);
    }
    return LK_OK;
}

static lk_status avg_backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu, (void)stream, (void)run, (void)err;
    const lk_op *op = call->op;
    const pool_plan *p = op->plan;
    int64_t pixels = op->desc.x.h * op->desc.x.w, planes = op->desc.need_dx ? op->desc.x.n * p->groups : 0;
    for (int64_t i = 0; i < planes; i++) {
        float gradient[LK_CPU_LANES] = {0};
        int64_t used, from = features_at(op, i, &used);
        for (int64_t l = 0; l < used; l++)
            gradient[l] = load_one(op->info.y.dtype, call->buffers.dy[0], from + l) / (float)pixels;
        p->kernels->avgpool_backward(pixels, op->desc.x.block, gradient,
                                     (char *)call->buffers.dx + plane_at(&op->desc.x, p, i));
    }
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_maxpool = {
    .plan = max_plan, .drop = drop, .forward = max_forward, .backward = max_backward};
const lk_cpu_op_class lk_cpu_avgpool = {
    .one_dy = true, .plan = avg_plan, .drop = drop, .forward = avg_forward, .backward = avg_backward};
