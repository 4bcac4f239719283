/* Batch normalisation on the own kernels, one launch in either direction. The stash holds mean, inverse
 * deviation, scale and beta of each channel, and with RELU over a residual one bit an element: whether it was stopped.
 * Other activations over a residual keep the residual. With drop_path, run_data is a factor for each sample. With
 * pooling the stash ends with the winner's place in each window, and what is pooled is computed again backward. */
#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

typedef struct batchnorm_plan {
    bool mask;
    int64_t mask_at;  /* bytes into the stash; before it: saved */
    int64_t terms_at; /* bytes into the workspace; before it: partial sums */
} batchnorm_plan;

/* Are mean and variance found here, not given? */
static bool is_measured(const lk_op_desc *d) { return d->training && !d->batchnorm.fixed; }

/* Does backward need sums over a channel: of dx, or for the parameters? */
static bool has_sums(const lk_op_desc *d) { return !d->batchnorm.fixed || !d->frozen; }

static bool is_pooled(const lk_op_desc *d) { return d->batchnorm.pool.kernel > 0; }

/* The gradient of a mean comes in where the sums do, and dresidual may not lie on it. Pooling has one window. */
static bool fuses(const lk_op_desc *d) {
    if (!d->training || d->batchnorm.residual || !has_sums(d)) return false;
    if (!is_pooled(d)) return true;
    return d->batchnorm.pool.kernel == 3 && d->batchnorm.pool.stride == 2 && d->batchnorm.pool.pad == 1 &&
           is_measured(d) && !d->batchnorm.mean_dy;
}

static int64_t saved_bytes(const lk_op *op) {
    return (int64_t)lk_round_up((size_t)(4 * op->desc.x.block) * sizeof(float));
}

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    batchnorm_plan *p = op->plan;
    lk_op_info *info = &op->info;
    double bytes = (double)lk_act_bytes(&d->x), count = (double)lk_act_count(&d->x);
    int lanes = lk_cuda_lanes(lk_cuda_type_of(d->x.dtype));
    int64_t mask_bytes = lk_act_count(&d->x) / lanes;
    info->param_count = 2;
    info->params[0] = (lk_param_info){LK_PARAM_GAMMA, lk_shape_of(1, d->x.c), d->x.c};
    info->params[1] = (lk_param_info){LK_PARAM_BETA, lk_shape_of(1, d->x.c), d->x.c};
    info->stats_count = 2 * d->x.c;
    info->flops_forward = (is_measured(d) ? 7 : 3) * count;
    info->bytes_forward = bytes * (2 + is_measured(d) + d->batchnorm.residual);
    lk_cuda_info_own(op, "one-pass norm");
    if (!d->training) return;
    info->bytes_again = is_measured(d) && !is_pooled(d) ? 2 * bytes : 0;
    bool back = lk_op_has_backward(d);
    double index = back && is_pooled(d) ? (double)lk_act_count(&info->y) : 0;
    if (is_pooled(d)) info->bytes_forward = 2 * bytes + (double)lk_act_bytes(&info->y) + index;
    p->mask = back && d->batchnorm.residual && d->batchnorm.act == LK_ACT_RELU;
    p->mask_at = saved_bytes(op);
    if (d->batchnorm.drop_path > 0) info->run_bytes = d->x.n * (int64_t)sizeof(float);
    p->terms_at = (int64_t)lk_round_up((size_t)lk_cuda_partial_bytes(&d->x));
    info->stash_bytes = p->mask_at + (p->mask ? mask_bytes : 0) + (int64_t)index;
    info->workspace_bytes = p->terms_at + 2 * d->x.block * (int64_t)sizeof(float);
    if (p->mask) info->bytes_forward += (double)mask_bytes;
    if (!back) return;
    bool derivative = d->batchnorm.act != LK_ACT_NONE && !p->mask;
    info->keeps_x = has_sums(d) || derivative;
    info->keeps_residual = d->batchnorm.residual && derivative;
    info->flops_backward = (has_sums(d) ? 10 : 2) * count;
    int walks = has_sums(d) + (d->need_dx || d->batchnorm.residual);
    info->launches_backward = walks > 0;
    double read = bytes * (info->keeps_x + info->keeps_residual) + (double)lk_op_dy_bytes(d, &info->y) + index;
    info->bytes_backward =
        read * walks + bytes * (d->need_dx + d->batchnorm.residual) + (p->mask ? (double)mask_bytes * 2 : 0);
}

static lk_status plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda;
    const lk_op_desc *d = &op->desc;
    batchnorm_plan *p = NULL;
    lk_cuda_rows rows = lk_cuda_rows_of(&d->x);
    if ((d->batchnorm.mean_dy || is_pooled(d)) && !fuses(d))
        return lk_cuda_unsupported(op, "it takes no gradient of a mean there, nor such pooling", err);
    if (is_pooled(d) && (d->x.n * d->x.h * d->x.w > INT32_MAX || d->x.w * d->x.block > INT32_MAX))
        return lk_cuda_unsupported(op, "it pools 2^31 pixels, or elements in a row, or more", err);
    if (!lk_cuda_counters_suffice(&rows)) return lk_cuda_unsupported(op, "it has too many channels", err);
    bool half = is_pooled(d);
    lk_cuda_info_start(op, d->x.c, half ? (d->x.h + 1) / 2 : d->x.h, half ? (d->x.w + 1) / 2 : d->x.w, d->x.block);
    LK_RETURN_IF(LK_NEW(&p, 1, "a batch normalisation", err));
    op->plan = p;
    fill_info(op);
    return LK_OK;
}

