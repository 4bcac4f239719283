/* y[n, o] = sum over i of weight[o, i] x[n, i] + bias[o];
 * dx[n, i] = sum over o of dy[n, o] weight[o, i];  dweight[o, i] = sum over n of dy[n, o] x[n, i];  dbias[o] = sum dy.
 */
#include <string.h>

#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    int64_t out = op->desc.linear.out_features;
    if (x->h != 1 || x->w != 1)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "the input must be n x c x 1 x 1; pool it first");
    LK_RETURN_IF(lk_reference_set_y(op, out, 1, 1, err));
    lk_shape weight = lk_shape_of(2, out, x->c);
    lk_reference_add_param(op, LK_PARAM_WEIGHT, weight);
    lk_reference_add_param(op, LK_PARAM_BIAS, lk_shape_of(1, out));
    op->info.keeps_x = op->desc.training && !op->desc.frozen;
    double macs = (double)x->n * (double)lk_shape_count(&weight);
    op->info.flops_forward = 2 * macs + (double)(x->n * out);
    op->info.flops_backward = 2 * (op->desc.need_dx + !op->desc.frozen) * macs + (double)(x->n * out);
    return LK_OK;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const double *x = call->buffers.x, *weight = lk_reference_param(call, run, 0);
    const double *bias = lk_reference_param(call, run, 1);
    double *y = call->buffers.y;
    int64_t batch = call->op->desc.x.n, in = call->op->desc.x.c, out = call->op->info.y.c;
    for (int64_t n = 0; n < batch; n++)
        for (int64_t o = 0; o < out; o++) {
            double sum = bias[o];
            for (int64_t i = 0; i < in; i++) sum += weight[o * in + i] * x[n * in + i];
            y[n * out + o] = sum;
        }
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const double *x = call->buffers.x, *weight = lk_reference_param(call, run, 0);
    double *dx = call->op->desc.need_dx ? call->buffers.dx : NULL;
    double *dweight = lk_reference_grad(call, run, 0), *dbias = lk_reference_grad(call, run, 1);
    int64_t batch = call->op->desc.x.n, in = call->op->desc.x.c, out = call->op->info.y.c;
    bool trained = !call->op->desc.frozen;
    if (dx != NULL) memset(dx, 0, (size_t)(batch * in) * sizeof *dx);
    if (trained) memset(dweight, 0, (size_t)(out * in) * sizeof *dweight);
    if (trained) memset(dbias, 0, (size_t)out * sizeof *dbias);
    for (int64_t n = 0; n < batch; n++)
        for (int64_t o = 0; o < out; o++) {
            double dy = lk_reference_dy(call, n * out + o);
            if (trained) dbias[o] += dy;
            for (int64_t i = 0; trained && i < in; i++) dweight[o * in + i] += dy * x[n * in + i];
            if (dx == NULL) continue;
            for (int64_t i = 0; i < in; i++) dx[n * in + i] += dy * weight[o * in + i];
        }
    return LK_OK;
}

const lk_reference_op lk_reference_LINEAR = {plan, forward, backward};
