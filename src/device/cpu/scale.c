/* Gates of squeeze-and-excitation: a tensor times one number per sample and channel. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/cpu_internal.h"

typedef struct scale_plan {
    const lk_cpu_kernels *kernels;
    lk_cpu_group group;
    int64_t groups; /* channel groups of one image */
} scale_plan;

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    const lk_act_desc *gate = &d->scale.gate;
    lk_op_info *info = &op->info;
    scale_plan *p = NULL;
    double count = (double)lk_act_count(&d->x), bytes = (double)lk_act_bytes(&d->x);
    lk_cpu_info_start(op, d->x.c, d->x.h, d->x.w);
    LK_RETURN_IF(LK_NEW(&p, 1, "a gate", err));
    op->plan = p;
    if (d->x.dtype != d->compute || gate->dtype != d->compute)
        return lk_cpu_unsupported(op, "an input has another type", err);
    if (gate->n != d->x.n || gate->c != d->x.c || gate->h != 1 || gate->w != 1 || gate->block < 1)
        return lk_cpu_unsupported(op, "its gate is not n x c x 1 x 1", err);
    p->kernels = lk_cpu_kernels_get(d->x.dtype, d->x.block);
    p->group = lk_cpu_group_of(&d->x);
    p->groups = lk_cpu_group_count(&d->x, p->kernels->lanes);
    info->keeps_x = info->keeps_residual = d->training;
    info->flops_forward = count;
    info->bytes_forward = 2 * bytes + (double)lk_act_bytes(gate);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:%d lanes", p->kernels->lanes);
    if (!d->training) return LK_OK;
    info->flops_backward = 3 * count;
    info->bytes_backward = (2 + d->need_dx) * bytes + 2 * (double)lk_act_bytes(gate);
    memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
    return LK_OK;
}

static void drop(lk_op *op) { lk_free(op->plan); }

/* One channel group of one image. */
typedef struct plane {
    int64_t at;             /* bytes from the start of x, y, dy and dx */
    int64_t n, first, used; /* image, first channel, how many of the lanes are channels */
} plane;

static plane plane_get(const lk_op *op, int64_t i) {
    const scale_plan *p = op->plan;
    int64_t lanes = p->kernels->lanes, group = i % p->groups, rest = op->desc.x.c - group * lanes;
    int64_t at = i / p->groups * p->group.plane_stride + lk_cpu_group_offset(&op->desc.x, p->kernels->lanes, group);
    return (plane){.at = at * (int64_t)lk_dtype_size(op->desc.x.dtype),
                   .n = i / p->groups,
                   .first = group * lanes,
                   .used = rest < 0       ? 0
                           : rest < lanes ? rest
                                          : lanes};
}

static void read_gate(const lk_call *call, const plane *at, float gate[LK_CPU_LANES]) {
    const lk_act_desc *d = &call->op->desc.scale.gate;
    memset(gate, 0, LK_CPU_LANES * sizeof *gate);
    for (int64_t i = 0; i < at->used; i++) {
        int64_t from = lk_act_index(d, at->n, at->first + i, 0, 0);
        gate[i] = d->dtype == LK_F32 ? ((const float *)call->buffers.residual)[from]
                                     : lk_cpu_from_bf16(((const uint16_t *)call->buffers.residual)[from]);
    }
}

static void write_gradient(const lk_call *call, const plane *at, const double gradient[LK_CPU_LANES]) {
    const lk_act_desc *d = &call->op->desc.scale.gate;
    for (int64_t i = 0; i < at->used; i++) {
        int64_t to = lk_act_index(d, at->n, at->first + i, 0, 0);
        if (d->dtype == LK_F32)
            ((float *)call->buffers.dresidual)[to] = (float)gradient[i];
        else
            ((uint16_t *)call->buffers.dresidual)[to] = lk_cpu_bf16((float)gradient[i]);
    }
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)run, (void)err;
    const lk_op *op = call->op;
    const scale_plan *p = op->plan;
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < op->desc.x.n * p->groups; i++) {
        float gate[LK_CPU_LANES];
        plane at = plane_get(op, i);
        read_gate(call, &at, gate);
        p->kernels->scale_forward(p->group.pixels, p->group.pixel_stride, (const char *)call->buffers.x + at.at, gate,
                                  (char *)call->buffers.y + at.at);
    }
    return LK_OK;
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)run, (void)err;
    const lk_op *op = call->op;
    const scale_plan *p = op->plan;
    const lk_op_buffers *b = &call->buffers;
    int threads = lk_cpu_threads(cpu);
    /* The padding of the gate's gradient belongs to no plane where its blocks are wider than x's. */
    if (b->dresidual != NULL) memset(b->dresidual, 0, (size_t)lk_act_bytes(&op->desc.scale.gate));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < op->desc.x.n * p->groups; i++) {
        float gate[LK_CPU_LANES];
        double gradient[LK_CPU_LANES] = {0};
        plane at = plane_get(op, i);
        read_gate(call, &at, gate);
        p->kernels->scale_backward(p->group.pixels, p->group.pixel_stride, (const char *)b->x + at.at,
                                   (const char *)b->dy[0] + at.at, gate,
                                   op->desc.need_dx ? (char *)b->dx + at.at : NULL, gradient);
        if (b->dresidual != NULL) write_gradient(call, &at, gradient);
    }
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_scale = {
    .one_dy = true, .plan = plan, .drop = drop, .forward = forward, .backward = backward};
