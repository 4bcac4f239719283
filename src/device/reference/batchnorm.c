/* Batch normalisation with fused stochastic depth, residual add and activation. Source: Ioffe and Szegedy 2015,
 * algorithm 1, and torch.nn.BatchNorm2d. Per channel, over the m = n h w values of a microbatch: xhat = (x - mean) /
 * sqrt(var + eps),  var = sum (x - mean)^2 / m y = act(keep (gamma xhat + beta) + residual),  keep: a number per sample
 * With dz the gradient before the activation and g = keep dz:
 *   dbeta = sum g,  dgamma = sum g xhat,  dx = gamma / sqrt(var + eps) (g - dbeta / m - xhat dgamma / m),
 *   dresidual = dz.
 * With fixed statistics mean and var are constants:  dx = gamma / sqrt(var + eps) g. */
#include <math.h>

#include "device/reference/internal.h"

/* Are mean and variance found here, not given? */
static bool is_measured(const lk_op_desc *d) { return d->training && !d->batchnorm.fixed; }

/* Do other leaves normalise with this one? */
static bool is_synchronised(const lk_op_desc *d) { return is_measured(d) && d->batchnorm.group > 1; }

static bool is_pooled(const lk_op_desc *d) { return d->batchnorm.pool.kernel > 0; }

static lk_group_scratch scratch_of(const lk_call *call) {
    return lk_group_place(call->buffers.workspace, call->op->desc.batchnorm.group, call->op->desc.x.c);
}

/* y is as large as x, or pooled. */
static lk_status plan_y(lk_op *op, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    int64_t kernel = d->batchnorm.pool.kernel, stride = d->batchnorm.pool.stride, pad = d->batchnorm.pool.pad;
    if (!is_pooled(d)) return lk_reference_set_y(op, d->x.c, d->x.h, d->x.w, err);
    int64_t h = lk_reference_window(d->x.h, kernel, stride, pad, 0, 1);
    int64_t w = lk_reference_window(d->x.w, kernel, stride, pad, 0, 1);
    if (h == 0 || w == 0 || pad > kernel / 2)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "a pooling window that does not fit");
    return lk_reference_set_y(op, d->x.c, h, w, err);
}

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (!(op->desc.batchnorm.eps >= 0) || op->desc.batchnorm.act < 0 || op->desc.batchnorm.act >= LK_ACT_COUNT)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "eps %g or the activation is impossible",
                                   op->desc.batchnorm.eps);
    if (!(op->desc.batchnorm.drop_path >= 0 && op->desc.batchnorm.drop_path < 1) ||
        (op->desc.batchnorm.drop_path > 0 && !op->desc.batchnorm.residual))
        return lk_reference_refuse(op, LK_ERR_CONFIG, err,
                                   "a drop_path of %g is outside [0, 1) or there is no residual to go by",
                                   op->desc.batchnorm.drop_path);
    if ((op->desc.batchnorm.mean_dy || is_pooled(&op->desc)) && op->desc.batchnorm.residual)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "a residual beside the gradient of a mean, or pooling");
    if (is_pooled(&op->desc) && (op->desc.batchnorm.mean_dy || is_synchronised(&op->desc) || !op->desc.training))
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "pooling of several leaves, of a mean, or in evaluation");
    if (op->desc.batchnorm.group < 0)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "a group of %d leaves", op->desc.batchnorm.group);
    if (is_measured(&op->desc) && x->n * x->h * x->w < 2)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err,
                                   "training needs at least 2 values a channel; use a larger microbatch or drop_last");
    LK_RETURN_IF(plan_y(op, err));
    lk_reference_add_param(op, LK_PARAM_GAMMA, lk_shape_of(1, x->c));
    lk_reference_add_param(op, LK_PARAM_BETA, lk_shape_of(1, x->c));
    op->info.stats_count = 2 * x->c;
    double count = (double)lk_act_count(x);
    op->info.flops_forward = (is_measured(&op->desc) ? 7 : 3) * count;
    if (is_synchronised(&op->desc)) op->info.workspace_bytes = lk_group_bytes(op->desc.batchnorm.group, x->c);
    /* Values before the pooling, then gradients of them. */
    if (is_pooled(&op->desc)) op->info.workspace_bytes = lk_act_bytes(x);
    if (!lk_op_has_backward(&op->desc)) return LK_OK;
    op->info.flops_backward = 10 * count;
    op->info.keeps_x = true;
    op->info.keeps_y =
        op->desc.batchnorm.act != LK_ACT_NONE && lk_act_invertible(op->desc.batchnorm.act) && !is_pooled(&op->desc);
    op->info.keeps_residual = op->desc.batchnorm.residual && !lk_act_invertible(op->desc.batchnorm.act);
    op->info.stash_bytes = 4 * x->c * (int64_t)sizeof(double);
    if (is_pooled(&op->desc)) op->info.stash_bytes += lk_act_count(&op->info.y) * (int64_t)sizeof(int64_t);
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

