/* What conv.c plans and conv_run.c runs. */
#ifndef LK_DEVICE_CPU_CONV_H
#define LK_DEVICE_CPU_CONV_H

#include "device/cpu/cpu_internal.h"
#include "device/cpu/dnnl_util.h"

/* Operands of the passes, in this order. */
enum { LK_CONV_X, LK_CONV_WEIGHT, LK_CONV_Y, LK_CONV_BIAS };

typedef struct lk_cpu_conv_plan {
    dnnl_memory_desc_t stored; /* weights in the parameter slab, float32 */
    lk_dnnl_map map;
    lk_dnnl_pass forward, data, weight;
    lk_dnnl_weight_copy forward_copy, data_copy;
} lk_cpu_conv_plan;

typedef struct lk_cpu_conv_bound {
    lk_dnnl_bound forward, data, weight;
} lk_cpu_conv_bound;

/* Is this one of the convolutions that winograd.c runs? A rule on shape, type and processor. */
bool lk_cpu_winograd_takes(const lk_cpu *cpu, const lk_op_desc *d);
/* Layout of the stored weights of an op planned by winograd.c; borrowed. */
const_dnnl_memory_desc_t lk_cpu_winograd_stored(const lk_op *op);
extern const lk_cpu_op_class lk_cpu_winograd;

/* The same of depthwise.c. */
bool lk_cpu_depthwise_takes(const lk_op_desc *d);
const_dnnl_memory_desc_t lk_cpu_depthwise_stored(const lk_op *op);
extern const lk_cpu_op_class lk_cpu_depthwise;

/* Output height (side 0) or width (side 1); below 1 where the kernel does not fit. */
int64_t lk_cpu_conv_out(const lk_op_desc *d, int side);

lk_status lk_cpu_conv_bind(lk_cpu *cpu, lk_call *call, lk_error *err);
void lk_cpu_conv_unbind(lk_call *call);
lk_status lk_cpu_conv_forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
lk_status lk_cpu_conv_backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err);
lk_status lk_cpu_conv_refresh(lk_cpu *cpu, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                              const float *params, void *derived, lk_error *err);

#endif
