#include "device/reference/reference.h"

#include <gnu/libc-version.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/host.h"
#include "device/reference/internal.h"

#define MAX_THREADS 1024

typedef struct reference {
    lk_device device;
    char identity[160];
} reference;

struct lk_stream {
    lk_device *device;
};

static const lk_reference_op *const KINDS[] = {
#define X(name, text, inputs, help) &lk_reference_##name,
    LK_OP_LIST(X)
#undef X
};

static bool takes_two_dy(const lk_device *device, lk_op_kind kind) {
    (void)device;
    return kind != LK_OP_INPUT && kind != LK_OP_LOSS; /* no gradient tensor arrives at these */
}

static bool fuses(const lk_device *device, const lk_op_desc *desc) {
    (void)device;
    bool norm = desc->kind == LK_OP_BATCHNORM && desc->training && !desc->batchnorm.residual;
    return norm || desc->kind == LK_OP_CONV2D;
}

static void device_free(lk_device *device) { lk_free(device->impl); }

static const char *identity(const lk_device *device) { return ((const reference *)device->impl)->identity; }

static lk_status supports_dtype(const lk_device *device, lk_dtype compute, lk_error *err) {
    (void)device;
    if (compute == LK_F32 || compute == LK_F64) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED, "device reference computes in float64, not in %s; choose compute: float32",
                   lk_dtype_name(compute));
}

static lk_status memory_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    (void)device;
    *out = NULL;
    if (bytes < 0) return lk_fail(err, LK_ERR_INTERNAL, "%s asks for %" PRId64 " bytes", what, bytes);
    return lk_alloc(out, (size_t)bytes, 1, what, err);
}

static void memory_release(lk_device *device, void *p) {
    (void)device;
    lk_free(p);
}

static lk_status memory_copy(lk_device *device, void *dst, const void *src, int64_t bytes, lk_error *err) {
    (void)device;
    if (bytes < 0) return lk_fail(err, LK_ERR_INTERNAL, "a copy of %" PRId64 " bytes was asked for", bytes);
    if (bytes > 0) memcpy(dst, src, (size_t)bytes);
    return LK_OK;
}

static lk_status stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, 1, "a stream", err));
    (*out)->device = device;
    return LK_OK;
}

static void stream_free(lk_device *device, lk_stream *stream) {
    (void)device;
    lk_free(stream);
}

static lk_status synchronize(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device, (void)stream, (void)err;
    return LK_OK;
}

static lk_status param_copy(const lk_op *op, int i, const void *from, void *to, lk_error *err) {
    if (i < 0 || i >= op->info.param_count)
        return lk_fail(err, LK_ERR_INTERNAL, "%s has no parameter %d", lk_op_kind_name(op->desc.kind), i);
    memcpy(to, from, (size_t)op->info.params[i].stored_count * sizeof(double));
    return LK_OK;
}

static lk_status param_pack(lk_device *device, const lk_op *op, int i, const void *canonical, void *stored,
                            lk_error *err) {
    (void)device;
    return param_copy(op, i, canonical, stored, err);
}

static lk_status param_unpack(lk_device *device, const lk_op *op, int i, const void *stored, void *canonical,
                              lk_error *err) {
    (void)device;
    return param_copy(op, i, stored, canonical, err);
}

static lk_status op_refresh(lk_device *device, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                            const void *params, void *derived, lk_error *err) {
    (void)device, (void)op, (void)stream, (void)buffers, (void)params, (void)derived, (void)err;
    return LK_OK; /* info.derived_bytes is 0: there are no copies */
}

static lk_status op_plan(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info, lk_error *err) {
    *out = NULL;
    lk_op *op = NULL;
    lk_status status = LK_OK;
    if (desc->kind < 0 || desc->kind >= LK_OP_COUNT)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "device reference has no op number %d", (int)desc->kind);
    LK_TRY(LK_NEW(&op, 1, "an op", err));
    op->desc = *desc;
    op->desc.like = NULL; /* may be freed before this plan */
    op->kind = KINDS[desc->kind];
    op->threads = device->threads;
    LK_TRY(lk_reference_check_common(op, err));
    LK_TRY(op->kind->plan(op, err));
    LK_TRY(lk_reference_check_like(op, desc->like, err));
    lk_reference_fill_costs(op);
    *info = op->info;
    *out = op;
    op = NULL;
out:
    lk_free(op);
    return status;
}

static void op_free(lk_device *device, lk_op *op) {
    (void)device;
    lk_free(op);
}

static lk_status bind(lk_device *device, lk_call **out, const lk_op *op, const lk_op_buffers *buffers, lk_error *err) {
    (void)device;
    *out = NULL;
    LK_RETURN_IF(lk_reference_check_buffers(op, buffers, err));
    LK_RETURN_IF(LK_NEW(out, 1, "a call", err));
    (*out)->op = op;
    (*out)->buffers = *buffers;
    if (op->desc.dy_count < 2) (*out)->buffers.dy[1] = NULL;
    return LK_OK;
}

static void call_free(lk_device *device, lk_call *call) {
    (void)device;
    lk_free(call);
}

static lk_status forward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)device, (void)stream;
    return call->op->kind->forward(call, run, err);
}

static lk_status backward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)device, (void)stream;
    const lk_op *op = call->op;
    if (!lk_op_has_backward(&op->desc) || op->kind->backward == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "%s was planned without a backward pass", lk_op_kind_name(op->desc.kind));
    return op->kind->backward(call, run, err);
}

lk_status lk_device_reference_create(lk_device **out, int threads, lk_error *err) {
    *out = NULL;
    if (threads < 1 || threads > MAX_THREADS)
        return lk_fail(err, LK_ERR_CONFIG, "device reference takes 1 to %d threads a microbatch, not %d", MAX_THREADS,
                       threads);
    reference *r = NULL;
    LK_RETURN_IF(LK_NEW(&r, 1, "the reference device", err));
    snprintf(r->identity, sizeof r->identity, "reference, float64, compiler %.60s, C library %.20s", __VERSION__,
             gnu_get_libc_version());
    r->device = (lk_device){
        .name = "reference",
        .master = LK_F64,
        .host_memory = true,
        .threads = threads,
        .impl = r,
        .takes_two_dy = takes_two_dy,
        .fuses = fuses,
        .free = device_free,
        .identity = identity,
        .supports_dtype = supports_dtype,
        .alloc = memory_alloc,
        .release = memory_release,
        .upload = memory_copy,
        .download = memory_copy,
        .stream_create = stream_create,
        .stream_free = stream_free,
        .synchronize = synchronize,
        .op_plan = op_plan,
        .op_free = op_free,
        .param_pack = param_pack,
        .param_unpack = param_unpack,
        .op_refresh = op_refresh,
        .bind = bind,
        .call_free = call_free,
        .forward = forward,
        .backward = backward,
        .again = forward,
        .slab_add = lk_reference_slab_add,
        .slab_sgd = lk_reference_slab_sgd,
        .slab_adam = lk_reference_slab_adam,
        .slab_rmsprop = lk_reference_slab_rmsprop,
        .slab_lerp = lk_reference_slab_lerp,
        .slab_blend = lk_reference_slab_blend,
        .slab_sum_squares = lk_reference_slab_sum_squares,
    };
    lk_device_host_install(&r->device);
    *out = &r->device;
    return LK_OK;
}
