/* Batch normalisation. Both passes go channel group by channel group: a group's second reading comes from the
 * processor's cache, and its sums never cross threads. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/cpu_internal.h"

typedef struct batchnorm_plan {
    const lk_cpu_kernels *kernels;
    lk_cpu_group group;
    int64_t groups;
    lk_act act;
    bool residual;
    bool mask;       /* the stash holds which elements RELU stopped */
    bool keep;       /* the stash holds a factor per sample */
    int64_t keep_at; /* bytes into the stash; before it: mean, 1 / sqrt(variance + eps), padded channels each */
    int64_t mask_at;
} batchnorm_plan;

static int64_t padded(const batchnorm_plan *p) { return p->groups * p->kernels->lanes; }

/* Are mean and variance found here, not given? */
static bool is_measured(const lk_op *op) { return op->desc.training && !op->desc.batchnorm.fixed; }

/* Do other leaves normalise with this one? */
static bool is_synchronised(const lk_op *op) { return is_measured(op) && op->desc.batchnorm.group > 1; }

/* Does backward need sums over a channel: of dx, or for the parameters? */
static bool has_sums(const lk_op_desc *d) { return !d->batchnorm.fixed || !d->frozen; }

static lk_group_scratch scratch_of(const lk_call *call) {
    return lk_group_place(call->buffers.workspace, call->op->desc.batchnorm.group, padded(call->op->plan));
}

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    const batchnorm_plan *p = op->plan;
    lk_op_info *info = &op->info;
    int64_t c = d->x.c;
    double bytes = (double)lk_act_bytes(&d->x), count = (double)(d->x.n * c * d->x.h * d->x.w);
    info->param_count = 2;
    info->params[0] = (lk_param_info){LK_PARAM_GAMMA, lk_shape_of(1, c), c};
    info->params[1] = (lk_param_info){LK_PARAM_BETA, lk_shape_of(1, c), c};
    info->stats_count = 2 * c;
    bool back = lk_op_has_backward(d), derivative = p->act != LK_ACT_NONE && !p->mask;
    info->keeps_x = back && (has_sums(d) || derivative);
    info->keeps_residual = back && p->residual && derivative;
    info->flops_forward = (is_measured(op) ? 7 : 3) * count;
    info->flops_backward = back ? (has_sums(d) ? 10 : 2) * count : 0;
    info->bytes_forward = bytes * (2 + p->residual);
    info->bytes_backward =
        back ? bytes * (info->keeps_x + d->dy_count + d->need_dx + p->residual + info->keeps_residual) : 0;
    if (d->training) info->stash_bytes = p->mask_at + (p->mask ? p->groups * d->x.n * d->x.h * d->x.w : 0);
    if (is_synchronised(op)) info->workspace_bytes = lk_group_bytes(d->batchnorm.group, padded(p));
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:%d lanes", p->kernels->lanes);
    if (back) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    batchnorm_plan *p = NULL;
    lk_cpu_info_start(op, d->x.c, d->x.h, d->x.w);
    LK_RETURN_IF(LK_NEW(&p, 1, "a batch normalisation", err));
    op->plan = p;
    if (d->x.dtype != d->compute) return lk_cpu_unsupported(op, "its input has another type", err);
    if (is_measured(op) && d->x.n * d->x.h * d->x.w < 2)
        return lk_fail(
            err, LK_ERR_CONFIG,
            "batch normalisation in training needs at least 2 values a channel, and the cpu device was asked "
            "for 1; use a larger microbatch or drop_last");
    p->kernels = lk_cpu_kernels_get(d->x.dtype, d->x.block);
    p->group = lk_cpu_group_of(&d->x);
    p->groups = lk_cpu_group_count(&d->x, p->kernels->lanes);
    p->act = d->batchnorm.act;
    p->residual = d->batchnorm.residual;
    p->mask = lk_op_has_backward(d) && p->act == LK_ACT_RELU && p->residual;
    p->keep = d->training && d->batchnorm.drop_path > 0;
    p->keep_at = (int64_t)lk_round_up((size_t)(2 * padded(p)) * sizeof(float));
    p->mask_at = p->keep_at + (p->keep ? (int64_t)lk_round_up((size_t)d->x.n * sizeof(float)) : 0);
    fill_info(op);
    return LK_OK;
}

