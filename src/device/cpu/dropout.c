/* Dropout: y = x keep, dx = dy keep. The factors are drawn again in backward, element by element: the layer stands
 * before a classifier, where tensors are small. */
#include <stdio.h>
#include <string.h>

#include "device/cpu/cpu_internal.h"

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    lk_cpu_info_start(op, d->x.c, d->x.h, d->x.w);
    if (d->x.dtype != d->compute) return lk_cpu_unsupported(op, "its input has another type", err);
    info->flops_forward = (double)lk_act_count(&d->x);
    info->bytes_forward = 2 * (double)lk_act_bytes(&d->x);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:philox");
    if (!lk_op_has_backward(d)) return LK_OK;
    info->flops_backward = info->flops_forward;
    info->bytes_backward = info->bytes_forward;
    memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
    return LK_OK;
}

/* One sample: to = from keep. */
static void drop_sample(const lk_call *call, const lk_run *run, int64_t n, const void *from, void *to) {
    const lk_op_desc *d = &call->op->desc;
    int64_t area = d->x.h * d->x.w, elements = d->x.c * area;
    double rate = d->training ? d->dropout.rate : 0;
    float kept = (float)(1 / (1 - rate));
    for (int64_t e = 0; e < elements; e++) {
        float keep = rate > 0 && lk_run_drops(run, d->layer, n, elements, e, rate) ? 0 : kept;
        int64_t at = lk_act_index(&d->x, n, e / area, e / d->x.w % d->x.h, e % d->x.w);
        if (d->x.dtype == LK_F32)
            ((float *)to)[at] = ((const float *)from)[at] * keep;
        else
            ((uint16_t *)to)[at] = lk_cpu_bf16(lk_cpu_from_bf16(((const uint16_t *)from)[at]) * keep);
    }
}

static void drop_all(const lk_cpu *cpu, const lk_call *call, const lk_run *run, const void *from, void *to) {
    const lk_act_desc *x = &call->op->desc.x;
    int threads = lk_cpu_threads(cpu);
    if (x->c % x->block != 0) memset(to, 0, (size_t)lk_act_bytes(x)); /* the padding */
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t n = 0; n < x->n; n++) drop_sample(call, run, n, from, to);
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    drop_all(cpu, call, run, call->buffers.x, call->buffers.y);
    return LK_OK;
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    if (call->op->desc.need_dx) drop_all(cpu, call, run, call->buffers.dy[0], call->buffers.dx);
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_dropout = {.one_dy = true, .plan = plan, .forward = forward, .backward = backward};
