/* Gates of squeeze-and-excitation: a tensor times one number for each sample and channel. */
#include "device/cuda/cuda_internal.h"

#define MOST_SAMPLES 65535 /* rows of blocks in a launch */

/* Elements from one sample's gate to the next's. Without height and width every block lies as rows of channels. */
static int64_t gate_stride(const lk_act_desc *gate) { return (gate->c + gate->block - 1) / gate->block * gate->block; }

static lk_status plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda;
    const lk_op_desc *d = &op->desc;
    const lk_act_desc *gate = &d->scale.gate;
    lk_op_info *info = &op->info;
    double bytes = (double)lk_act_bytes(&d->x), count = (double)lk_act_count(&d->x);
    if (gate->dtype != d->compute || gate->n != d->x.n || gate->c != d->x.c || gate->h != 1 || gate->w != 1 ||
        gate->block < 1)
        return lk_cuda_unsupported(op, "its gate is not n x c x 1 x 1 of its type", err);
    if (gate_stride(gate) != lk_cuda_block(gate_stride(gate), gate->dtype) || d->x.n > MOST_SAMPLES)
        return lk_cuda_unsupported(op, "its gate is not in whole vectors of 16 bytes, or the batch is too large", err);
    lk_cuda_info_start(op, d->x.c, d->x.h, d->x.w, d->x.block);
    info->keeps_x = info->keeps_residual = d->training;
    info->flops_forward = count;
    info->bytes_forward = 2 * bytes + (double)lk_act_bytes(gate);
    lk_cuda_info_own(op, "vectors");
    if (!d->training) return LK_OK;
    info->flops_backward = 3 * count;
    info->bytes_backward = (1 + d->dy_count + d->need_dx) * bytes + 2 * (double)lk_act_bytes(gate);
    return LK_OK;
}

static lk_cuda_scale scale_of(const lk_call *call) {
    const lk_op_desc *d = &call->op->desc;
    const lk_op_buffers *b = &call->buffers;
    return (lk_cuda_scale){.shape = lk_cuda_rows_of(&d->x),
                           .area = d->x.h * d->x.w,
                           .gate_block = (int)gate_stride(&d->scale.gate),
                           .x = b->x,
                           .gate = b->residual,
                           .y = b->y};
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_cuda_scale scale = scale_of(call);
    return lk_cuda_check(lk_cuda_scale_forward(stream->cuda, &scale), "scale_forward", err);
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_cuda_scale scale = scale_of(call);
    scale.dy[0] = call->buffers.dy[0];
    scale.dy[1] = lk_cuda_second_dy(call);
    scale.dx = call->op->desc.need_dx ? call->buffers.dx : NULL;
    scale.dgate = call->buffers.dresidual;
    return lk_cuda_check(lk_cuda_scale_backward(stream->cuda, &scale), "scale_backward", err);
}

const lk_cuda_op_class lk_cuda_class_scale = {.plan = plan, .forward = forward, .backward = backward};
