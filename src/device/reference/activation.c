/* y = act(x); dx = dy act'(x). */
#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (op->desc.activation.act < 0 || op->desc.activation.act >= LK_ACT_COUNT)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "no activation number %d",
                                   (int)op->desc.activation.act);
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    op->info.keeps_y = op->desc.training && op->desc.activation.act != LK_ACT_NONE;
    op->info.flops_forward = op->info.flops_backward = (double)lk_act_count(&op->info.y);
    return LK_OK;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    const double *x = call->buffers.x;
    double *y = call->buffers.y;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) y[i] = lk_reference_act(call->op->desc.activation.act, x[i]);
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    if (!call->op->desc.need_dx) return LK_OK;
    lk_act act = call->op->desc.activation.act;
    const double *y = call->buffers.y;
    double *dx = call->buffers.dx;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) {
        double dy = lk_reference_dy(call, i);
        dx[i] = act == LK_ACT_NONE ? dy : lk_reference_act_gradient(act, y[i], dy);
    }
    return LK_OK;
}

const lk_reference_op lk_reference_ACTIVATION = {plan, forward, backward};
