#include "device/cpu/cpu.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/memory.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/dnnl_util.h"
#include "device/host.h"

static lk_cpu *cpu_of(const lk_device *device) { return (lk_cpu *)device; }

static const lk_cpu_op_class *class_of(lk_op_kind kind) {
    switch (kind) {
        case LK_OP_INPUT: return &lk_cpu_input;
        case LK_OP_CONV2D: return &lk_cpu_conv;
        case LK_OP_BATCHNORM: return &lk_cpu_batchnorm;
        case LK_OP_ACTIVATION: return &lk_cpu_activation;
        case LK_OP_ADD: return &lk_cpu_add;
        case LK_OP_SCALE: return &lk_cpu_scale;
        case LK_OP_DROPOUT: return &lk_cpu_dropout;
        case LK_OP_MAXPOOL: return &lk_cpu_maxpool;
        case LK_OP_GLOBAL_AVGPOOL: return &lk_cpu_avgpool;
        case LK_OP_LINEAR: return &lk_cpu_linear;
        case LK_OP_LOSS: return &lk_cpu_loss;
        case LK_OP_COUNT: break;
    }
    return NULL;
}

lk_status lk_cpu_unsupported(const lk_op *op, const char *why, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    char shape[128] = "";
    if (op->desc.kind == LK_OP_CONV2D)
        snprintf(shape, sizeof shape,
                 " to %" PRId64 " channels with kernel %" PRId64 " x %" PRId64 ", %" PRId64 " groups",
                 op->desc.conv.out_channels, op->desc.conv.kernel_h, op->desc.conv.kernel_w, op->desc.conv.groups);
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "the cpu device cannot run %s of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 "%s in %s: %s",
                   lk_op_kind_name(op->desc.kind), x->n, x->c, x->h, x->w, shape, lk_dtype_name(op->desc.compute), why);
}

void lk_cpu_info_start(lk_op *op, int64_t c, int64_t h, int64_t w) {
    memset(&op->info, 0, sizeof op->info);
    op->info.y = (lk_act_desc){op->desc.compute, op->desc.x.n, c, h, w, op->desc.x.block};
}

void lk_cpu_clear_padding(lk_act act, const lk_act_desc *y, void *data) {
    int64_t used = y->c % y->block, pixels = y->h * y->w, blocks = (y->c + y->block - 1) / y->block;
    size_t size = lk_dtype_size(y->dtype);
    if (used == 0 || (act != LK_ACT_SIGMOID && act != LK_ACT_HARD_SIGMOID)) return;
    for (int64_t n = 0; n < y->n; n++) {
        char *last = (char *)data + (size_t)((n * blocks + blocks - 1) * pixels * y->block) * size;
        for (int64_t i = 0; i < pixels; i++)
            memset(last + (size_t)(i * y->block + used) * size, 0, (size_t)(y->block - used) * size);
    }
}

static bool takes_two_dy(const lk_device *device, lk_op_kind kind) {
    (void)device;
    const lk_cpu_op_class *class = class_of(kind);
    return class != NULL && class->backward != NULL && !class->one_dy;
}

static const char *identity(const lk_device *device) { return cpu_of(device)->identity; }

static lk_status supports_dtype(const lk_device *device, lk_dtype compute, lk_error *err) {
    (void)device;
    if (compute == LK_F32) return LK_OK;
    if (compute != LK_BF16)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "the cpu device computes in float32 or bfloat16, not in %s",
                       lk_dtype_name(compute));
    if ((dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16) return LK_OK;
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "bfloat16 needs a processor with AVX-512 BF16 or AMX, which this one lacks; use float32");
}

#define HUGE_PAGE ((size_t)2 << 20)
#define MOST_BYTES (INT64_C(1) << 46) /* no processor addresses more */

/* Stands in the LK_ALIGNMENT bytes before every area. */
typedef struct area_head {
    void *start;   /* of the mapping */
    size_t mapped; /* bytes; 0: from the heap */
} area_head;

static area_head *head_of(void *p) { return (area_head *)((char *)p - LK_ALIGNMENT); }

static lk_status alloc_small(void **out, size_t bytes, const char *what, lk_error *err) {
    char *start = NULL;
    LK_RETURN_IF(lk_alloc((void **)&start, bytes + LK_ALIGNMENT, 1, what, err));
    *out = start + LK_ALIGNMENT;
    return LK_OK;
}

/* Large areas ask for huge pages: a training step walks hundreds of megabytes, and small pages cost it address
 * translations. The system gives them zeroed when they are first touched, which is by the lane that uses them and not
 * before the first forward pass. */
static lk_status cpu_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    (void)device;
    *out = NULL;
    if (bytes < 0 || bytes > MOST_BYTES)
        return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %" PRId64 " bytes for %s", bytes, what);
    if ((size_t)bytes < 2 * HUGE_PAGE) return alloc_small(out, (size_t)bytes, what, err);
    size_t size = ((size_t)bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE, mapped = size + HUGE_PAGE + LK_ALIGNMENT;
    char *start = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %zu bytes for %s: out of memory", size, what);
    uintptr_t first = ((uintptr_t)start + LK_ALIGNMENT + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    char *p = start + (first - (uintptr_t)start);
    (void)madvise(p, size, MADV_HUGEPAGE); /* a wish: refusal costs speed only */
    *head_of(p) = (area_head){.start = start, .mapped = mapped};
    *out = p;
    return LK_OK;
}

static void cpu_release(lk_device *device, void *p) {
    (void)device;
    if (p == NULL) return;
    area_head head = *head_of(p);
    if (head.mapped > 0)
        munmap(head.start, head.mapped);
    else
        lk_free(head_of(p));
}

static lk_status cpu_copy(lk_device *device, void *dst, const void *src, int64_t bytes, lk_error *err) {
    (void)device, (void)err;
    if (bytes > 0) memcpy(dst, src, (size_t)bytes);
    return LK_OK;
}

static lk_status stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_stream *stream = NULL;
    *out = NULL;
    omp_set_num_threads(device->threads);
    LK_TRY(LK_NEW(&stream, 1, "a stream", err));
    LK_DNNL(dnnl_stream_create(&stream->dnnl, cpu_of(device)->engine, dnnl_stream_in_order));
    *out = stream;
    stream = NULL;
out:
    lk_free(stream);
    return status;
}

