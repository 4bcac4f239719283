/* Checks of an op's description, before anything is planned from it. */
#include <math.h>

#include "device/cuda/cuda_internal.h"

#define MAX_DIM (INT64_C(1) << 24)      /* of one dimension: products of two fit, and kernels count them in int */
#define MAX_ELEMENTS (INT64_C(1) << 40) /* bytes fit easily */

static bool shape_ok(const lk_act_desc *x) {
    const int64_t dims[] = {x->n, x->h, x->w, x->block};
    int64_t product = 1;
    for (int i = 0; i < 4; i++) {
        if (dims[i] < 1 || dims[i] > MAX_DIM || product > MAX_ELEMENTS / dims[i]) return false;
        product *= dims[i];
    }
    return x->c >= 1 && x->c <= MAX_DIM && x->h * x->w <= INT32_MAX / 16;
}

/* NHWC with whole 16-byte vectors; images are bytes without padding. */
static bool layout_ok(const lk_op_desc *d) {
    if (d->kind == LK_OP_INPUT) return d->x.block == d->x.c;
    return d->x.block >= d->x.c && d->x.block == lk_cuda_block(d->x.block, d->x.dtype);
}

static bool act_ok(lk_act act) { return (int)act >= 0 && act < LK_ACT_COUNT; }

/* Settings of one kind of op; convolution and pooling check theirs where their sizes are worked out. */
static const char *settings_fault(const lk_op_desc *d) {
    switch (d->kind) {
        case LK_OP_INPUT:
            if (d->x.c > LK_MAX_CHANNELS_IN) return "images have at most 4 channels";
            for (int64_t i = 0; i < d->x.c; i++)
                if (!(d->input.std[i] > 0)) return "a standard deviation of its pixels is not positive";
            return NULL;
        case LK_OP_BATCHNORM:
            if (!(d->batchnorm.eps >= 0) || isinf(d->batchnorm.eps)) return "its eps is negative or no number";
            if (!(d->batchnorm.drop_path >= 0 && d->batchnorm.drop_path < 1)) return "its drop_path is outside [0, 1)";
            if (d->training && !d->batchnorm.fixed && d->batchnorm.group > 1)
                return "it cannot normalise over a group of leaves";
            if (d->batchnorm.drop_path > 0 && !d->batchnorm.residual) return "its drop_path has no residual to go by";
            return act_ok(d->batchnorm.act) ? NULL : "its activation is unknown";
        case LK_OP_CONV2D: return act_ok(d->conv.act) ? NULL : "its activation is unknown";
        case LK_OP_ACTIVATION: return act_ok(d->activation.act) ? NULL : "its activation is unknown";
        case LK_OP_DROPOUT: return d->dropout.rate >= 0 && d->dropout.rate < 1 ? NULL : "its rate is outside [0, 1)";
        case LK_OP_ADD: return act_ok(d->add.act) ? NULL : "its activation is unknown";
        default: return NULL;
    }
}

/* Can the parameters of `like` be those of an op described by d? */
static bool like_ok(const lk_op_desc *d, const lk_op *like) {
    const lk_op_desc *l = &like->desc;
    if (l->kind != d->kind) return false;
    bool same = l->x.c == d->x.c && l->x.block == d->x.block && l->x.dtype == d->x.dtype;
    switch (d->kind) {
        case LK_OP_CONV2D:
            return same && l->conv.out_channels == d->conv.out_channels && l->conv.kernel_h == d->conv.kernel_h &&
                   l->conv.kernel_w == d->conv.kernel_w && l->conv.groups == d->conv.groups &&
                   l->conv.bias == d->conv.bias;
        case LK_OP_LINEAR: return same && l->linear.out_features == d->linear.out_features;
        case LK_OP_BATCHNORM: return l->x.c == d->x.c;
        default: return true;
    }
}

lk_status lk_cuda_check_op(const lk_op *op, const lk_op *like, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    bool input = d->kind == LK_OP_INPUT, takes_dy = !input && d->kind != LK_OP_LOSS;
    int most = op->class->one_dy ? 1 : 2;
    if (d->compute != LK_F32 && d->compute != LK_BF16 && d->compute != LK_F16)
        return lk_cuda_unsupported(op, "the device computes in float32, bfloat16 or float16", err);
    if (d->x.dtype != (input ? LK_U8 : d->compute)) return lk_cuda_unsupported(op, "its input has another type", err);
    if (!shape_ok(&d->x)) return lk_cuda_unsupported(op, "its input is empty or too large", err);
    if (d->kind == LK_OP_BATCHNORM && d->training && !d->batchnorm.fixed && d->x.n * d->x.h * d->x.w < 2)
        return lk_fail(err, LK_ERR_CONFIG,
                       "batch normalisation in training needs at least 2 values a channel, and the cuda device was "
                       "asked for 1; use a larger microbatch or drop_last");
    if (!layout_ok(d)) return lk_cuda_unsupported(op, "its input is not NHWC in whole vectors of 16 bytes", err);
    if (lk_op_has_backward(d) && takes_dy && (d->dy_count < 1 || d->dy_count > most))
        return lk_cuda_unsupported(op, "it cannot sum that many gradients", err);
    const char *fault = settings_fault(d);
    if (fault != NULL) return lk_cuda_unsupported(op, fault, err);
    if (like != NULL && !like_ok(d, like))
        return lk_cuda_unsupported(op, "its parameters differ from those of the plan it must be like", err);
    return LK_OK;
}
