/* A device whose tensors are constant: every op fills its output with a number mixed from its inputs' numbers, and
 * every read checks that the whole tensor still holds one number. A buffer that is overwritten while it is needed gives
 * another result than a computation on separate memory, or a tensor of two numbers. */
#ifndef LK_TESTS_FAKE_DEVICE_H
#define LK_TESTS_FAKE_DEVICE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "device/host.h"

#define FAKE_STASH 192

struct lk_op {
    lk_op_desc desc;
    lk_op_info info;
};

struct lk_call {
    const lk_op *op;
    lk_op_buffers buffers;
};

/* Settings of the fake device, in lk_device.impl. */
typedef struct fake_settings {
    bool two_dy;
    lk_op_kind missing;        /* not supported; LK_OP_COUNT: all are */
    int64_t batchnorm_block;   /* layout that BATCHNORM with ReLU picks, 0: NCHW */
    bool batch_changes_layout; /* stored_count depends on the batch, unless a plan must be like another */
    bool ignores_like;         /* a broken device */
    bool keeps_no_y;           /* BATCHNORM's backward computes y from x */
    bool fuses;                /* CONV2D takes in an activation, which changes no number; BATCHNORM pooling */
    bool leaves_unfinished;    /* CONV2D's gradient comes into the slab with finish_gradients */
    struct lk_call *left[256]; /* that wait for it */
    double *grads;             /* where */
    int left_count;
} fake_settings;

/* Mixing in whole numbers below 2^40: exact in double, and the order of arguments matters. */
static inline double fake_mix(double a, double b, double salt) {
    uint64_t x = (uint64_t)a * 6364136223846793005u + (uint64_t)b * 1442695040888963407u + (uint64_t)salt * 97u + 11u;
    return (double)((x ^ x >> 29) >> 24);
}

/* A sum, as gradients are added: here mixing too, so that the order of summation shows. */
static inline double fake_sum(double a, double b) { return fake_mix(a, b, 7); }

/* The one number of a tensor, or -1 when it holds several. */
static inline double fake_get(const void *p, int64_t count) {
    const double *values = p;
    for (int64_t i = 1; i < count; i++)
        if (values[i] != values[0]) return -1;
    return values[0];
}

static inline void fake_set(void *p, int64_t count, double value) {
    for (int64_t i = 0; i < count; i++) ((double *)p)[i] = value;
}

static bool fake_two_dy(const lk_device *device, lk_op_kind kind) {
    return ((const fake_settings *)device->impl)->two_dy && kind == LK_OP_BATCHNORM;
}

static bool fake_fuses(const lk_device *device, const lk_op_desc *desc) {
    bool norm = desc->kind == LK_OP_BATCHNORM && !desc->batchnorm.residual;
    return ((const fake_settings *)device->impl)->fuses && (norm || desc->kind == LK_OP_CONV2D);
}

static void fake_free(lk_device *device) { (void)device; }
static const char *fake_identity(const lk_device *device) { return (void)device, "fake 1"; }
static lk_status fake_supports(const lk_device *device, lk_dtype compute, lk_error *err) {
    (void)device;
    return compute == LK_BF16 ? lk_fail(err, LK_ERR_UNSUPPORTED, "fake has no bfloat16") : LK_OK;
}

static int64_t fake_window(int64_t side, int64_t kernel, int64_t stride, int64_t pad) {
    return (side + 2 * pad - kernel) / stride + 1;
}

/* Elements of the second input. */
static inline int64_t fake_second_count(const lk_op *op) {
    return lk_act_count(op->desc.kind == LK_OP_SCALE ? &op->desc.scale.gate : &op->info.y);
}

