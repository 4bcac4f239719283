/* Inside the CPU device: what its files share. */
#ifndef LK_DEVICE_CPU_INTERNAL_H
#define LK_DEVICE_CPU_INTERNAL_H

#include <dnnl.h>
#include <string.h>

#include "device/cpu/kernels.h"
#include "device/device.h"

/* The device; `base` comes first, so that the two pointers convert. */
typedef struct lk_cpu {
    lk_device base;
    dnnl_engine_t engine;
    const lk_cpu_slab_kernels *slab;
    char identity[320];
} lk_cpu;

struct lk_stream {
    dnnl_stream_t dnnl;
};

typedef struct lk_cpu_op_class lk_cpu_op_class;

struct lk_op {
    lk_op_desc desc; /* desc.like is not kept */
    lk_op_info info;
    const lk_cpu_op_class *class;
    void *plan; /* what the class keeps, or NULL; read-only once planned */
};

struct lk_call {
    const lk_op *op;
    lk_op_buffers buffers;
    void *bound; /* what the class keeps per lane, or NULL */
};

/* How one kind of op is planned and run. Entries marked (opt) may be NULL. */
struct lk_cpu_op_class {
    bool one_dy; /* takes one gradient of y, not two */
    /* Fills op->plan and op->info from op->desc. Errors: as lk_device.op_plan. On failure `drop` is still called. */
    lk_status (*plan)(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err);
    void (*drop)(lk_op *op); /* (opt) frees op->plan */
    lk_status (*pack)(const lk_op *op, int i, const float *canonical, float *stored, lk_error *err);   /* (opt) */
    lk_status (*unpack)(const lk_op *op, int i, const float *stored, float *canonical, lk_error *err); /* (opt) */
    lk_status (*refresh)(lk_cpu *cpu, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                         const float *params, void *derived, lk_error *err); /* (opt) */
    lk_status (*bind)(lk_cpu *cpu, lk_call *call, lk_error *err);            /* (opt) fills call->bound */
    void (*unbind)(lk_call *call);                                           /* (opt) frees call->bound */
    lk_status (*forward)(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
    lk_status (*backward)(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
};

extern const lk_cpu_op_class lk_cpu_input, lk_cpu_conv, lk_cpu_batchnorm, lk_cpu_activation, lk_cpu_add, lk_cpu_scale,
    lk_cpu_dropout, lk_cpu_maxpool, lk_cpu_avgpool, lk_cpu_linear, lk_cpu_loss;

/* slab_* of lk_device. */
void lk_cpu_slab_install(lk_cpu *cpu);

/* Writes the text of lk_device.identity. */
void lk_cpu_identity_print(char *text, size_t size, const char *kernels, int threads);

/* Refuses what no op can take, and a `like` of another layer. Errors: LK_ERR_UNSUPPORTED. */
LK_MUST_CHECK lk_status lk_cpu_check(const lk_op *op, const lk_op *like, lk_error *err);

/* Fails with "OP (shape, dtype) on the cpu device: WHY". Returns LK_ERR_UNSUPPORTED. */
LK_MUST_CHECK lk_status lk_cpu_unsupported(const lk_op *op, const char *why, lk_error *err);

/* Fields of info that every op has the same way: y as x with another shape, no parameters, nothing kept. */
void lk_cpu_info_start(lk_op *op, int64_t c, int64_t h, int64_t w);

/* Zeroes the channel padding of y behind an activation whose value at 0 is not 0. */
void lk_cpu_clear_padding(lk_act act, const lk_act_desc *y, void *data);

/* The arithmetic threads of one lane's ops, as an OpenMP thread count. */
static inline int lk_cpu_threads(const lk_cpu *cpu) { return cpu->base.threads; }

/* Parameters and gradients of a call, i-th parameter. */
static inline const float *lk_cpu_param(const lk_call *call, const lk_run *run, int i) {
    return (const float *)run->params + call->buffers.param_offset[i];
}
static inline float *lk_cpu_grad(const lk_call *call, const lk_run *run, int i) {
    return (float *)run->grads + call->buffers.param_offset[i];
}

/* bfloat16, rounded to nearest even; NaN stays NaN. */
static inline uint16_t lk_cpu_bf16(float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return (uint16_t)(v != v ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
static inline float lk_cpu_from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

#endif
