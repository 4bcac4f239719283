/* Softmax cross-entropy in double, a loss per sample.
 *   loss = log sum exp(x) - (1 - s) x[label] - s mean(x),  dx = (softmax(x) - target) loss_scale */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "device/cpu/cpu_internal.h"

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    double count = (double)lk_act_count(&d->x), smoothing = d->cross_entropy.smoothing;
    lk_cpu_info_start(op, 1, 1, 1);
    info->y.dtype = LK_F32;
    info->y.block = 1;
    if (d->x.h != 1 || d->x.w != 1) return lk_cpu_unsupported(op, "logits are n x classes", err);
    if (!(smoothing >= 0 && smoothing <= 1))
        return lk_fail(err, LK_ERR_CONFIG, "label smoothing %g is not between 0 and 1", smoothing);
    info->keeps_x = d->training;
    info->flops_forward = 4 * count;
    info->bytes_forward = (double)lk_act_bytes(&d->x);
    info->flops_backward = d->training ? 5 * count : 0;
    info->bytes_backward = d->training ? 2 * (double)lk_act_bytes(&d->x) : 0;
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:double");
    if (d->training) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
    return LK_OK;
}

static lk_status check(const lk_call *call, const lk_run *run, lk_error *err) {
    const lk_act_desc *x = &call->op->desc.x;
    if (run->rows < 0 || run->rows > x->n || (run->rows > 0 && run->labels == NULL))
        return lk_fail(err, LK_ERR_INTERNAL, "the loss was run on %" PRId64 " rows of a batch of %" PRId64, run->rows,
                       x->n);
    for (int64_t n = 0; n < run->rows; n++)
        if (run->labels[n] < 0 || run->labels[n] >= x->c)
            return lk_fail(err, LK_ERR_DATA,
                           "sample %" PRId64 " of a microbatch has label %d, but there are %" PRId64
                           " classes; check the data set's labels",
                           n, (int)run->labels[n], x->c);
    return LK_OK;
}

/* Logit k of sample n. */
static double logit(const lk_call *call, int64_t n, int64_t k) {
    const lk_act_desc *d = &call->op->desc.x;
    int64_t at = lk_act_index(d, n, k, 0, 0);
    if (d->dtype == LK_F32) return (double)((const float *)call->buffers.x)[at];
    return (double)lk_cpu_from_bf16(((const uint16_t *)call->buffers.x)[at]);
}

static double log_sum_exp(const lk_call *call, int64_t n) {
    int64_t classes = call->op->desc.x.c;
    double largest = logit(call, n, 0), sum = 0;
    for (int64_t k = 1; k < classes; k++) {
        double v = logit(call, n, k);
        if (v > largest) largest = v;
    }
    for (int64_t k = 0; k < classes; k++) sum += exp(logit(call, n, k) - largest);
    return largest + log(sum);
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu, (void)stream;
    LK_RETURN_IF(check(call, run, err));
    int64_t classes = call->op->desc.x.c;
    double smoothing = call->op->desc.cross_entropy.smoothing;
    float *loss = call->buffers.y;
    for (int64_t n = 0; n < call->op->desc.x.n; n++) {
        loss[n] = 0;
        if (n >= run->rows) continue;
        double total = log_sum_exp(call, n), rest = 0;
        double value = (1 - smoothing) * (total - logit(call, n, run->labels[n]));
        for (int64_t k = 0; smoothing > 0 && k < classes; k++) rest += total - logit(call, n, k);
        loss[n] = (float)(value + smoothing * (rest / (double)classes));
    }
    return LK_OK;
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu, (void)stream;
    LK_RETURN_IF(check(call, run, err));
    const lk_act_desc *d = &call->op->desc.x;
    double smoothing = call->op->desc.cross_entropy.smoothing;
    if (!call->op->desc.need_dx) return LK_OK;
    memset(call->buffers.dx, 0, (size_t)lk_act_bytes(d));
    for (int64_t n = 0; n < run->rows; n++) {
        double total = log_sum_exp(call, n);
        for (int64_t k = 0; k < d->c; k++) {
            double target = (k == run->labels[n] ? 1 - smoothing : 0) + smoothing / (double)d->c;
            float v = (float)((exp(logit(call, n, k) - total) - target) * run->loss_scale);
            int64_t at = lk_act_index(d, n, k, 0, 0);
            if (d->dtype == LK_F32)
                ((float *)call->buffers.dx)[at] = v;
            else
                ((uint16_t *)call->buffers.dx)[at] = lk_cpu_bf16(v);
        }
    }
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_cross_entropy = {.one_dy = true, .plan = plan, .forward = forward, .backward = backward};