static void fake_params(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    lk_param_info *p = op->info.params;
    if (d->kind == LK_OP_CONV2D) {
        op->info.param_count = 1;
        p[0].shape = lk_shape_of(4, d->conv.out_channels, d->x.c / d->conv.groups, d->conv.kernel_h, d->conv.kernel_w);
        op->info.derived_bytes = 100;
    } else if (d->kind == LK_OP_BATCHNORM) {
        op->info.param_count = 2;
        p[0].role = LK_PARAM_GAMMA;
        p[1].role = LK_PARAM_BETA;
        p[0].shape = p[1].shape = lk_shape_of(1, d->x.c);
        op->info.stats_count = 2 * d->x.c;
    } else if (d->kind == LK_OP_LINEAR) {
        op->info.param_count = 2;
        p[1].role = LK_PARAM_BIAS;
        p[0].shape = lk_shape_of(2, d->linear.out_features, d->x.c);
        p[1].shape = lk_shape_of(1, d->linear.out_features);
    }
    for (int i = 0; i < op->info.param_count; i++) p[i].stored_count = lk_shape_count(&p[i].shape) + 3;
}

static lk_status fake_op_plan(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info, lk_error *err) {
    const fake_settings *settings = device->impl;
    *out = NULL;
    if (desc->kind == settings->missing)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "%s on device fake", lk_op_kind_name(desc->kind));
    lk_op *op = calloc(1, sizeof *op);
    op->desc = *desc;
    lk_act_desc *y = &op->info.y;
    *y = desc->x;
    y->dtype = LK_F64;
    y->block = 1;
    if (desc->kind == LK_OP_CONV2D) {
        y->c = desc->conv.out_channels;
        y->h = fake_window(y->h, desc->conv.kernel_h, desc->conv.stride, desc->conv.pad);
        y->w = fake_window(y->w, desc->conv.kernel_w, desc->conv.stride, desc->conv.pad);
    } else if (desc->kind == LK_OP_MAXPOOL) {
        y->h = fake_window(y->h, desc->maxpool.kernel, desc->maxpool.stride, desc->maxpool.pad);
        y->w = fake_window(y->w, desc->maxpool.kernel, desc->maxpool.stride, desc->maxpool.pad);
    } else if (desc->kind == LK_OP_BATCHNORM && desc->batchnorm.pool.kernel > 0) {
        y->h = fake_window(y->h, desc->batchnorm.pool.kernel, desc->batchnorm.pool.stride, desc->batchnorm.pool.pad);
        y->w = fake_window(y->w, desc->batchnorm.pool.kernel, desc->batchnorm.pool.stride, desc->batchnorm.pool.pad);
    } else if (desc->kind == LK_OP_GLOBAL_AVGPOOL) {
        y->h = y->w = 1;
    } else if (desc->kind == LK_OP_LINEAR) {
        y->c = desc->linear.out_features;
    } else if (desc->kind == LK_OP_LOSS) {
        y->c = 1;
    } else if (desc->kind == LK_OP_ADD) {
        y->block = desc->x.block;
    } else if (desc->kind == LK_OP_BATCHNORM && settings->batchnorm_block != 0 && desc->batchnorm.act == LK_ACT_RELU) {
        y->block = settings->batchnorm_block;
    }
    fake_params(op);
    if (settings->batch_changes_layout && op->info.param_count > 0) {
        bool like = desc->like != NULL && !settings->ignores_like;
        op->info.params[0].stored_count =
            like ? desc->like->info.params[0].stored_count : op->info.params[0].stored_count + desc->x.n;
    }
    op->info.keeps_x = desc->training && (desc->kind == LK_OP_CONV2D || desc->kind == LK_OP_LINEAR ||
                                          desc->kind == LK_OP_BATCHNORM || desc->kind == LK_OP_LOSS);
    op->info.keeps_y =
        desc->training && desc->kind == LK_OP_BATCHNORM && desc->batchnorm.act == LK_ACT_RELU && !settings->keeps_no_y;
    op->info.keeps_residual = desc->training && desc->kind == LK_OP_SCALE;
    if (settings->leaves_unfinished && desc->training && desc->kind == LK_OP_CONV2D) {
        op->info.unfinished_bytes = FAKE_STASH;
        op->info.bytes_finish = 2 * FAKE_STASH;
    }
    op->info.stash_bytes = desc->training && desc->kind != LK_OP_CONV2D ? FAKE_STASH : 0;
    op->info.workspace_bytes = desc->kind == LK_OP_CONV2D ? 64 * desc->conv.kernel_h : 0;
    snprintf(op->info.impl_forward, sizeof op->info.impl_forward, "fake");
    *info = op->info;
    *out = op;
    return LK_OK;
}

