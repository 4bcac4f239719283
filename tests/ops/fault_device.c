#include <stdatomic.h>
#include <string.h>

#include "core/memory.h"
#include "fault.h"

typedef struct fault_device {
    lk_device device;
    lk_device *inner;
    const op_fault *fault;
    lk_op_kind kind;
    atomic_llong passes, broken;
} fault_device;

/* Stand behind lk_op and lk_call of this device. */
typedef struct fault_op {
    lk_op *inner;
    lk_op_desc desc;
    lk_op_info info;
} fault_op;

typedef struct fault_call {
    const fault_op *op;
    lk_call *inner;
    lk_op_buffers buffers;
    char *kept_x; /* copy of x at the last forward pass; only where the device may forget it */
} fault_call;

static fault_device *self(const lk_device *device) { return device->impl; }
static lk_device *inner_of(const lk_device *device) { return self(device)->inner; }
static const fault_op *op_of(const lk_op *op) { return (const fault_op *)(const void *)op; }

static void device_free(lk_device *device) { lk_free(device->impl); }
static const char *identity(const lk_device *device) { return inner_of(device)->identity(inner_of(device)); }
static bool takes_two_dy(const lk_device *device, lk_op_kind kind) {
    return inner_of(device)->takes_two_dy(inner_of(device), kind);
}
static bool fuses(const lk_device *device, const lk_op_desc *desc) {
    return inner_of(device)->fuses != NULL && inner_of(device)->fuses(inner_of(device), desc);
}
static lk_status supports_dtype(const lk_device *device, lk_dtype compute, lk_error *err) {
    return inner_of(device)->supports_dtype(inner_of(device), compute, err);
}
static lk_status memory_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    return inner_of(device)->alloc(inner_of(device), out, bytes, what, err);
}
static void memory_release(lk_device *device, void *p) { inner_of(device)->release(inner_of(device), p); }
static lk_status upload(lk_device *device, void *dst, const void *host, int64_t bytes, lk_error *err) {
    return inner_of(device)->upload(inner_of(device), dst, host, bytes, err);
}
static lk_status download(lk_device *device, void *host, const void *src, int64_t bytes, lk_error *err) {
    return inner_of(device)->download(inner_of(device), host, src, bytes, err);
}
static lk_status stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    return inner_of(device)->stream_create(inner_of(device), out, err);
}
static void stream_free(lk_device *device, lk_stream *stream) {
    inner_of(device)->stream_free(inner_of(device), stream);
}
static lk_status synchronize(lk_device *device, lk_stream *stream, lk_error *err) {
    return inner_of(device)->synchronize(inner_of(device), stream, err);
}
static lk_status param_pack(lk_device *device, const lk_op *op, int i, const void *canonical, void *stored,
                            lk_error *err) {
    return inner_of(device)->param_pack(inner_of(device), op_of(op)->inner, i, canonical, stored, err);
}
static lk_status param_unpack(lk_device *device, const lk_op *op, int i, const void *stored, void *canonical,
                              lk_error *err) {
    return inner_of(device)->param_unpack(inner_of(device), op_of(op)->inner, i, stored, canonical, err);
}
static lk_status op_refresh(lk_device *device, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                            const void *params, void *derived, lk_error *err) {
    return inner_of(device)->op_refresh(inner_of(device), op_of(op)->inner, stream, buffers, params, derived, err);
}

static const op_fault *fault_for(const lk_device *device, const fault_op *op) {
    return op->desc.kind == self(device)->kind ? self(device)->fault : NULL;
}

static lk_status op_plan_broken(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info,
                                lk_error *err) {
    fault_op *op = NULL;
    lk_status status = LK_OK;
    *out = NULL;
    LK_TRY(LK_NEW(&op, 1, "an op", err));
    op->desc = *desc;
    lk_op_desc changed = *desc;
    changed.like = desc->like == NULL ? NULL : op_of(desc->like)->inner;
    const op_fault *fault = fault_for(device, op);
    if (fault != NULL && fault->plan != NULL && fault->plan(&changed, fault->mode)) self(device)->broken++;
    LK_TRY(inner_of(device)->op_plan(inner_of(device), &op->inner, &changed, info, err));
    op->info = *info;
    *out = (lk_op *)(void *)op;
    op = NULL;
out:
    lk_free(op);
    return status;
}

static void op_free(lk_device *device, lk_op *op) {
    if (op == NULL) return;
    inner_of(device)->op_free(inner_of(device), op_of(op)->inner);
    lk_free(op);
}

static lk_status bind(lk_device *device, lk_call **out, const lk_op *op, const lk_op_buffers *buffers, lk_error *err) {
    fault_call *call = NULL;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&call, 1, "a call", err));
    call->op = op_of(op);
    call->buffers = *buffers;
    lk_status status = inner_of(device)->bind(inner_of(device), &call->inner, call->op->inner, buffers, err);
    if (status == LK_OK)
        *out = (lk_call *)(void *)call;
    else
        lk_free(call);
    return status;
}

