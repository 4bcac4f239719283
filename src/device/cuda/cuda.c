#include "device/cuda/cuda.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

static lk_cuda *cuda_of(const lk_device *device) { return (lk_cuda *)device; }

/* NULL: the device has no such op yet. */
static const lk_cuda_op_class *class_of(lk_op_kind kind) {
    switch ((int)kind) {
        case LK_OP_INPUT: return &lk_cuda_class_input;
        case LK_OP_CONV2D: return &lk_cuda_class_conv;
        case LK_OP_BATCHNORM: return &lk_cuda_class_batchnorm;
        case LK_OP_ACTIVATION: return &lk_cuda_class_activation;
        case LK_OP_ADD: return &lk_cuda_class_add;
        case LK_OP_SCALE: return &lk_cuda_class_scale;
        case LK_OP_DROPOUT: return &lk_cuda_class_dropout;
        case LK_OP_MAXPOOL: return &lk_cuda_class_maxpool;
        case LK_OP_GLOBAL_AVGPOOL: return &lk_cuda_class_avgpool;
        case LK_OP_LINEAR: return &lk_cuda_class_linear;
        case LK_OP_LOSS: return &lk_cuda_class_loss;
        default: return NULL;
    }
}

lk_status lk_cuda_unsupported(const lk_op *op, const char *why, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    char shape[128] = "";
    if (op->desc.kind == LK_OP_CONV2D)
        snprintf(shape, sizeof shape,
                 " to %" PRId64 " channels with kernel %" PRId64 " x %" PRId64 ", %" PRId64 " groups",
                 op->desc.conv.out_channels, op->desc.conv.kernel_h, op->desc.conv.kernel_w, op->desc.conv.groups);
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "the cuda device cannot run %s of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 "%s in %s: %s",
                   lk_op_kind_name(op->desc.kind), x->n, x->c, x->h, x->w, shape, lk_dtype_name(op->desc.compute), why);
}

void lk_cuda_info_start(lk_op *op, int64_t c, int64_t h, int64_t w, int64_t block) {
    memset(&op->info, 0, sizeof op->info);
    op->info.y = (lk_act_desc){op->desc.compute, op->desc.x.n, c, h, w, block};
}

void lk_cuda_info_own(lk_op *op, const char *name) {
    snprintf(op->info.impl_forward, sizeof op->info.impl_forward, "own:%s", name);
    op->info.launches_forward = 1;
    if (!lk_op_has_backward(&op->desc)) return;
    memcpy(op->info.impl_dx, op->info.impl_forward, sizeof op->info.impl_dx);
    op->info.launches_backward = 1;
}

static bool takes_two_dy(const lk_device *device, lk_op_kind kind) {
    (void)device;
    const lk_cuda_op_class *class = class_of(kind);
    return class != NULL && class->backward != NULL && !class->one_dy;
}

static bool fuses(const lk_device *device, const lk_op_desc *desc) {
    (void)device;
    const lk_cuda_op_class *class = class_of(desc->kind);
    return class != NULL && class->fuses != NULL && class->fuses(desc);
}

static const char *identity(const lk_device *device) { return cuda_of(device)->identity; }

static lk_status supports_dtype(const lk_device *device, lk_dtype compute, lk_error *err) {
    if (compute == LK_F32 || compute == LK_F16) return LK_OK;
    if (compute != LK_BF16 && compute != LK_TF32)
        return lk_fail(err, LK_ERR_UNSUPPORTED,
                       "the cuda device computes in float32, tf32, bfloat16 or float16, not in %s",
                       lk_dtype_name(compute));
    if (cuda_of(device)->capability >= 800) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "%s needs a GPU of compute capability 8.0 or later, and this one has %d.%d; use float16 or float32",
                   lk_dtype_name(compute), cuda_of(device)->capability / 100, cuda_of(device)->capability / 10 % 10);
}

static void op_free(lk_device *device, lk_op *op) {
    (void)device;
    if (op == NULL) return;
    if (op->class != NULL && op->class->drop != NULL) op->class->drop(op);
    lk_free(op);
}

static lk_status op_plan(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info, lk_error *err) {
    lk_status status = LK_OK;
    lk_op *op = NULL;
    *out = NULL;
    LK_TRY(lk_cuda_enter(cuda_of(device), err));
    LK_TRY(LK_NEW(&op, 1, "an op", err));
    op->desc = *desc;
    op->desc.like = NULL; /* may be freed before this plan, as what was chosen */
    op->class = class_of(desc->kind);
    if (op->class == NULL)
        LK_TRY(lk_fail(err, LK_ERR_UNSUPPORTED, "the cuda device has no op %s (number %d)", lk_op_kind_name(desc->kind),
                       (int)desc->kind));
    LK_TRY(lk_cuda_check_op(op, desc->like, err));
    LK_TRY(op->class->plan(cuda_of(device), op, err));
    op->desc.chosen = NULL;
    *info = op->info;
    *out = op;
    op = NULL;
out:
    op_free(device, op);
    return status;
}

