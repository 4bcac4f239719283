#include "device/described/described.h"

#include <stdio.h>

#include "core/memory.h"
#include "device/described/info.h"

#define FINISHED_AT_ONCE 120 /* of the device */

struct lk_op {
    lk_op_desc desc;
};

typedef struct described {
    lk_device base; /* comes first, so that the two pointers convert */
    const lk_gpu_kind *kind;
    char identity[200];
} described;

static bool takes_two_dy(const lk_device *device, lk_op_kind kind) {
    (void)device;
    return kind != LK_OP_CONV2D && kind != LK_OP_LINEAR && kind != LK_OP_LOSS && kind != LK_OP_INPUT;
}

static bool fuses(const lk_device *device, const lk_op_desc *desc) {
    (void)device;
    return lk_described_fuses(desc);
}

static const char *identity(const lk_device *device) { return ((const described *)device)->identity; }

static lk_status supports_dtype(const lk_device *device, lk_dtype compute, lk_error *err) {
    (void)device;
    if (compute == LK_F32 || compute == LK_BF16 || compute == LK_F16 || compute == LK_TF32) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "a described GPU is planned for float32, tf32, bfloat16 or float16, not for %s",
                   lk_dtype_name(compute));
}

static lk_status refuse(const char *what, lk_error *err) {
    return lk_fail(err, LK_ERR_UNSUPPORTED, "a GPU that is only described has no %s", what);
}

static lk_status alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    (void)device, (void)bytes, (void)what;
    *out = NULL;
    return refuse("memory", err);
}

static lk_status stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    (void)device;
    *out = NULL;
    return refuse("streams", err);
}

static const char *settings_fault(const lk_op_desc *d) {
    if (d->kind == LK_OP_CONV2D) {
        if (d->conv.groups < 1 || d->x.c % d->conv.groups != 0 || d->conv.out_channels % d->conv.groups != 0)
            return "its groups do not divide its channels";
        if (d->x.h + 2 * d->conv.pad - d->conv.pad_less_top < d->conv.dilation * (d->conv.kernel_h - 1) + 1 ||
            d->x.w + 2 * d->conv.pad - d->conv.pad_less_left < d->conv.dilation * (d->conv.kernel_w - 1) + 1)
            return "its kernel does not fit its input";
        if (d->conv.act != LK_ACT_NONE && !lk_described_fuses(d)) return "it takes an activation on one pixel only";
    }
    if (d->kind == LK_OP_BATCHNORM && (d->batchnorm.mean_dy || d->batchnorm.pool.kernel > 0) && !lk_described_fuses(d))
        return "it takes no gradient of a mean there, nor such pooling";
    if (d->kind == LK_OP_BATCHNORM && d->batchnorm.group > 1) return "the GPU normalises each microbatch alone";
    return NULL;
}

static lk_status op_plan(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info, lk_error *err) {
    (void)device;
    *out = NULL;
    const char *fault = settings_fault(desc);
    if (fault != NULL)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "a described GPU cannot run %s: %s", lk_op_kind_name(desc->kind),
                       fault);
    LK_RETURN_IF(LK_NEW(out, 1, "an op", err));
    (*out)->desc = *desc;
    (*out)->desc.like = NULL; /* may be freed before this plan */
    (*out)->desc.chosen = NULL;
    lk_described_info(desc, info);
    return LK_OK;
}

static void op_free(lk_device *device, lk_op *op) {
    (void)device;
    lk_free(op);
}

static void device_free(lk_device *device) { lk_free(device); }

lk_status lk_device_described_create(lk_device **out, const lk_gpu_kind *kind, lk_error *err) {
    described *device = NULL;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&device, 1, "a described GPU", err));
    device->kind = kind;
    device->base = (lk_device){.name = "described",
                               .master = LK_F32,
                               .threads = 1,
                               .most_lanes = 1,
                               .impl = device,
                               .takes_two_dy = takes_two_dy,
                               .fuses = fuses,
                               .free = device_free,
                               .identity = identity,
                               .supports_dtype = supports_dtype,
                               .alloc = alloc,
                               .stream_create = stream_create,
                               .op_plan = op_plan,
                               .finished_at_once = FINISHED_AT_ONCE,
                               .op_free = op_free};
    snprintf(device->identity, sizeof device->identity, "%s by description, without cuDNN: workspaces of libraries 0",
             kind->title);
    *out = &device->base;
    return LK_OK;
}