static void call_free(lk_device *device, lk_call *call) {
    if (call == NULL) return;
    inner_of(device)->call_free(inner_of(device), ((fault_call *)(void *)call)->inner);
    lk_free(((fault_call *)(void *)call)->kept_x);
    lk_free(call);
}

static lk_status copy_of(char **out, const void *data, int64_t bytes, lk_error *err) {
    if (data == NULL) return LK_OK;
    LK_RETURN_IF(LK_NEW(out, bytes, "a copy", err));
    memcpy(*out, data, (size_t)bytes);
    return LK_OK;
}

static lk_status keep_x(fault_call *call, lk_error *err) {
    if (call->op->desc.kind != LK_OP_MAXPOOL) return LK_OK;
    lk_free(call->kept_x);
    call->kept_x = NULL;
    return copy_of(&call->kept_x, call->buffers.x, lk_act_bytes(&call->op->desc.x), err);
}

static int64_t master_size(const op_fault_site *s) { return (int64_t)lk_dtype_size(s->inner->master); }

static char *grad_slice(const op_fault_site *s, int i) {
    return (char *)s->run.grads + s->b.param_offset[i] * master_size(s);
}

static lk_status site_open(op_fault_site *s, lk_device *device, const fault_call *call, const lk_run *run,
                           bool backward, lk_error *err) {
    *s = (op_fault_site){.inner = inner_of(device),
                         .op = call->op->inner,
                         .desc = call->op->desc,
                         .info = call->op->info,
                         .b = call->buffers,
                         .run = *run,
                         .number = self(device)->passes++};
    if (s->desc.dy_count < 2) s->b.dy[1] = NULL;
    s->kept_x = call->kept_x;
    if (!backward) return copy_of(&s->old_y, s->b.y, lk_act_bytes(&s->info.y), err);
    if (s->desc.need_dx) LK_RETURN_IF(copy_of(&s->old_dx, s->b.dx, lk_act_bytes(&s->desc.x), err));
    lk_act_desc second = op_case_second(&s->desc, &s->info.y);
    LK_RETURN_IF(copy_of(&s->old_residual, s->b.dresidual, lk_act_bytes(&second), err));
    for (int i = 0; i < s->info.param_count; i++)
        LK_RETURN_IF(copy_of(&s->old_grads[i], grad_slice(s, i), s->info.params[i].stored_count * master_size(s), err));
    return LK_OK;
}

static void site_close(op_fault_site *s) {
    char *const all[] = {s->old_y, s->old_dx, s->old_grads[0], s->old_grads[1], s->old_residual};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) lk_free(all[i]);
}

static lk_status forward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    fault_call *c = (fault_call *)(void *)call;
    const op_fault *fault = fault_for(device, c->op);
    op_fault_site site = {0};
    lk_status status = LK_OK;
    bool broken = false;
    LK_TRY(site_open(&site, device, c, run, false, err));
    LK_TRY(keep_x(c, err));
    status = inner_of(device)->forward(inner_of(device), stream, c->inner, run, err);
    if (status == LK_ERR_DATA && fault != NULL && fault->guards_labels) {
        lk_error_clear(err);
        status = LK_OK;
        broken = true;
    }
    if (status == LK_OK && fault != NULL && fault->after_forward != NULL)
        broken |= fault->after_forward(&site, fault->mode);
    self(device)->broken += broken;
out:
    site_close(&site);
    return status;
}

static lk_status backward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    const fault_call *c = (const fault_call *)(const void *)call;
    const op_fault *fault = fault_for(device, c->op);
    op_fault_site site = {0};
    lk_status status = LK_OK;
    LK_TRY(site_open(&site, device, c, run, true, err));
    status = inner_of(device)->backward(inner_of(device), stream, c->inner, run, err);
    if (status == LK_ERR_DATA && fault != NULL && fault->guards_labels) {
        lk_error_clear(err);
        status = LK_OK;
    }
    if (status == LK_OK && fault != NULL && fault->after_backward != NULL)
        self(device)->broken += fault->after_backward(&site, fault->mode);
out:
    site_close(&site);
    return status;
}

static op_slab_fault slab_fault(const lk_device *device) {
    return self(device)->fault == NULL ? OP_SLAB_RIGHT : self(device)->fault->slab;
}
static lk_status slab_add(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count,
                          lk_error *err) {
    return op_fault_slab_add(inner_of(device), slab_fault(device), stream, sum, x, count, err);
}
static lk_status slab_sgd(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                          int64_t count, const lk_sgd *sgd, lk_error *err) {
    return op_fault_slab_sgd(inner_of(device), slab_fault(device), stream, params, grads, velocity, count, sgd, err);
}
static lk_status slab_adam(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                           void *square, int64_t count, const lk_adam *adam, lk_error *err) {
    return op_fault_slab_adam(inner_of(device), slab_fault(device), stream, params, grads, mean, square, count, adam,
                              err);
}
static lk_status slab_rmsprop(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                              void *mean, void *velocity, int64_t count, const lk_rmsprop *r, lk_error *err) {
    return op_fault_slab_rmsprop(inner_of(device), slab_fault(device), stream, params, grads, square, mean, velocity,
                                 count, r, err);
}
static lk_status slab_lerp(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                           double share, lk_error *err) {
    return op_fault_slab_lerp(inner_of(device), slab_fault(device), stream, average, x, count, share, err);
}
static lk_status slab_blend(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                            double momentum, double scale, lk_error *err) {
    return op_fault_slab_blend(inner_of(device), slab_fault(device), stream, running, fresh, count, momentum, scale,
                               err);
}
static lk_status slab_sum_squares(lk_device *device, lk_stream *stream, const void *x, const int64_t *ends,
                                  int segments, double *out, lk_error *err) {
    return op_fault_slab_sum_squares(inner_of(device), slab_fault(device), stream, x, ends, segments, out, err);
}