static void drop(lk_op *op) { lk_free(op->plan); }

/* Lanes of one group that are channels, not padding. */
static int64_t lanes_used(const lk_op *op, int64_t group) {
    const batchnorm_plan *p = op->plan;
    int64_t first = group * p->kernels->lanes, rest = op->desc.x.c - first;
    return rest < 0 ? 0 : rest < p->kernels->lanes ? rest : p->kernels->lanes;
}

/* One function for both passes: backward finds the sign of y from the same bits. */
static float scale_of(float gamma, float inverse) { return gamma * inverse; }

/* Fills the lanes from statistics; keeps them in the stash when training. */
static void set_lanes(const lk_op *op, int64_t group, const double *mean, const double *variance, const float *gamma,
                      const float *beta, float *stash, lk_cpu_bn_lanes *lanes) {
    const batchnorm_plan *p = op->plan;
    int64_t first = group * p->kernels->lanes, used = lanes_used(op, group);
    memset(lanes, 0, sizeof *lanes);
    for (int64_t i = 0; i < used; i++) {
        float inverse = (float)(1 / sqrt(variance[i] + op->desc.batchnorm.eps));
        lanes->mean[i] = (float)mean[i];
        lanes->scale[i] = scale_of(gamma[first + i], inverse);
        lanes->beta[i] = beta[first + i];
        if (stash == NULL) continue;
        stash[first + i] = lanes->mean[i];
        stash[padded(p) + first + i] = inverse;
    }
}

/* The factors per sample, or NULL. */
static float *keep_of(const lk_call *call) {
    const batchnorm_plan *p = call->op->plan;
    return p->keep ? (float *)((char *)call->buffers.stash + p->keep_at) : NULL;
}

static void draw_keep(const lk_call *call, const lk_run *run) {
    const lk_op_desc *d = &call->op->desc;
    float *keep = keep_of(call);
    for (int64_t n = 0; keep != NULL && n < d->x.n; n++)
        keep[n] = lk_run_drops(run, d->layer, n, 1, 0, d->batchnorm.drop_path)
                      ? 0.0f
                      : (float)(1 / (1 - d->batchnorm.drop_path));
}

/* Values of a channel in this leaf. */
static double value_count(const batchnorm_plan *p) { return (double)(p->group.planes * p->group.pixels); }

/* together: mean and variance of the leaf's group, or NULL: this op finds its own. */
static void forward_group(const lk_call *call, const lk_run *run, int64_t group, const lk_group_scratch *together) {
    const lk_op *op = call->op;
    const batchnorm_plan *p = op->plan;
    const lk_cpu_kernels *k = p->kernels;
    int64_t at = lk_cpu_group_offset(&op->desc.x, k->lanes, group) * (int64_t)lk_dtype_size(op->desc.x.dtype);
    int64_t first = group * k->lanes, used = lanes_used(op, group), channels = op->desc.x.c;
    const char *x = (const char *)call->buffers.x + at;
    double mean[LK_CPU_LANES] = {0}, variance[LK_CPU_LANES] = {0};
    if (is_measured(op)) {
        float *stats = (float *)run->stats + call->buffers.stats_offset;
        if (together == NULL) k->bn_statistics(&p->group, x, mean, variance);
        for (int64_t i = 0; i < used; i++) {
            if (together != NULL) mean[i] = together->mean[first + i];
            variance[i] = together != NULL ? together->variance[first + i] : variance[i] / value_count(p);
            stats[first + i] = (float)mean[i];
            stats[channels + first + i] = (float)variance[i];
        }
    } else {
        const float *given =
            (const float *)(op->desc.training ? run->running : run->stats) + call->buffers.stats_offset;
        for (int64_t i = 0; i < used; i++) {
            mean[i] = (double)given[first + i];
            variance[i] = (double)given[channels + first + i];
        }
    }
    lk_cpu_bn_lanes lanes;
    set_lanes(op, group, mean, variance, lk_cpu_param(call, run, 0), lk_cpu_param(call, run, 1),
              op->desc.training ? call->buffers.stash : NULL, &lanes);
    uint8_t *mask = NULL;
    if (p->mask) mask = (uint8_t *)call->buffers.stash + p->mask_at + group * p->group.planes * p->group.pixels;
    k->bn_forward(&p->group, &lanes, x, p->residual ? (const char *)call->buffers.residual + at : NULL, keep_of(call),
                  (char *)call->buffers.y + at, mask, p->act);
}