/* Mean and variance of every channel that the forward pass takes. */
static const double *statistics_of(const lk_call *call, const lk_run *run) {
    bool fixed = call->op->desc.training && call->op->desc.batchnorm.fixed;
    return (const double *)(fixed ? run->running : run->stats) + call->buffers.stats_offset;
}

/* What the normalised values of a sample are multiplied by. */
static double keep_of(const lk_call *call, const lk_run *run, int64_t n) {
    double rate = call->op->desc.training ? call->op->desc.batchnorm.drop_path : 0;
    if (rate > 0 && lk_run_drops(run, call->op->desc.layer, n, 1, 0, rate)) return 0;
    return 1 / (1 - rate);
}

/* Fills `stats`: of this leaf, or of all leaves of its group. */
static lk_status write_statistics(const lk_call *call, const lk_run *run, double *stats, lk_error *err) {
    const lk_act_desc *d = &call->op->desc.x;
#pragma omp parallel for schedule(static) num_threads(call->op->threads)
    for (int64_t c = 0; c < d->c; c++) statistics(d, call->buffers.x, c, &stats[c], &stats[d->c + c]);
    if (!is_synchronised(&call->op->desc)) return LK_OK;
    lk_group_scratch s = scratch_of(call);
    *s.count = (double)(d->n * d->h * d->w);
    for (int64_t c = 0; c < d->c; c++) {
        s.first[c] = stats[c];
        s.second[c] = stats[d->c + c] * *s.count;
    }
    LK_RETURN_IF(lk_group_statistics(&s, run->group, d->c, err));
    for (int64_t c = 0; c < d->c; c++) {
        stats[c] = s.mean[c];
        stats[d->c + c] = s.variance[c];
    }
    return LK_OK;
}

/* Pools the values in the workspace; which element of x each maximum is, is kept where a backward pass follows. */
static void pool(const lk_call *call) {
    const lk_op_desc *op = &call->op->desc;
    const lk_act_desc *in = &op->x, *out = &call->op->info.y;
    lk_op_desc window = {
        .x = *in,
        .maxpool = {op->batchnorm.pool.kernel, op->batchnorm.pool.stride, op->batchnorm.pool.pad},
    };
    const double *values = call->buffers.workspace;
    double *y = call->buffers.y;
    int64_t *winner = lk_op_has_backward(op) ? (int64_t *)((double *)call->buffers.stash + 4 * in->c) : NULL;
    for (int64_t i = 0; i < lk_act_count(out); i++) {
        int64_t first = i / (out->h * out->w) * in->h * in->w;
        int64_t at = first + lk_reference_find_maximum(&window, values + first, i / out->w % out->h, i % out->w);
        y[i] = values[at];
        if (winner != NULL) winner[i] = at;
    }
}