static void stream_free(lk_device *device, lk_stream *stream) {
    (void)device;
    if (stream == NULL) return;
    dnnl_stream_destroy(stream->dnnl);
    lk_free(stream);
}

static lk_status synchronize(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    return lk_dnnl_check(dnnl_stream_wait(stream->dnnl), "dnnl_stream_wait", err);
}

static void op_free(lk_device *device, lk_op *op) {
    (void)device;
    if (op == NULL) return;
    if (op->class->drop != NULL) op->class->drop(op);
    lk_free(op);
}

static lk_status op_plan(lk_device *device, lk_op **out, const lk_op_desc *desc, lk_op_info *info, lk_error *err) {
    lk_status status = LK_OK;
    lk_op *op = NULL;
    *out = NULL;
    int threads = omp_get_max_threads();
    omp_set_num_threads(device->threads); /* oneDNN builds the thread count into what it plans */
    LK_TRY(LK_NEW(&op, 1, "an op", err));
    op->desc = *desc;
    op->desc.like = NULL;
    op->class = class_of(desc->kind);
    if (op->class == NULL) LK_TRY(lk_fail(err, LK_ERR_UNSUPPORTED, "the cpu device has no op %d", (int)desc->kind));
    LK_TRY(lk_cpu_check(op, desc->like, err));
    LK_TRY(op->class->plan(cpu_of(device), op, desc->like, err));
    *info = op->info;
    *out = op;
    op = NULL;
out:
    if (op != NULL && op->class == NULL)
        lk_free(op);
    else
        op_free(device, op);
    omp_set_num_threads(threads);
    return status;
}

static lk_status param_pack(lk_device *device, const lk_op *op, int i, const void *canonical, void *stored,
                            lk_error *err) {
    (void)device;
    if (op->class->pack != NULL) return op->class->pack(op, i, canonical, stored, err);
    memcpy(stored, canonical, (size_t)op->info.params[i].stored_count * sizeof(float));
    return LK_OK;
}

static lk_status param_unpack(lk_device *device, const lk_op *op, int i, const void *stored, void *canonical,
                              lk_error *err) {
    (void)device;
    if (op->class->unpack != NULL) return op->class->unpack(op, i, stored, canonical, err);
    memcpy(canonical, stored, (size_t)op->info.params[i].stored_count * sizeof(float));
    return LK_OK;
}

static lk_status op_refresh(lk_device *device, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                            const void *params, void *derived, lk_error *err) {
    if (op->class->refresh == NULL) return LK_OK;
    return op->class->refresh(cpu_of(device), op, stream, buffers, params, derived, err);
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
    LK_TRY(LK_NEW(&call, 1, "a call", err));
    call->op = op;
    call->buffers = *buffers;
    if (op->class->bind != NULL) LK_TRY(op->class->bind(cpu_of(device), call, err));
    *out = call;
    call = NULL;
out:
    call_free(device, call);
    return status;
}

static lk_status forward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    return call->op->class->forward(cpu_of(device), stream, call, run, err);
}

static lk_status backward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    if (call->op->class->backward == NULL) return LK_OK; /* INPUT: nothing flows back */
    return call->op->class->backward(cpu_of(device), stream, call, run, err);
}

static void device_free(lk_device *device) {
    lk_cpu *cpu = cpu_of(device);
    dnnl_engine_destroy(cpu->engine);
    lk_free(cpu);
}

static const lk_device TEMPLATE = {
    .name = "cpu",
    .master = LK_F32,
    .host_memory = true,
    .takes_two_dy = takes_two_dy,
    .free = device_free,
    .identity = identity,
    .supports_dtype = supports_dtype,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_copy,
    .download = cpu_copy,
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
};

lk_status lk_device_cpu_create(lk_device **out, int threads, lk_error *err) {
    lk_status status = LK_OK;
    lk_cpu *cpu = NULL;
    *out = NULL;
    if (threads < 1 || threads > 1024)
        return lk_fail(err, LK_ERR_CONFIG, "a lane of the cpu device cannot have %d threads; use 1 to 1024", threads);
    LK_TRY(LK_NEW(&cpu, 1, "the cpu device", err));
    cpu->base = TEMPLATE;
    cpu->base.threads = threads;
    cpu->base.impl = cpu;
    LK_DNNL(dnnl_engine_create(&cpu->engine, dnnl_cpu, 0));
    lk_device_host_install(&cpu->base);
    lk_cpu_slab_install(cpu);
    lk_cpu_identity_print(cpu->identity, sizeof cpu->identity, cpu->slab->name, threads);
    *out = &cpu->base;
    cpu = NULL;
out:
    lk_free(cpu);
    return status;
}