static void fake_op_free(lk_device *device, lk_op *op) {
    (void)device;
    free(op);
}

static lk_status fake_pack(lk_device *device, const lk_op *op, int i, const void *canonical, void *stored,
                           lk_error *err) {
    (void)device;
    (void)err;
    memcpy(stored, canonical, (size_t)lk_shape_count(&op->info.params[i].shape) * sizeof(double));
    return LK_OK;
}

static lk_status fake_unpack(lk_device *device, const lk_op *op, int i, const void *stored, void *canonical,
                             lk_error *err) {
    return fake_pack(device, op, i, stored, canonical, err);
}

static lk_status fake_bind(lk_device *device, lk_call **out, const lk_op *op, const lk_op_buffers *buffers,
                           lk_error *err) {
    (void)device;
    (void)err;
    *out = calloc(1, sizeof **out);
    (*out)->op = op;
    (*out)->buffers = *buffers;
    return LK_OK;
}

static void fake_call_free(lk_device *device, lk_call *call) {
    (void)device;
    free(call);
}

static void fake_scratch(const lk_call *call) {
    if (call->op->info.workspace_bytes > 0)
        memset(call->buffers.workspace, 0xee, (size_t)call->op->info.workspace_bytes);
}

static lk_status fake_forward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)device;
    (void)stream;
    const lk_op *op = call->op;
    double x = call->buffers.x != NULL ? fake_get(call->buffers.x, lk_act_count(&op->desc.x)) : run->images[0];
    double residual = call->buffers.residual != NULL ? fake_get(call->buffers.residual, fake_second_count(op)) : 0;
    if (x < 0 || residual < 0)
        return lk_fail(err, LK_ERR_INTERNAL, "forward of %s reads a damaged tensor", lk_op_kind_name(op->desc.kind));
    fake_scratch(call);
    double y = op->desc.kind == LK_OP_ADD ? fake_sum(x, residual) : fake_mix(x, residual, op->desc.kind);
    fake_set(call->buffers.y, lk_act_count(&op->info.y), y);
    if (call->buffers.stash != NULL) fake_set(call->buffers.stash, FAKE_STASH / (int64_t)sizeof(double), y);
    return LK_OK;
}

/* What backward gives: dx, dresidual and the parameters' gradients, from the numbers of x, y and dy. */
typedef struct fake_gradient {
    double dx, dresidual, dparam;
} fake_gradient;

static inline fake_gradient fake_backward_rule(lk_op_kind kind, double dy, double x, double y) {
    double base = fake_mix(dy, fake_mix(x, y, 3), kind);
    return (fake_gradient){fake_mix(base, 1, 1), fake_mix(base, 2, 2), fake_mix(base, 3, 3)};
}

