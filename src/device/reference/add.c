/* y = act(x + residual); dx = dresidual = dy act'. */
#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (op->desc.add.act < 0 || op->desc.add.act >= LK_ACT_COUNT)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "no activation number %d", (int)op->desc.add.act);
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    bool invertible = lk_act_invertible(op->desc.add.act);
    op->info.keeps_y = op->desc.training && op->desc.add.act != LK_ACT_NONE && invertible;
    op->info.keeps_x = op->info.keeps_residual = op->desc.training && !invertible;
    op->info.flops_forward = 2 * (double)lk_act_count(&op->info.y);
    op->info.flops_backward = (double)lk_act_count(&op->info.y);
    return LK_OK;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    const double *x = call->buffers.x, *residual = call->buffers.residual;
    double *y = call->buffers.y;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) y[i] = lk_reference_act(call->op->desc.add.act, x[i] + residual[i]);
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    lk_act act = call->op->desc.add.act;
    bool invertible = lk_act_invertible(act);
    const double *x = call->buffers.x, *residual = call->buffers.residual, *y = call->buffers.y;
    double *dx = call->op->desc.need_dx ? call->buffers.dx : NULL, *dresidual = call->buffers.dresidual;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) {
        double dz = lk_reference_dy(call, i); /* read before dresidual is written: they may share memory */
        if (act != LK_ACT_NONE) dz = lk_reference_act_gradient(act, invertible ? y[i] : x[i] + residual[i], dz);
        if (dx != NULL) dx[i] = dz;
        if (dresidual != NULL) dresidual[i] = dz;
    }
    return LK_OK;
}

const lk_reference_op lk_reference_ADD = {plan, forward, backward};
