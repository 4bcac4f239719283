/* y = act(x); dx = dy act'(x). */
#include <math.h>

#include "device/reference/internal.h"

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

static double clamp(double z, double low, double high) { return z < low ? low : z > high ? high : z; }

double lk_reference_act(lk_act act, double z) {
    switch (act) {
        case LK_ACT_RELU: return z < 0 ? 0 : z;
        case LK_ACT_RELU6: return clamp(z, 0, 6);
        case LK_ACT_SILU: return z * sigmoid(z);
        case LK_ACT_HARD_SWISH: return z * clamp(z + 3, 0, 6) / 6;
        case LK_ACT_SIGMOID: return sigmoid(z);
        case LK_ACT_HARD_SIGMOID: return clamp(z + 3, 0, 6) / 6;
        default: return z;
    }
}

double lk_reference_act_gradient(lk_act act, double value, double dy) {
    double s = act == LK_ACT_SILU ? sigmoid(value) : value;
    switch (act) {
        case LK_ACT_RELU: return value <= 0 ? 0 : dy;
        case LK_ACT_RELU6: return value <= 0 || value >= 6 ? 0 : dy;
        case LK_ACT_SILU: return dy * (s * (1 + value * (1 - s)));
        case LK_ACT_HARD_SWISH: return value <= -3 ? 0 : value >= 3 ? dy : dy * (value / 3 + 0.5);
        case LK_ACT_SIGMOID: return dy * (s * (1 - s));
        case LK_ACT_HARD_SIGMOID: return value <= 0 || value >= 1 ? 0 : dy / 6;
        default: return dy;
    }
}

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    lk_act act = op->desc.activation.act;
    if (act < 0 || act >= LK_ACT_COUNT)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "no activation number %d", (int)act);
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    op->info.keeps_y = op->desc.training && act != LK_ACT_NONE && lk_act_invertible(act);
    op->info.keeps_x = op->desc.training && !lk_act_invertible(act);
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
    const double *value = lk_act_invertible(act) ? call->buffers.y : call->buffers.x;
    double *dx = call->buffers.dx;
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) {
        double dy = lk_reference_dy(call, i);
        dx[i] = act == LK_ACT_NONE ? dy : lk_reference_act_gradient(act, value[i], dy);
    }
    return LK_OK;
}

const lk_reference_op lk_reference_ACTIVATION = {plan, forward, backward};