static lk_status fake_backward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream;
    const lk_op *op = call->op;
    const lk_op_buffers *b = &call->buffers;
    int64_t count_x = lk_act_count(&op->desc.x), count_y = lk_act_count(&op->info.y);
    const lk_act_desc dy_desc[2] = {lk_op_dy_desc(&op->desc, &op->info.y, 0), lk_op_dy_desc(&op->desc, &op->info.y, 1)};
    double x = op->info.keeps_x ? fake_get(b->x, count_x) : 0, y = op->info.keeps_y ? fake_get(b->y, count_y) : 0;
    double dy = 1;
    if (op->desc.dy_count >= 1) dy = fake_get(b->dy[0], lk_act_count(&dy_desc[0]));
    if (op->desc.dy_count == 2 && dy >= 0) {
        double second = fake_get(b->dy[1], lk_act_count(&dy_desc[1]));
        dy = second < 0 ? -1 : fake_sum(dy, second);
    }
    double stash = b->stash != NULL ? fake_get(b->stash, FAKE_STASH / (int64_t)sizeof(double)) : 0;
    double second = op->info.keeps_residual ? fake_get(b->residual, fake_second_count(op)) : 0;
    if (x < 0 || y < 0 || dy < 0 || stash < 0 || second < 0)
        return lk_fail(err, LK_ERR_INTERNAL, "backward of %s reads a damaged tensor", lk_op_kind_name(op->desc.kind));
    /* A device may write the residual's gradient before it has read all of dy[1]. */
    if (b->dresidual != NULL && b->dresidual == b->dy[1])
        return lk_fail(err, LK_ERR_INTERNAL, "the residual's gradient lies on dy[1]");
    fake_scratch(call);
    fake_gradient g = fake_backward_rule(op->desc.kind, dy, fake_mix(x, stash, 0), y);
    if (b->dresidual != NULL) fake_set(b->dresidual, fake_second_count(op), g.dresidual);
    if (b->dx != NULL) fake_set(b->dx, count_x, g.dx);
    if (op->info.unfinished_bytes > 0) {
        fake_settings *settings = device->impl;
        fake_set(b->unfinished, FAKE_STASH / (int64_t)sizeof(double), g.dparam);
        settings->left[settings->left_count++] = call;
        settings->grads = run->grads;
        return LK_OK;
    }
    for (int i = 0; i < op->info.param_count; i++)
        fake_set((double *)run->grads + b->param_offset[i], op->info.params[i].stored_count, g.dparam + i);
    return LK_OK;
}

/* A gradient whose place was used by others meanwhile becomes -1. */
static lk_status fake_finish(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)stream;
    (void)err;
    fake_settings *settings = device->impl;
    for (int k = 0; k < settings->left_count; k++) {
        const lk_op *op = settings->left[k]->op;
        const lk_op_buffers *b = &settings->left[k]->buffers;
        double value = fake_get(b->unfinished, FAKE_STASH / (int64_t)sizeof(double));
        fake_set(settings->grads + b->param_offset[0], op->info.params[0].stored_count, value);
    }
    settings->left_count = 0;
    return LK_OK;
}

static lk_status fake_refresh(lk_device *device, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                              const void *params, void *derived, lk_error *err) {
    (void)device;
    (void)op;
    (void)stream;
    (void)err;
    char *at = (char *)derived + buffers->derived_offset;
    memcpy(at, (const double *)params + buffers->param_offset[0], sizeof(double));
    return LK_OK;
}

static lk_status fake_synchronize(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    (void)stream;
    (void)err;
    return LK_OK;
}

static lk_status fake_copy(lk_device *device, void *to, const void *from, int64_t bytes, lk_error *err) {
    (void)device;
    (void)err;
    memcpy(to, from, (size_t)bytes);
    return LK_OK;
}

static inline lk_device fake_device(fake_settings *settings) {
    lk_device device = {.name = "fake",
                        .master = LK_F64,
                        .threads = 1,
                        .impl = settings,
                        .takes_two_dy = fake_two_dy,
                        .fuses = fake_fuses,
                        .free = fake_free,
                        .identity = fake_identity,
                        .supports_dtype = fake_supports,
                        .upload = fake_copy,
                        .download = fake_copy,
                        .synchronize = fake_synchronize,
                        .op_plan = fake_op_plan,
                        .op_free = fake_op_free,
                        .param_pack = fake_pack,
                        .param_unpack = fake_unpack,
                        .op_refresh = fake_refresh,
                        .bind = fake_bind,
                        .call_free = fake_call_free,
                        .forward = fake_forward,
                        .backward = fake_backward,
                        .again = fake_forward};
    if (settings->leaves_unfinished) {
        device.finish_gradients = fake_finish;
        device.finished_at_once = 4;
    }
    lk_device_host_install(&device);
    return device;
}

#endif