static lk_status check_param(const lk_op *op, int i, lk_error *err) {
    if (i >= 0 && i < op->info.param_count) return LK_OK;
    return lk_fail(err, LK_ERR_INTERNAL, "%s has no parameter %d", lk_op_kind_name(op->desc.kind), i);
}

static lk_status param_pack(lk_device *device, const lk_op *op, int i, const void *canonical, void *stored,
                            lk_error *err) {
    LK_RETURN_IF(check_param(op, i, err));
    const lk_param_info *param = &op->info.params[i];
    int64_t count = lk_shape_count(&param->shape);
    const float *from = canonical;
    float *host = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&host, param->stored_count, "a parameter", err));
    for (int64_t e = 0; e < count; e++)
        host[op->class->stored_at == NULL ? e : op->class->stored_at(op, i, e)] = from[e];
    LK_TRY(device->upload(device, stored, host, param->stored_count * (int64_t)sizeof *host, err));
out:
    lk_free(host);
    return status;
}

static lk_status param_unpack(lk_device *device, const lk_op *op, int i, const void *stored, void *canonical,
                              lk_error *err) {
    LK_RETURN_IF(check_param(op, i, err));
    const lk_param_info *param = &op->info.params[i];
    int64_t count = lk_shape_count(&param->shape);
    float *to = canonical, *host = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&host, param->stored_count, "a parameter", err));
    LK_TRY(device->download(device, host, stored, param->stored_count * (int64_t)sizeof *host, err));
    for (int64_t e = 0; e < count; e++) to[e] = host[op->class->stored_at == NULL ? e : op->class->stored_at(op, i, e)];
out:
    lk_free(host);
    return status;
}

static lk_status op_refresh(lk_device *device, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                            const void *params, void *derived, lk_error *err) {
    if (op->class->refresh == NULL || op->info.derived_bytes == 0) return LK_OK;
    return op->class->refresh(cuda_of(device), op, stream, buffers, params, derived, err);
}

static void call_free(lk_device *device, lk_call *call) {
    (void)device;
    if (call == NULL) return;
    if (call->op->class->unbind != NULL) call->op->class->unbind(call);
    lk_free(call);
}

static lk_status bind(lk_device *device, lk_call **out, const lk_op *op, const lk_op_buffers *buffers, lk_error *err) {
    lk_status status = LK_OK;
    lk_call *call = NULL;
    *out = NULL;
    LK_TRY(lk_cuda_enter(cuda_of(device), err));
    LK_TRY(LK_NEW(&call, 1, "a call", err));
    call->op = op;
    call->buffers = *buffers;
    if (op->class->bind != NULL) LK_TRY(op->class->bind(cuda_of(device), call, err));
    *out = call;
    call = NULL;
out:
    call_free(device, call);
    return status;
}

static lk_status prepare(lk_device *device, const lk_call *call, const lk_run *run, void *host, lk_error *err) {
    (void)device;
    return call->op->class->prepare == NULL ? LK_OK : call->op->class->prepare(call, run, host, err);
}

static lk_status forward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    return call->op->class->forward(cuda_of(device), stream, call, run, err);
}

static lk_status backward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    if (call->op->class->backward == NULL) return LK_OK; /* INPUT: nothing flows back */
    return call->op->class->backward(cuda_of(device), stream, call, run, err);
}

static lk_status again(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    const lk_cuda_op_class *class = call->op->class;
    return (class->again != NULL ? class->again : class->forward)(cuda_of(device), stream, call, run, err);
}

static void device_free(lk_device *device) {
    lk_cuda *cuda = cuda_of(device);
    if (cuda->described != NULL) (void)cudnnBackendDestroyDescriptor(cuda->described);
    if (cuda->cudnn != NULL) (void)cudnnDestroy(cuda->cudnn);
    if (cuda->blas != NULL) (void)cublasLtDestroy(cuda->blas);
    lk_free(cuda);
}

static const lk_device TEMPLATE = {
    .name = "cuda",
    .master = LK_F32,
    .most_lanes = 1, /* one fills a GPU; a second would wait for the first */
    .takes_two_dy = takes_two_dy,
    .fuses = fuses,
    .free = device_free,
    .identity = identity,
    .supports_dtype = supports_dtype,
    .op_plan = op_plan,
    .op_free = op_free,
    .param_pack = param_pack,
    .param_unpack = param_unpack,
    .op_refresh = op_refresh,
    .bind = bind,
    .call_free = call_free,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .again = again,
};

