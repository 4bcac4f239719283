/* Maximum pooling and global average pooling. */
#include "device/cuda/cuda_internal.h"

#define MAX_WINDOW 15 /* so that a byte holds the place of an element in a window, and 255 none */

static lk_cuda_pool shape_of(const lk_op *op) {
    const lk_act_desc *x = &op->desc.x, *y = &op->info.y;
    lk_cuda_pool p = {.type = lk_cuda_type_of(x->dtype),
                      .n = x->n,
                      .block = (int)x->block,
                      .h = (int)x->h,
                      .w = (int)x->w,
                      .out_h = (int)y->h,
                      .out_w = (int)y->w};
    if (op->desc.kind != LK_OP_MAXPOOL) return p;
    p.kernel = (int)op->desc.maxpool.kernel;
    p.stride = (int)op->desc.maxpool.stride;
    p.pad = (int)op->desc.maxpool.pad;
    return p;
}

static lk_status max_plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    int64_t kernel = d->maxpool.kernel, stride = d->maxpool.stride, pad = d->maxpool.pad;
    if (kernel < 1 || kernel > MAX_WINDOW || pad < 0 || pad > kernel / 2 || stride < 1 || stride > INT32_MAX / 2 ||
        d->x.h + 2 * pad < kernel || d->x.w + 2 * pad < kernel)
        return lk_cuda_unsupported(op, "a window has at most 15 x 15 elements, half of it as padding, and must fit",
                                   err);
    if (d->x.n * (d->x.h + 2 * pad) > INT32_MAX || (d->x.w + 2 * pad) * d->x.block > INT32_MAX)
        return lk_cuda_unsupported(op, "it has 2^31 rows, or elements in a row, or more", err);
    lk_cuda_info_start(op, d->x.c, (d->x.h + 2 * pad - kernel) / stride + 1, (d->x.w + 2 * pad - kernel) / stride + 1,
                       d->x.block);
    double out = (double)lk_act_count(&info->y);
    info->flops_forward = out * (double)(kernel * kernel);
    info->bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y));
    lk_cuda_info_own(op, "gather");
    if (!d->training) return LK_OK;
    info->stash_bytes = lk_act_count(&info->y);
    info->bytes_forward += out;
    info->launches_backward = d->need_dx;
    info->flops_backward = out;
    info->bytes_backward = (double)(lk_act_bytes(&d->x) + d->dy_count * lk_act_bytes(&info->y)) + out;
    return LK_OK;
}

static lk_status max_forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_status status = LK_OK;
    lk_cuda_pool p = shape_of(call->op);
    uint8_t *index = call->op->desc.training ? call->buffers.stash : NULL;
    LK_CUDA(lk_cuda_maxpool_forward(stream->cuda, &p, call->buffers.x, call->buffers.y, index));
out:
    return status;
}

static lk_status max_backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_status status = LK_OK;
    lk_cuda_pool p = shape_of(call->op);
    const void *dy[2] = {call->buffers.dy[0], lk_cuda_second_dy(call)};
    if (!call->op->desc.need_dx) return LK_OK;
    LK_CUDA(lk_cuda_maxpool_backward(stream->cuda, &p, dy, call->buffers.stash, call->buffers.dx));
out:
    return status;
}

static lk_status mean_plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda, (void)err;
    const lk_op_desc *d = &op->desc;
    lk_cuda_info_start(op, d->x.c, 1, 1, d->x.block);
    op->info.flops_forward = (double)lk_act_count(&d->x);
    op->info.bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&op->info.y));
    lk_cuda_info_own(op, "vectors");
    if (!d->training) return LK_OK;
    op->info.launches_backward = d->need_dx;
    op->info.flops_backward = op->info.flops_forward;
    op->info.bytes_backward = (double)(lk_act_bytes(&d->x) + d->dy_count * lk_act_bytes(&op->info.y));
    return LK_OK;
}

static lk_status mean_forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_status status = LK_OK;
    lk_cuda_pool p = shape_of(call->op);
    LK_CUDA(lk_cuda_mean_forward(stream->cuda, &p, call->buffers.x, call->buffers.y));
out:
    return status;
}

static lk_status mean_backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_status status = LK_OK;
    lk_cuda_pool p = shape_of(call->op);
    const void *dy[2] = {call->buffers.dy[0], lk_cuda_second_dy(call)};
    if (!call->op->desc.need_dx) return LK_OK;
    LK_CUDA(lk_cuda_mean_backward(stream->cuda, &p, dy, call->buffers.dx));
out:
    return status;
}

const lk_cuda_op_class lk_cuda_class_maxpool = {.plan = max_plan, .forward = max_forward, .backward = max_backward};
const lk_cuda_op_class lk_cuda_class_avgpool = {.plan = mean_plan, .forward = mean_forward, .backward = mean_backward};
