/* Checks of an op's description, before anything is planned from it. */
#include <math.h>

#include "device/cpu/cpu_internal.h"

#define MAX_DIM (INT64_C(1) << 31)      /* sizes with padding cannot overflow */
#define MAX_ELEMENTS (INT64_C(1) << 40) /* nor can bytes */

static bool shape_ok(const lk_act_desc *x) {
    const int64_t dims[] = {x->n, x->c, x->h, x->w};
    int64_t product = 1;
    for (int i = 0; i < 4; i++) {
        if (dims[i] < 1 || dims[i] > MAX_DIM || product > MAX_ELEMENTS / dims[i]) return false;
        product *= dims[i];
    }
    return x->block == 1 || x->block == 8 || x->block == 16 || x->block == x->c;
}

static bool act_ok(lk_act act) { return (int)act >= 0 && act < LK_ACT_COUNT; }

static bool rate_ok(double rate) { return rate >= 0 && rate < 1; }

/* Settings of one kind of op; convolution and pooling check theirs where their sizes are worked out. */
static const char *settings_fault(const lk_op_desc *d) {
    switch (d->kind) {
        case LK_OP_INPUT:
            for (int64_t i = 0; i < d->x.c && i < LK_MAX_CHANNELS_IN; i++)
                if (!(d->input.std[i] > 0)) return "a standard deviation of its pixels is not positive";
            return NULL;
        case LK_OP_BATCHNORM:
            if (!(d->batchnorm.eps >= 0) || isinf(d->batchnorm.eps)) return "its eps is negative or no number";
            if (!rate_ok(d->batchnorm.drop_path) || (d->batchnorm.drop_path > 0 && !d->batchnorm.residual))
                return "its drop_path is outside [0, 1) or there is no residual to go by";
            if (d->batchnorm.group < 0) return "its group has a negative number of leaves";
            return act_ok(d->batchnorm.act) ? NULL : "its activation is unknown";
        case LK_OP_CONV2D: return d->conv.act == LK_ACT_NONE ? NULL : "it has no activation of its own";
        case LK_OP_ACTIVATION: return act_ok(d->activation.act) ? NULL : "its activation is unknown";
        case LK_OP_DROPOUT: return rate_ok(d->dropout.rate) ? NULL : "its rate is outside [0, 1)";
        case LK_OP_ADD: return act_ok(d->add.act) ? NULL : "its activation is unknown";
        default: return NULL;
    }
}

/* Can the parameters of `like` be those of an op described by d? */
static bool like_ok(const lk_op_desc *d, const lk_op *like) {
    const lk_op_desc *l = &like->desc;
    if (l->kind != d->kind) return false;
    switch (d->kind) {
        case LK_OP_CONV2D:
            return l->x.c == d->x.c && l->conv.out_channels == d->conv.out_channels &&
                   l->conv.kernel_h == d->conv.kernel_h && l->conv.kernel_w == d->conv.kernel_w &&
                   l->conv.groups == d->conv.groups && l->conv.bias == d->conv.bias;
        case LK_OP_LINEAR: return l->x.c == d->x.c && l->linear.out_features == d->linear.out_features;
        case LK_OP_BATCHNORM: return l->x.c == d->x.c;
        default: return true;
    }
}

lk_status lk_cpu_check(const lk_op *op, const lk_op *like, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    lk_dtype wanted = d->kind == LK_OP_INPUT ? LK_U8 : LK_F32;
    bool takes_dy = d->kind != LK_OP_INPUT && d->kind != LK_OP_LOSS;
    int most = op->class->one_dy ? 1 : 2;
    if (!shape_ok(&d->x)) return lk_cpu_unsupported(op, "its input is empty, too large or in an unknown layout", err);
    if (d->x.dtype != wanted && !(wanted == LK_F32 && d->x.dtype == LK_BF16))
        return lk_cpu_unsupported(op, "its input has another type", err);
    if (d->compute != LK_F32 && d->compute != LK_BF16)
        return lk_cpu_unsupported(op, "the device computes in float32 or bfloat16", err);
    if (lk_op_has_backward(d) && takes_dy && (d->dy_count < 1 || d->dy_count > most))
        return lk_cpu_unsupported(op, "it cannot sum that many gradients", err);
    const char *fault = settings_fault(d);
    if (fault != NULL) return lk_cpu_unsupported(op, fault, err);
    if (like != NULL && !like_ok(d, like))
        return lk_cpu_unsupported(op, "its parameters differ from those of the plan it must be like", err);
    return LK_OK;
}