lk_status op_fault_device_create(lk_device **out, lk_device *inner, const op_fault *fault, lk_op_kind kind,
                                 lk_error *err) {
    fault_device *f = NULL;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&f, 1, "a device", err));
    f->inner = inner;
    f->fault = fault;
    f->kind = kind;
    f->device = *inner; /* name, types, threads */
    f->device.impl = f;
    f->device.takes_two_dy = takes_two_dy;
    f->device.fuses = fuses;
    f->device.free = device_free;
    f->device.identity = identity;
    f->device.supports_dtype = supports_dtype;
    f->device.alloc = memory_alloc;
    f->device.release = memory_release;
    f->device.upload = upload;
    f->device.download = download;
    f->device.stream_create = stream_create;
    f->device.stream_free = stream_free;
    f->device.synchronize = synchronize;
    f->device.op_plan = op_plan_broken;
    f->device.op_free = op_free;
    f->device.param_pack = param_pack;
    f->device.param_unpack = param_unpack;
    f->device.op_refresh = op_refresh;
    f->device.bind = bind;
    f->device.call_free = call_free;
    f->device.forward = forward;
    f->device.backward = backward;
    f->device.slab_add = slab_add;
    f->device.slab_sgd = slab_sgd;
    f->device.slab_adam = slab_adam;
    f->device.slab_rmsprop = slab_rmsprop;
    f->device.slab_lerp = slab_lerp;
    f->device.slab_blend = slab_blend;
    f->device.slab_sum_squares = slab_sum_squares;
    *out = &f->device;
    return LK_OK;
}

int64_t op_fault_device_count(const lk_device *device) { return self(device)->broken; }

double op_at(const lk_act_desc *d, const void *data, int64_t n, int64_t c, int64_t y, int64_t x) {
    return op_get(d->dtype, data, lk_act_index(d, n, c, y, x));
}

void op_set(const lk_act_desc *d, void *data, int64_t n, int64_t c, int64_t y, int64_t x, double value) {
    op_put(d->dtype, data, lk_act_index(d, n, c, y, x), value);
}

int64_t op_fault_param_count(const op_fault_site *s, int i) { return lk_shape_count(&s->info.params[i].shape); }

static double *unpack(const op_fault_site *s, int i, const void *stored) {
    int64_t count = op_fault_param_count(s, i);
    void *canonical = NULL;
    double *values = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_alloc(&canonical, (size_t)count, (size_t)master_size(s), "a parameter", NULL));
    LK_TRY(LK_NEW(&values, count, "a parameter", NULL));
    LK_TRY(s->inner->param_unpack(s->inner, s->op, i, stored, canonical, NULL));
    for (int64_t e = 0; e < count; e++) values[e] = op_get(s->inner->master, canonical, e);
out:
    lk_free(canonical);
    if (status == LK_OK) return values;
    lk_free(values);
    return NULL;
}

double *op_fault_param(const op_fault_site *s, int i) {
    return unpack(s, i, (const char *)s->run.params + s->b.param_offset[i] * master_size(s));
}

double *op_fault_grad(const op_fault_site *s, int i) { return unpack(s, i, grad_slice(s, i)); }

bool op_fault_set_grad(const op_fault_site *s, int i, const double *values) {
    int64_t count = op_fault_param_count(s, i);
    void *canonical = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_alloc(&canonical, (size_t)count, (size_t)master_size(s), "a parameter", NULL));
    for (int64_t e = 0; e < count; e++) op_put(s->inner->master, canonical, e, values[e]);
    LK_TRY(s->inner->param_pack(s->inner, s->op, i, canonical, grad_slice(s, i), NULL));
out:
    lk_free(canonical);
    return status == LK_OK;
}

double op_fault_dy(const op_fault_site *s, int64_t n, int64_t c, int64_t y, int64_t x) {
    const lk_act_desc *d = &s->info.y;
    double sum = 0;
    for (int k = 0; k < s->desc.dy_count; k++) {
        lk_act_desc one = lk_op_dy_desc(&s->desc, d, k);
        bool mean = s->desc.kind == LK_OP_BATCHNORM && s->desc.batchnorm.mean_dy && k == s->desc.dy_count - 1;
        double dy =
            mean ? op_at(&one, s->b.dy[k], n, c, 0, 0) / (double)(d->h * d->w) : op_at(d, s->b.dy[k], n, c, y, x);
        sum = k == 0 ? dy : sum + dy;
    }
    return sum;
}