static lk_status check_cudnn(lk_error *err) {
    if (cudnnGetVersion() >= LK_CUDA_OLDEST_CUDNN) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED, "device cuda needs cuDNN 9.8 or later and finds %zu.%zu",
                   cudnnGetVersion() / 10000, cudnnGetVersion() / 100 % 100);
}

/* The GPU that was chosen, and what its arithmetic depends on. */
static lk_status open_gpu(lk_cuda *cuda, lk_error *err) {
    lk_status status = LK_OK;
    int count = 0, driver = 0, runtime = 0;
    struct cudaDeviceProp properties;
    LK_TRY(lk_cuda_count(&count, err));
    if (count == 0) return lk_fail(err, LK_ERR_UNSUPPORTED, "device cuda finds no GPU; use device: cpu");
    if (cuda->ordinal < 0 || cuda->ordinal >= count)
        return lk_fail(err, LK_ERR_INTERNAL, "GPU %d was asked for where CUDA shows %d", cuda->ordinal, count);
    LK_TRY(lk_cuda_enter(cuda, err));
    LK_CUDA(cudaRuntimeGetVersion(&runtime));
    LK_CUDA(cudaDriverGetVersion(&driver));
    LK_CUDA(cudaGetDeviceProperties(&properties, cuda->ordinal));
    cuda->capability = properties.major * 100 + properties.minor * 10;
    cuda->multiprocessors = properties.multiProcessorCount;
    LK_TRY(check_cudnn(err));
    LK_CUDNN(cudnnCreate(&cuda->cudnn));
    LK_BLAS(cublasLtCreate(&cuda->blas));
    snprintf(cuda->identity, sizeof cuda->identity,
             "%.100s sm_%d, driver for CUDA %d.%d, CUDA %d.%d, cuDNN %zu, cuBLASLt %zu", properties.name,
             cuda->capability / 10, driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10,
             cudnnGetVersion(), cublasLtGetVersion());
out:
    return status;
}

static lk_status create(lk_cuda **out, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, 1, "the cuda device", err));
    (*out)->base = TEMPLATE;
    (*out)->base.impl = *out;
    lk_cuda_runtime_install(&(*out)->base);
    lk_cuda_slab_install(&(*out)->base);
    lk_cuda_gather_install(&(*out)->base);
    lk_cuda_finish_install(&(*out)->base);
    lk_cuda_capture_install(&(*out)->base);
    lk_cuda_sequence_install(&(*out)->base);
    return LK_OK;
}

lk_status lk_device_cuda_create(lk_device **out, int ordinal, int threads, lk_error *err) {
    lk_status status = LK_OK;
    lk_cuda *cuda = NULL;
    *out = NULL;
    if (threads < 1 || threads > 1024)
        return lk_fail(err, LK_ERR_CONFIG, "a lane of the cuda device cannot have %d threads; use 1 to 1024", threads);
    LK_TRY(create(&cuda, err));
    cuda->base.threads = threads;
    cuda->ordinal = ordinal;
    LK_TRY(open_gpu(cuda, err));
    *out = &cuda->base;
    cuda = NULL;
out:
    if (cuda != NULL) device_free(&cuda->base);
    return status;
}

static lk_status open_description(lk_cuda *cuda, const lk_gpu_kind *kind, lk_error *err) {
    lk_status status = LK_OK;
    LK_TRY(check_cudnn(err));
    LK_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &cuda->described));
    LK_CUDNN(cudnnBackendSetAttribute(cuda->described, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                      (int64_t)strlen(kind->properties), kind->properties));
    LK_CUDNN(cudnnBackendFinalize(cuda->described));
    cuda->capability = kind->capability;
    snprintf(cuda->identity, sizeof cuda->identity, "%s by description, engines of cuDNN %zu; workspaces of cuBLASLt 0",
             kind->title, cudnnGetVersion());
out:
    return status;
}

lk_status lk_device_cuda_describe(lk_device **out, const lk_gpu_kind *kind, lk_error *err) {
    lk_status status = LK_OK;
    lk_cuda *cuda = NULL;
    *out = NULL;
    LK_TRY(create(&cuda, err));
    cuda->base.threads = 1;
    LK_TRY(open_description(cuda, kind, err));
    *out = &cuda->base;
    cuda = NULL;
out:
    if (cuda != NULL) device_free(&cuda->base);
    return status;
}