/* Fills the workspace with the gradients of the values before the pooling. */
static void spread(const lk_call *call) {
    const lk_op_desc *op = &call->op->desc;
    double *gradients = call->buffers.workspace;
    const int64_t *winner = (const int64_t *)((const double *)call->buffers.stash + 4 * op->x.c);
    for (int64_t i = 0; i < lk_act_count(&op->x); i++) gradients[i] = 0;
    for (int64_t i = 0; i < lk_act_count(&call->op->info.y); i++) gradients[winner[i]] += lk_reference_dy(call, i);
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    const lk_op_desc *op = &call->op->desc;
    const lk_act_desc *d = &op->x;
    const double *x = call->buffers.x, *residual = op->batchnorm.residual ? call->buffers.residual : NULL;
    const double *gamma = lk_reference_param(call, run, 0), *beta = lk_reference_param(call, run, 1);
    double *y = is_pooled(op) ? call->buffers.workspace : call->buffers.y;
    /* mean[C], 1 / sqrt(var + eps)[C]; then what backward's sums are, dgamma[C], dbeta[C] */
    double *stash = call->buffers.stash;
    int64_t area = d->h * d->w;
    if (is_measured(op))
        LK_RETURN_IF(write_statistics(call, run, (double *)run->stats + call->buffers.stats_offset, err));
    const double *stats = statistics_of(call, run);
#pragma omp parallel for schedule(static) num_threads(call->op->threads)
    for (int64_t c = 0; c < d->c; c++) {
        double mean = stats[c], inverse = 1 / sqrt(stats[d->c + c] + op->batchnorm.eps);
        if (lk_op_has_backward(op)) {
            stash[c] = mean;
            stash[d->c + c] = inverse;
        }
        for (int64_t n = 0; n < d->n; n++) {
            double keep = keep_of(call, run, n);
            for (int64_t i = 0; i < area; i++) {
                int64_t at = (n * d->c + c) * area + i;
                double z = keep * (gamma[c] * ((x[at] - mean) * inverse) + beta[c]);
                if (residual != NULL) z += residual[at];
                y[at] = lk_reference_act(op->batchnorm.act, z);
            }
        }
    }
    if (is_pooled(op)) pool(call);
    return LK_OK;
}

/* The gradient that arrives at element `at` before any pooling, with its share of that of a mean. */
static double dy_at(const lk_call *call, int64_t at) {
    const lk_op_desc *d = &call->op->desc;
    if (is_pooled(d)) return ((const double *)call->buffers.workspace)[at];
    if (!d->batchnorm.mean_dy) return lk_reference_dy(call, at);
    int64_t area = d->x.h * d->x.w;
    double share = ((const double *)call->buffers.dy[d->dy_count - 1])[at / area] / (double)area;
    return d->dy_count == 1 ? share : ((const double *)call->buffers.dy[0])[at] + share;
}

/* Gradient before the activation at element `at`; z: what went into it, computed again. */
static double dz_at(const lk_call *call, int64_t at, double z) {
    lk_act act = call->op->desc.batchnorm.act;
    double dy = dy_at(call, at);
    if (act == LK_ACT_NONE) return dy;
    double value = !lk_act_invertible(act)      ? z
                   : is_pooled(&call->op->desc) ? lk_reference_act(act, z)
                                                : ((const double *)call->buffers.y)[at];
    return lk_reference_act_gradient(act, value, dy);
}

/* One channel as backward sees it. */
typedef struct channel {
    double gamma, beta, mean, inverse, sum, weighted; /* sum: of g; weighted: of g xhat */
    double count;                                     /* of values that both sums are over */
} channel;

/* One sample of a channel: the sums, then what is written. Each dy is read before dresidual, which may lie on it. */
static void add_sums(const lk_call *call, channel *k, int64_t first, int64_t area, double keep) {
    const double *x = call->buffers.x, *residual = call->buffers.residual;
    bool adds = call->op->info.keeps_residual;
    for (int64_t at = first; at < first + area; at++) {
        double xhat = (x[at] - k->mean) * k->inverse;
        double g = keep * dz_at(call, at, keep * (k->gamma * xhat + k->beta) + (adds ? residual[at] : 0));
        k->sum += g;
        k->weighted += g * xhat;
    }
}

