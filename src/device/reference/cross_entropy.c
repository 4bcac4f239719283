/* Softmax cross-entropy, a loss per sample. With smoothing s over K classes the target is (1 - s) onehot + s / K.
 *   loss = - sum over k of target[k] log softmax(x)[k],  dx = (softmax(x) - target) * loss_scale
 * Source: Szegedy et al. 2016, section 7, and torch.nn.CrossEntropyLoss. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    double smoothing = op->desc.cross_entropy.smoothing;
    if (x->h != 1 || x->w != 1) return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "logits must be n x c x 1 x 1");
    if (!(smoothing >= 0 && smoothing <= 1))
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "label smoothing %g is not between 0 and 1", smoothing);
    LK_RETURN_IF(lk_reference_set_y(op, 1, 1, 1, err));
    op->info.keeps_x = op->desc.training;
    op->info.flops_forward = 4 * (double)lk_act_count(x);
    op->info.flops_backward = 5 * (double)lk_act_count(x);
    return LK_OK;
}

/* Labels of the valid rows must be classes. */
static lk_status check(const lk_call *call, const lk_run *run, lk_error *err) {
    const lk_act_desc *x = &call->op->desc.x;
    if (run->rows < 0 || run->rows > x->n || (run->labels == NULL && run->rows > 0))
        return lk_reference_refuse(call->op, LK_ERR_INTERNAL, err, "run with %" PRId64 " rows%s", run->rows,
                                   run->labels == NULL ? " and no labels" : "");
    for (int64_t n = 0; n < run->rows; n++)
        if (run->labels[n] < 0 || run->labels[n] >= x->c)
            return lk_fail(err, LK_ERR_DATA,
                           "sample %" PRId64 " of a microbatch has label %d, but there are %" PRId64
                           " classes (0 to %" PRId64 "); check the data set's labels",
                           n, (int)run->labels[n], x->c, x->c - 1);
    return LK_OK;
}

/* log softmax(x)[k] is (x[k] - shift) - log_sum: the largest logit is taken off first, so that nothing overflows and
 * large logits lose no digits. */
typedef struct normaliser {
    double shift, log_sum;
} normaliser;

static normaliser normaliser_of(const double *x, int64_t count) {
    normaliser z = {.shift = x[0]};
    double sum = 0;
    for (int64_t k = 1; k < count; k++)
        if (x[k] > z.shift) z.shift = x[k];
    for (int64_t k = 0; k < count; k++) sum += exp(x[k] - z.shift);
    z.log_sum = log(sum);
    return z;
}

static double log_softmax(const normaliser *z, double x) { return (x - z->shift) - z->log_sum; }

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    LK_RETURN_IF(check(call, run, err));
    const lk_act_desc *d = &call->op->desc.x;
    double smoothing = call->op->desc.cross_entropy.smoothing, *loss = call->buffers.y;
    for (int64_t n = 0; n < d->n; n++) {
        if (n >= run->rows) {
            loss[n] = 0;
            continue;
        }
        const double *x = (const double *)call->buffers.x + n * d->c;
        normaliser z = normaliser_of(x, d->c);
        double sum = 0;
        loss[n] = -(1 - smoothing) * log_softmax(&z, x[run->labels[n]]);
        if (smoothing == 0) continue;
        for (int64_t k = 0; k < d->c; k++) sum += log_softmax(&z, x[k]);
        loss[n] -= smoothing * (sum / (double)d->c);
    }
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    LK_RETURN_IF(check(call, run, err));
    if (!call->op->desc.need_dx) return LK_OK;
    const lk_act_desc *d = &call->op->desc.x;
    double smoothing = call->op->desc.cross_entropy.smoothing, *dx = call->buffers.dx;
    memset(dx, 0, (size_t)lk_act_bytes(d));
    for (int64_t n = 0; n < run->rows; n++) {
        const double *x = (const double *)call->buffers.x + n * d->c;
        normaliser z = normaliser_of(x, d->c);
        for (int64_t k = 0; k < d->c; k++) {
            double target = (k == run->labels[n] ? 1 - smoothing : 0) + smoothing / (double)d->c;
            dx[n * d->c + k] = (exp(log_softmax(&z, x[k])) - target) * run->loss_scale;
        }
    }
    return LK_OK;
}

const lk_reference_op lk_reference_CROSS_ENTROPY = {plan, forward, backward};
