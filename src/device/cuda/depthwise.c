/* Depthwise convolution of the common shapes by own kernels; the others are conv.c's, like all other convolutions. The
 * kernels read the float32 weights themselves, so that there is no copy to rewrite. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/conv_engine.h"
#include "device/cuda/cuda_internal.h"

static void fill_info(lk_op *op, const lk_cuda_depthwise *conv) {
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    int64_t c = d->x.c, area = (int64_t)conv->kernel * conv->kernel, weights = area * conv->block;
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y), w = (double)weights * sizeof(float);
    info->param_count = d->conv.bias ? 2 : 1;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, lk_shape_of(4, c, 1, conv->kernel, conv->kernel), weights};
    if (d->conv.bias) info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, c), c};
    bool trained = d->training && !d->frozen;
    info->keeps_x = trained;
    double flops = 2.0 * (double)lk_act_count(&info->y) * (double)area;
    double partial = trained ? lk_cuda_depthwise_chunks(conv) * w : 0;
    lk_cuda_info_own(op, "depthwise");
    info->launches_forward = info->launches_backward = 0; /* listed */
    lk_op_info_launch(info, false, "convolution", x + y + w, flops);
    if (d->conv.bias) lk_op_info_launch(info, false, "bias", 2 * y, 0);
    if (trained) lk_op_info_launch(info, true, "weight gradient", x + y + partial, flops);
    if (trained && d->conv.bias) lk_op_info_launch(info, true, "bias gradient", y, 0);
    if (d->training && d->need_dx) lk_op_info_launch(info, true, "data gradient", x + y + w, flops);
    if (trained && d->conv.bias) info->workspace_bytes = LK_CUDA_WORKSPACE_ALIGNMENT + lk_cuda_partial_bytes(&info->y);
    if (!trained) return;
    info->unfinished_bytes = (int64_t)partial;
    info->bytes_finish = partial + w;
    memcpy(info->impl_dw, info->impl_forward, sizeof info->impl_dw);
}

static lk_status plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda;
    const lk_op_desc *d = &op->desc;
    lk_cudnn_conv s;
    lk_cuda_depthwise *conv = NULL;
    lk_cuda_conv_shape(&s, d);
    if (d->x.n * d->x.h * d->x.w > INT32_MAX || d->x.n * s.out_h * s.out_w > INT32_MAX ||
        (d->x.w + 2 * d->conv.pad) * d->x.block > INT32_MAX)
        return lk_cuda_unsupported(op, "it has 2^31 pixels, or elements in a row, or more", err);
    if (s.out_h < 1 || s.out_w < 1) return lk_cuda_unsupported(op, "its kernel does not fit its input", err);
    LK_RETURN_IF(LK_NEW(&conv, 1, "a convolution", err));
    op->plan = conv;
    *conv = (lk_cuda_depthwise){.type = lk_cuda_type_of(d->compute),
                                .n = d->x.n,
                                .block = (int)d->x.block,
                                .h = (int)d->x.h,
                                .w = (int)d->x.w,
                                .out_h = (int)s.out_h,
                                .out_w = (int)s.out_w,
                                .kernel = (int)d->conv.kernel_h,
                                .stride = (int)d->conv.stride,
                                .pad_top = (int)s.pad_top,
                                .pad_left = (int)s.pad_left};
    lk_cuda_info_start(op, d->x.c, s.out_h, s.out_w, d->x.block);
    fill_info(op, conv);
    return LK_OK;
}

static void drop(lk_op *op) { lk_free(op->plan); }

/* Tap by tap. */
static int64_t stored_at(const lk_op *op, int i, int64_t e) {
    const lk_cuda_depthwise *conv = op->plan;
    int64_t area = (int64_t)conv->kernel * conv->kernel;
    return i == 0 ? e % area * conv->block + e / area : e;
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const lk_op_buffers *b = &call->buffers;
    lk_cuda_rows rows = lk_cuda_rows_of(&call->op->info.y);
    LK_CUDA(lk_cuda_depthwise_forward(stream->cuda, call->op->plan, b->x, lk_cuda_param(call, run, 0), b->y));
    if (call->op->desc.conv.bias) LK_CUDA(lk_cuda_add_bias(stream->cuda, &rows, b->y, lk_cuda_param(call, run, 1)));
out:
    return status;
}

static lk_status backward_weights(lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    lk_status status = LK_OK;
    const lk_cuda_depthwise *conv = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    lk_cuda_unfinished left = {.from = b->unfinished,
                               .to = lk_cuda_grad(call, run, 0),
                               .count = call->op->info.params[0].stored_count,
                               .chunks = lk_cuda_depthwise_chunks(conv)};
    LK_CUDA(lk_cuda_depthwise_weight(stream->cuda, conv, b->x, b->dy[0], b->unfinished));
    LK_TRY(lk_cuda_leave_unfinished(stream, conv->type, &left, err));
out:
    return status;
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const lk_op_desc *d = &call->op->desc;
    const lk_op_buffers *b = &call->buffers;
    lk_cuda_rows rows = lk_cuda_rows_of(&call->op->info.y);
    if (!d->frozen) LK_TRY(backward_weights(stream, call, run, err));
    if (d->conv.bias && !d->frozen)
        LK_CUDA(lk_cuda_column_sums(stream->cuda, &rows, b->dy[0], lk_cuda_grad(call, run, 1), rows.channels,
                                    lk_cuda_align_workspace(b->workspace), stream->counters));
    if (d->need_dx)
        LK_CUDA(lk_cuda_depthwise_data(stream->cuda, call->op->plan, b->dy[0], lk_cuda_param(call, run, 0), b->dx));
out:
    return status;
}

const lk_cuda_op_class lk_cuda_class_depthwise = {
    .one_dy = true, .plan = plan, .drop = drop, .stored_at = stored_at, .forward = forward, .backward = backward};
