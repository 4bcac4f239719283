/* y[n, c] = mean over h and w of x[n, c]; dx = dy / (h w). */
#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    LK_RETURN_IF(lk_reference_set_y(op, op->desc.x.c, 1, 1, err));
    op->info.flops_forward = op->info.flops_backward = (double)lk_act_count(&op->desc.x);
    return LK_OK;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    const double *x = call->buffers.x;
    double *y = call->buffers.y;
    int64_t planes = lk_act_count(&call->op->info.y), area = call->op->desc.x.h * call->op->desc.x.w;
    for (int64_t plane = 0; plane < planes; plane++) {
        double sum = 0;
        for (int64_t i = 0; i < area; i++) sum += x[plane * area + i];
        y[plane] = sum / (double)area;
    }
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    if (!call->op->desc.need_dx) return LK_OK;
    double *dx = call->buffers.dx;
    int64_t planes = lk_act_count(&call->op->info.y), area = call->op->desc.x.h * call->op->desc.x.w;
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t i = 0; i < area; i++) dx[plane * area + i] = lk_reference_dy(call, plane) / (double)area;
    return LK_OK;
}

const lk_reference_op lk_reference_GLOBAL_AVGPOOL = {plan, forward, backward};