static void drop(lk_op *op) { lk_free(op->plan); }

/* What both passes are given. */
static lk_cuda_norm norm_of(const lk_cuda *cuda, lk_stream *stream, const lk_call *call, const lk_run *run) {
    const lk_op *op = call->op;
    const lk_op_desc *d = &op->desc;
    const lk_op_buffers *b = &call->buffers;
    const batchnorm_plan *p = op->plan;
    lk_cuda_norm norm = {.shape = lk_cuda_rows_of(&d->x),
                         .eps = (float)d->batchnorm.eps,
                         .area = d->x.h * d->x.w,
                         .act = d->batchnorm.act,
                         .x = b->x,
                         .gamma = lk_cuda_param(call, run, 0),
                         .beta = lk_cuda_param(call, run, 1),
                         .counters = stream->counters,
                         .multiprocessors = cuda->multiprocessors};
    bool fixed = d->training && d->batchnorm.fixed;
    norm.mean = (float *)(fixed ? (void *)run->running : run->stats) + b->stats_offset; /* running ones are read only */
    norm.variance = norm.mean + d->x.c;
    if (!d->training) return norm;
    if (!fixed) norm.saved = b->stash;
    if (op->info.run_bytes > 0) norm.keep = b->run_data;
    if (is_pooled(d)) {
        norm.h = (int)d->x.h;
        norm.w = (int)d->x.w;
        norm.index = lk_op_has_backward(d) ? (uint8_t *)b->stash + p->mask_at : NULL;
    }
    if (p->mask) norm.mask = (uint8_t *)b->stash + p->mask_at;
    norm.partial = b->workspace;
    if (!fixed) norm.terms = (float *)((char *)b->workspace + p->terms_at);
    return norm;
}

/* Draws the factors of the samples, on the host: they are few. */
static lk_status prepare(const lk_call *call, const lk_run *run, void *host, lk_error *err) {
    (void)err;
    const lk_op_desc *d = &call->op->desc;
    float *keep = host, kept = (float)(1 / (1 - d->batchnorm.drop_path));
    if (call->op->info.run_bytes == 0) return LK_OK;
    for (int64_t n = 0; n < d->x.n; n++)
        keep[n] = lk_run_drops(run, d->layer, n, 1, 0, d->batchnorm.drop_path) ? 0.0f : kept;
    return LK_OK;
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    lk_cuda_norm norm = norm_of(cuda, stream, call, run);
    norm.residual = call->op->desc.batchnorm.residual ? call->buffers.residual : NULL;
    norm.y = call->buffers.y;
    if (is_measured(&call->op->desc))
        return lk_cuda_check(lk_cuda_norm_forward(stream->cuda, &norm), "norm_forward", err);
    return lk_cuda_check(lk_cuda_norm_apply(stream->cuda, &norm), "norm_apply", err);
}

/* Mean and deviation are in the stash. */
static lk_status again(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    lk_cuda_norm norm = norm_of(cuda, stream, call, run);
    norm.y = call->buffers.y;
    return lk_cuda_check(lk_cuda_norm_apply(stream->cuda, &norm), "norm_apply", err);
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    const lk_op_desc *d = &call->op->desc;
    lk_cuda_norm norm = norm_of(cuda, stream, call, run);
    norm.residual = call->op->info.keeps_residual ? call->buffers.residual : NULL;
    norm.dy[0] = call->buffers.dy[0];
    norm.dy[1] = lk_cuda_second_dy(call);
    if (d->batchnorm.mean_dy) {
        norm.mean_dy = norm.dy[d->dy_count - 1];
        norm.dy[d->dy_count - 1] = NULL;
    }
    norm.dgamma = d->frozen ? NULL : lk_cuda_grad(call, run, 0);
    norm.dbeta = d->frozen ? NULL : lk_cuda_grad(call, run, 1);
    norm.dx = d->need_dx ? call->buffers.dx : NULL;
    norm.dresidual = d->batchnorm.residual ? call->buffers.dresidual : NULL;
    if (has_sums(d)) return lk_cuda_check(lk_cuda_norm_backward(stream->cuda, &norm), "norm_backward", err);
    if (norm.dx == NULL && norm.dresidual == NULL) return LK_OK;
    return lk_cuda_check(lk_cuda_norm_gradient(stream->cuda, &norm), "norm_gradient", err);
}

const lk_cuda_op_class lk_cuda_class_batchnorm = {.fuses = fuses,
                                                  .plan = plan,
                                                  .drop = drop,
                                                  .prepare = prepare,
                                                  .forward = forward,
                                                  .backward = backward,
                                                  .again = again};