/* The statistics of all leaves of the group, in the scratch. */
static lk_status gather_statistics(lk_call *call, const lk_run *run, int threads, lk_group_scratch *s, lk_error *err) {
    const lk_op *op = call->op;
    const batchnorm_plan *p = op->plan;
    int lanes = p->kernels->lanes;
    *s->count = value_count(p);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) {
        int64_t at = lk_cpu_group_offset(&op->desc.x, lanes, group) * (int64_t)lk_dtype_size(op->desc.x.dtype);
        double mean[LK_CPU_LANES] = {0}, squares[LK_CPU_LANES] = {0};
        p->kernels->bn_statistics(&p->group, (const char *)call->buffers.x + at, mean, squares);
        memcpy(s->first + group * lanes, mean, (size_t)lanes * sizeof *mean);
        memcpy(s->second + group * lanes, squares, (size_t)lanes * sizeof *squares);
    }
    return lk_group_statistics(s, run->group, padded(p), err);
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream;
    const batchnorm_plan *p = call->op->plan;
    int threads = lk_cpu_threads(cpu);
    bool together = is_synchronised(call->op);
    lk_group_scratch s = {0};
    if (together) {
        s = scratch_of(call);
        LK_RETURN_IF(gather_statistics(call, run, threads, &s, err));
    }
    draw_keep(call, run);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) forward_group(call, run, group, together ? &s : NULL);
    lk_cpu_clear_padding(p->act, &call->op->info.y, call->buffers.y);
    return LK_OK;
}

/* One channel group as backward sees it. */
typedef struct backward_view {
    lk_cpu_bn_lanes lanes;
    lk_cpu_bn_grads t;
} backward_view;

static void open_view(const lk_call *call, const lk_run *run, int64_t group, backward_view *v) {
    const lk_op *op = call->op;
    const batchnorm_plan *p = op->plan;
    const lk_op_buffers *b = &call->buffers;
    int64_t at = lk_cpu_group_offset(&op->desc.x, p->kernels->lanes, group) * (int64_t)lk_dtype_size(op->desc.x.dtype);
    int64_t first = group * p->kernels->lanes, used = lanes_used(op, group);
    const float *stash = b->stash, *gamma = lk_cpu_param(call, run, 0), *beta = lk_cpu_param(call, run, 1);
    memset(&v->lanes, 0, sizeof v->lanes);
    for (int64_t i = 0; i < used; i++) {
        v->lanes.mean[i] = stash[first + i];
        v->lanes.scale[i] = scale_of(gamma[first + i], stash[padded(p) + first + i]);
        v->lanes.beta[i] = beta[first + i];
    }
    v->t = (lk_cpu_bn_grads){
        .x = (const char *)b->x + at,
        .residual = op->info.keeps_residual ? (const char *)b->residual + at : NULL,
        .dy = {(const char *)b->dy[0] + at, op->desc.dy_count > 1 ? (const char *)b->dy[1] + at : NULL},
        .dx = op->desc.need_dx ? (char *)b->dx + at : NULL,
        .dresidual = p->residual ? (char *)b->dresidual + at : NULL,
        .mask = p->mask ? (const uint8_t *)b->stash + p->mask_at + group * p->group.planes * p->group.pixels : NULL,
        .keep = keep_of(call),
        .act = p->act,
        .fixed = op->desc.batchnorm.fixed,
        .alone = !has_sums(&op->desc) && op->desc.need_dx};
}

