/* y = x keep, dx = dy keep; keep is 0 or 1 / (1 - rate), drawn again in backward. In evaluation keep is 1. */
#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (!(op->desc.dropout.rate >= 0 && op->desc.dropout.rate < 1))
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "a rate of %g is outside [0, 1)", op->desc.dropout.rate);
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    op->info.flops_forward = op->info.flops_backward = (double)lk_act_count(&op->info.y);
    return LK_OK;
}

static double keep_of(const lk_op *op, const lk_run *run, int64_t i) {
    int64_t elements = op->desc.x.c * op->desc.x.h * op->desc.x.w;
    double rate = op->desc.training ? op->desc.dropout.rate : 0;
    if (rate > 0 && lk_run_drops(run, op->desc.layer, i / elements, elements, i % elements, rate)) return 0;
    return 1 / (1 - rate);
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const double *x = call->buffers.x;
    double *y = call->buffers.y;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) y[i] = x[i] * keep_of(call->op, run, i);
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    if (!call->op->desc.need_dx) return LK_OK;
    double *dx = call->buffers.dx;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) dx[i] = lk_reference_dy(call, i) * keep_of(call->op, run, i);
    return LK_OK;
}

const lk_reference_op lk_reference_DROPOUT = {plan, forward, backward};
