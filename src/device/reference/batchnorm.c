/* Batch normalisation with fused residual add and activation. Source: Ioffe and Szegedy 2015, algorithm 1, and
 * torch.nn.BatchNorm2d. Per channel, over the m = n h w values of a microbatch:
 *   xhat = (x - mean) / sqrt(var + eps),  var = sum (x - mean)^2 / m
 *   y = act(gamma xhat + beta + residual)
 * With dz the gradient before the activation:
 *   dbeta = sum dz,  dgamma = sum dz xhat,  dx = gamma / sqrt(var + eps) (dz - dbeta / m - xhat dgamma / m),
 *   dresidual = dz. */
#include <math.h>

#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (!(op->desc.batchnorm.eps >= 0) || op->desc.batchnorm.act < 0 || op->desc.batchnorm.act >= LK_ACT_COUNT)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "eps %g or the activation is impossible",
                                   op->desc.batchnorm.eps);
    if (op->desc.training && x->n * x->h * x->w < 2)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err,
                                   "training needs at least 2 values a channel; use a larger microbatch or drop_last");
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    lk_reference_add_param(op, LK_PARAM_GAMMA, lk_shape_of(1, x->c));
    lk_reference_add_param(op, LK_PARAM_BETA, lk_shape_of(1, x->c));
    op->info.stats_count = 2 * x->c;
    double count = (double)lk_act_count(&op->info.y);
    op->info.flops_forward = (op->desc.training ? 7 : 3) * count;
    if (!op->desc.training) return LK_OK;
    op->info.flops_backward = 10 * count;
    op->info.keeps_x = true;
    op->info.keeps_y = op->desc.batchnorm.act != LK_ACT_NONE;
    op->info.stash_bytes = 2 * x->c * (int64_t)sizeof(double);
    return LK_OK;
}

/* Mean and biased variance of channel c. Two passes: no cancellation, whatever the mean. */
static void statistics(const lk_act_desc *d, const double *x, int64_t c, double *mean, double *variance) {
    int64_t area = d->h * d->w;
    double count = (double)(d->n * area), sum = 0, squares = 0;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t i = 0; i < area; i++) sum += x[(n * d->c + c) * area + i];
    *mean = sum / count;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t i = 0; i < area; i++) {
            double distance = x[(n * d->c + c) * area + i] - *mean;
            squares += distance * distance;
        }
    *variance = squares / count;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const lk_op_desc *op = &call->op->desc;
    const lk_act_desc *d = &op->x;
    const double *x = call->buffers.x, *residual = op->batchnorm.residual ? call->buffers.residual : NULL;
    const double *gamma = lk_reference_param(call, run, 0), *beta = lk_reference_param(call, run, 1);
    double *y = call->buffers.y, *stats = (double *)run->stats + call->buffers.stats_offset;
    double *stash = call->buffers.stash; /* mean[C], 1 / sqrt(var + eps)[C] */
    int64_t area = d->h * d->w;
#pragma omp parallel for schedule(static) num_threads(call->op->threads)
    for (int64_t c = 0; c < d->c; c++) {
        if (op->training) statistics(d, x, c, &stats[c], &stats[d->c + c]);
        double mean = stats[c], inverse = 1 / sqrt(stats[d->c + c] + op->batchnorm.eps);
        if (op->training) {
            stash[c] = mean;
            stash[d->c + c] = inverse;
        }
        for (int64_t n = 0; n < d->n; n++)
            for (int64_t i = 0; i < area; i++) {
                int64_t at = (n * d->c + c) * area + i;
                double z = gamma[c] * ((x[at] - mean) * inverse) + beta[c];
                if (residual != NULL) z += residual[at];
                y[at] = lk_reference_act(op->batchnorm.act, z);
            }
    }
    return LK_OK;
}

/* Gradient before the activation at element `at`. */
static double dz_at(const lk_call *call, int64_t at) {
    lk_act act = call->op->desc.batchnorm.act;
    double dy = lk_reference_dy(call, at);
    return act == LK_ACT_NONE ? dy : lk_reference_act_gradient(act, ((const double *)call->buffers.y)[at], dy);
}

static void backward_channel(const lk_call *call, int64_t c, double gamma, double *dgamma, double *dbeta) {
    const lk_act_desc *d = &call->op->desc.x;
    const double *x = call->buffers.x, *stash = call->buffers.stash;
    double *dx = call->op->desc.need_dx ? call->buffers.dx : NULL;
    double *dresidual = call->op->desc.batchnorm.residual ? call->buffers.dresidual : NULL;
    double mean = stash[c], inverse = stash[d->c + c], sum = 0, weighted = 0;
    int64_t area = d->h * d->w;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t i = 0; i < area; i++) {
            int64_t at = (n * d->c + c) * area + i;
            double dz = dz_at(call, at);
            sum += dz;
            weighted += dz * ((x[at] - mean) * inverse);
        }
    *dgamma = weighted;
    *dbeta = sum;
    double count = (double)(d->n * area);
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t i = 0; i < area; i++) {
            int64_t at = (n * d->c + c) * area + i;
            double dz = dz_at(call, at); /* read before dresidual is written: they may share memory */
            if (dresidual != NULL) dresidual[at] = dz;
            if (dx != NULL)
                dx[at] = gamma * inverse * (dz - sum / count - (x[at] - mean) * inverse * (weighted / count));
        }
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)err;
    const double *gamma = lk_reference_param(call, run, 0);
    double *dgamma = lk_reference_grad(call, run, 0), *dbeta = lk_reference_grad(call, run, 1);
#pragma omp parallel for schedule(static) num_threads(call->op->threads)
    for (int64_t c = 0; c < call->op->desc.x.c; c++) backward_channel(call, c, gamma[c], &dgamma[c], &dbeta[c]);
    return LK_OK;
}

const lk_reference_op lk_reference_BATCHNORM = {plan, forward, backward};
