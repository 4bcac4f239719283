/* y[n, c] = x[n, c] gate[n, c]; dx = dy gate, dgate[n, c] = sum over h and w of dy x. */
#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x, *gate = &op->desc.scale.gate;
    if (gate->n != x->n || gate->c != x->c || gate->h != 1 || gate->w != 1 || gate->dtype != LK_F64 || gate->block != 1)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "its gate must be n x c x 1 x 1 of float64 NCHW");
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    op->info.keeps_x = op->info.keeps_residual = op->desc.training;
    op->info.flops_forward = (double)lk_act_count(&op->info.y);
    op->info.flops_backward = 3 * op->info.flops_forward;
    return LK_OK;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    const double *x = call->buffers.x, *gate = call->buffers.residual;
    double *y = call->buffers.y;
    int64_t area = call->op->desc.x.h * call->op->desc.x.w, count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) y[i] = x[i] * gate[i / area];
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    const double *x = call->buffers.x, *gate = call->buffers.residual;
    double *dx = call->op->desc.need_dx ? call->buffers.dx : NULL, *dgate = call->buffers.dresidual;
    int64_t area = call->op->desc.x.h * call->op->desc.x.w, planes = lk_act_count(&call->op->desc.scale.gate);
    for (int64_t plane = 0; plane < planes; plane++) {
        double sum = 0;
        for (int64_t i = plane * area; i < (plane + 1) * area; i++) {
            double dy = lk_reference_dy(call, i);
            sum += dy * x[i];
            if (dx != NULL) dx[i] = dy * gate[plane];
        }
        if (dgate != NULL) dgate[plane] = sum;
    }
    return LK_OK;
}

const lk_reference_op lk_reference_SCALE = {plan, forward, backward};
