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
    info->keeps_x = d->training;
    info->keeps_residual = d->training && p->residual && p->act != LK_ACT_NONE && !p->mask;
    info->flops_forward = (d->training ? 7 : 3) * count;
    info->flops_backward = d->training ? 10 * count : 0;
    info->bytes_forward = bytes * (2 + p->residual);
    info->bytes_backward =
        d->training ? bytes * (1 + d->dy_count + d->need_dx + p->residual + info->keeps_residual) : 0;
    if (d->training) info->stash_bytes = p->mask_at + (p->mask ? p->groups * d->x.n * d->x.h * d->x.w : 0);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:%d lanes", p->kernels->lanes);
    if (d->training) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    batchnorm_plan *p = NULL;
    lk_cpu_info_start(op, d->x.c, d->x.h, d->x.w);
    LK_RETURN_IF(LK_NEW(&p, 1, "a batch normalisation", err));
    op->plan = p;
    if (d->x.dtype != d->compute) return lk_cpu_unsupported(op, "its input has another type", err);
    if (d->training && d->x.n * d->x.h * d->x.w < 2)
        return lk_fail(
            err, LK_ERR_CONFIG,
            "batch normalisation in training needs at least 2 values a channel, and the cpu device was asked "
            "for 1; use a larger microbatch or drop_last");
    p->kernels = lk_cpu_kernels_get(d->x.dtype, d->x.block);
    p->group = lk_cpu_group_of(&d->x);
    p->groups = lk_cpu_group_count(&d->x, p->kernels->lanes);
    p->act = d->batchnorm.act;
    p->residual = d->batchnorm.residual;
    p->mask = d->training && p->act == LK_ACT_RELU && p->residual;
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

static void forward_group(const lk_call *call, const lk_run *run, int64_t group) {
    const lk_op *op = call->op;
    const batchnorm_plan *p = op->plan;
    const lk_cpu_kernels *k = p->kernels;
    int64_t at = lk_cpu_group_offset(&op->desc.x, k->lanes, group) * (int64_t)lk_dtype_size(op->desc.x.dtype);
    int64_t first = group * k->lanes, used = lanes_used(op, group), channels = op->desc.x.c;
    const char *x = (const char *)call->buffers.x + at;
    float *stats = (float *)run->stats + call->buffers.stats_offset;
    double mean[LK_CPU_LANES] = {0}, variance[LK_CPU_LANES] = {0};
    if (op->desc.training) {
        k->bn_statistics(&p->group, x, mean, variance);
        for (int64_t i = 0; i < used; i++) {
            variance[i] /= (double)(p->group.planes * p->group.pixels);
            stats[first + i] = (float)mean[i];
            stats[channels + first + i] = (float)variance[i];
        }
    } else {
        for (int64_t i = 0; i < used; i++) {
            mean[i] = (double)stats[first + i];
            variance[i] = (double)stats[channels + first + i];
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

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const batchnorm_plan *p = call->op->plan;
    int threads = lk_cpu_threads(cpu);
    draw_keep(call, run);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) forward_group(call, run, group);
    lk_cpu_clear_padding(p->act, &call->op->info.y, call->buffers.y);
    return LK_OK;
}

/* From the two sums: the parameters' gradients, and the lanes that make dx.
 *   dx = scale (g - sum / m - (x - mean) inverse^2 dot / m) */
static void finish_sums(const lk_call *call, const lk_run *run, int64_t group, const double *sum, const double *dot,
                        lk_cpu_bn_lanes *lanes) {
    const batchnorm_plan *p = call->op->plan;
    int64_t first = group * p->kernels->lanes, used = lanes_used(call->op, group);
    const float *inverse = (const float *)call->buffers.stash + padded(p) + first;
    float *dgamma = lk_cpu_grad(call, run, 0) + first, *dbeta = lk_cpu_grad(call, run, 1) + first;
    double count = (double)(p->group.planes * p->group.pixels);
    for (int64_t i = 0; i < used; i++) {
        double scale = (double)lanes->scale[i], inv = (double)inverse[i];
        dgamma[i] = (float)(dot[i] * inv);
        dbeta[i] = (float)sum[i];
        lanes->slope[i] = (float)(-scale * inv * inv * dot[i] / count);
        lanes->offset[i] = (float)(-scale * sum[i] / count);
    }
}

static void backward_group(const lk_call *call, const lk_run *run, int64_t group) {
    const lk_op *op = call->op;
    const batchnorm_plan *p = op->plan;
    const lk_cpu_kernels *k = p->kernels;
    const lk_op_buffers *b = &call->buffers;
    int64_t at = lk_cpu_group_offset(&op->desc.x, k->lanes, group) * (int64_t)lk_dtype_size(op->desc.x.dtype);
    int64_t first = group * k->lanes, used = lanes_used(op, group);
    const float *stash = b->stash, *gamma = lk_cpu_param(call, run, 0), *beta = lk_cpu_param(call, run, 1);
    lk_cpu_bn_lanes lanes = {0};
    for (int64_t i = 0; i < used; i++) {
        lanes.mean[i] = stash[first + i];
        lanes.scale[i] = scale_of(gamma[first + i], stash[padded(p) + first + i]);
        lanes.beta[i] = beta[first + i];
    }
    lk_cpu_bn_grads t = {
        .x = (const char *)b->x + at,
        .residual = op->info.keeps_residual ? (const char *)b->residual + at : NULL,
        .dy = {(const char *)b->dy[0] + at, op->desc.dy_count > 1 ? (const char *)b->dy[1] + at : NULL},
        .dx = op->desc.need_dx ? (char *)b->dx + at : NULL,
        .dresidual = p->residual ? (char *)b->dresidual + at : NULL,
        .mask = p->mask ? (const uint8_t *)b->stash + p->mask_at + group * p->group.planes * p->group.pixels : NULL,
        .keep = keep_of(call),
        .act = p->act};
    double sum[LK_CPU_LANES] = {0}, dot[LK_CPU_LANES] = {0};
    k->bn_backward_sums(&p->group, &lanes, &t, sum, dot);
    finish_sums(call, run, group, sum, dot, &lanes);
    if (t.dx != NULL) k->bn_backward_dx(&p->group, &lanes, &t);
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const batchnorm_plan *p = call->op->plan;
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t group = 0; group < p->groups; group++) backward_group(call, run, group);
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_batchnorm = {.plan = plan, .drop = drop, .forward = forward, .backward = backward};