/* The parameters' gradients are this leaf's own, whoever normalises with it. */
static void write_param_gradients(const lk_call *call, const lk_run *run, int64_t group, const double *sum,
                                  const double *dot) {
    const batchnorm_plan *p = call->op->plan;
    int64_t first = group * p->kernels->lanes, used = call->op->desc.frozen ? 0 : lanes_used(call->op, group);
    const float *inverse = (const float *)call->buffers.stash + padded(p) + first;
    float *dgamma = lk_cpu_grad(call, run, 0) + first, *dbeta = lk_cpu_grad(call, run, 1) + first;
    for (int64_t i = 0; i < used; i++) {
        dgamma[i] = (float)(dot[i] * (double)inverse[i]);
        dbeta[i] = (float)sum[i];
    }
}

/* From the two sums over all `count` values of a channel that were normalised together:
 *   dx = scale (g - sum / count - (x - mean) inverse^2 dot / count)
 * or, where the statistics are constants, dx = scale g. */
static void write_dx(const lk_call *call, int64_t group, const double *sum, const double *dot, double count,
                     backward_view *v) {
    const batchnorm_plan *p = call->op->plan;
    int64_t used = lanes_used(call->op, group);
    const float *inverse = (const float *)call->buffers.stash + padded(p) + group * p->kernels->lanes;
    if (v->t.dx == NULL) return;
    for (int64_t i = 0; i < used; i++) {
        double scale = (double)v->lanes.scale[i], inv = (double)inverse[i];
        v->lanes.slope[i] = (float)(-scale * inv * inv * dot[i] / count);
        v->lanes.offset[i] = (float)(-scale * sum[i] / count);
    }
    p->kernels->bn_backward_dx(&p->group, &v->lanes, &v->t);
}

static void add_sums(const lk_call *call, const lk_run *run, int64_t group, double *sum, double *dot,
                     backward_view *v) {
    const batchnorm_plan *p = call->op->plan;
    p->kernels->bn_backward_sums(&p->group, &v->lanes, &v->t, sum, dot);
    write_param_gradients(call, run, group, sum, dot);
}

static void backward_group(const lk_call *call, const lk_run *run, int64_t group) {
    backward_view v;
    double sum[LK_CPU_LANES] = {0}, dot[LK_CPU_LANES] = {0};
    open_view(call, run, group, &v);
    if (!v.t.alone) add_sums(call, run, group, sum, dot, &v);
    write_dx(call, group, sum, dot, value_count(call->op->plan), &v);
}

static lk_status backward_together(lk_call *call, const lk_run *run, int threads, lk_error *err) {
    const batchnorm_plan *p = call->op->plan;
    int lanes = p->kernels->lanes;
    lk_group_scratch s = scratch_of(call);
    *s.count = value_count(p);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) {
        backward_view v;
        double sum[LK_CPU_LANES] = {0}, dot[LK_CPU_LANES] = {0};
        open_view(call, run, group, &v);
        add_sums(call, run, group, sum, dot, &v);
        memcpy(s.first + group * lanes, sum, (size_t)lanes * sizeof *sum);
        memcpy(s.second + group * lanes, dot, (size_t)lanes * sizeof *dot);
    }
    LK_RETURN_IF(lk_group_sums(&s, run->group, padded(p), err));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) {
        backward_view v;
        open_view(call, run, group, &v);
        write_dx(call, group, s.mean + group * lanes, s.variance + group * lanes, s.values, &v);
    }
    return LK_OK;
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream;
    const batchnorm_plan *p = call->op->plan;
    int threads = lk_cpu_threads(cpu);
    if (is_synchronised(call->op)) return backward_together(call, run, threads, err);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) backward_group(call, run, group);
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_batchnorm = {.plan = plan, .drop = drop, .forward = forward, .backward = backward};