static void write_gradients(const lk_call *call, const channel *k, int64_t first, int64_t area, double keep) {
    const double *x = call->buffers.x, *residual = call->buffers.residual;
    double *dx = call->op->desc.need_dx ? call->buffers.dx : NULL;
    double *dresidual = call->op->desc.batchnorm.residual ? call->buffers.dresidual : NULL;
    bool adds = call->op->info.keeps_residual;
    for (int64_t at = first; at < first + area; at++) {
        double xhat = (x[at] - k->mean) * k->inverse;
        double dz = dz_at(call, at, keep * (k->gamma * xhat + k->beta) + (adds ? residual[at] : 0));
        if (dresidual != NULL) dresidual[at] = dz;
        if (dx == NULL) continue;
        double moved = k->sum / k->count + xhat * (k->weighted / k->count); /* mean and variance, with x */
        dx[at] = k->gamma * k->inverse * (keep * dz - (call->op->desc.batchnorm.fixed ? 0 : moved));
    }
}

static channel channel_of(const lk_call *call, const lk_run *run, int64_t c) {
    const lk_act_desc *d = &call->op->desc.x;
    const double *stash = call->buffers.stash;
    return (channel){.gamma = lk_reference_param(call, run, 0)[c],
                     .beta = lk_reference_param(call, run, 1)[c],
                     .mean = stash[c],
                     .inverse = stash[d->c + c],
                     .count = (double)(d->n * d->h * d->w)};
}

/* sums: of all leaves of the group for every channel, or NULL: this leaf's alone. */
static void write_channels(const lk_call *call, const lk_run *run, const double *dgamma, const double *dbeta,
                           const lk_group_scratch *sums) {
    const lk_act_desc *d = &call->op->desc.x;
    int64_t area = d->h * d->w;
#pragma omp parallel for schedule(static) num_threads(call->op->threads)
    for (int64_t c = 0; c < d->c; c++) {
        channel k = channel_of(call, run, c);
        k.sum = sums == NULL ? dbeta[c] : sums->mean[c];
        k.weighted = sums == NULL ? dgamma[c] : sums->variance[c];
        if (sums != NULL) k.count = sums->values;
        for (int64_t n = 0; n < d->n; n++)
            write_gradients(call, &k, (n * d->c + c) * area, area, keep_of(call, run, n));
    }
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    const lk_act_desc *d = &call->op->desc.x;
    bool frozen = call->op->desc.frozen;
    double *sums = (double *)call->buffers.stash + 2 * d->c;
    double *dgamma = frozen ? sums : lk_reference_grad(call, run, 0);
    double *dbeta = frozen ? sums + d->c : lk_reference_grad(call, run, 1);
    int64_t area = d->h * d->w;
    if (is_pooled(&call->op->desc)) spread(call);
#pragma omp parallel for schedule(static) num_threads(call->op->threads)
    for (int64_t c = 0; c < d->c; c++) {
        channel k = channel_of(call, run, c);
        for (int64_t n = 0; n < d->n; n++) add_sums(call, &k, (n * d->c + c) * area, area, keep_of(call, run, n));
        dgamma[c] = k.weighted;
        dbeta[c] = k.sum;
    }
    lk_group_scratch s = {0};
    bool together = is_synchronised(&call->op->desc);
    if (together) {
        s = scratch_of(call);
        *s.count = (double)(d->n * area);
        for (int64_t c = 0; c < d->c; c++) {
            s.first[c] = dbeta[c];
            s.second[c] = dgamma[c];
        }
        LK_RETURN_IF(lk_group_sums(&s, run->group, d->c, err));
    }
    write_channels(call, run, dgamma, dbeta, together ? &s : NULL);
    return LK_OK;
}

const lk_reference_op lk_reference_BATCHNORM = {plan, forward, backward};
