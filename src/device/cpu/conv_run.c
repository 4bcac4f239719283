/* Running of planned convolutions. */
#include "core/memory.h"
#include "device/cpu/conv.h"

lk_status lk_cpu_conv_bind(lk_cpu *cpu, lk_call *call, lk_error *err) {
    lk_status status = LK_OK;
    const lk_cpu_conv_plan *plan = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    lk_cpu_conv_bound *bound = NULL;
    LK_TRY(LK_NEW(&bound, 1, "a bound convolution", err));
    call->bound = bound;
    void *forward[LK_DNNL_OPERANDS] = {(void *)b->x, NULL, b->y, NULL};
    void *data[LK_DNNL_OPERANDS] = {b->dx, NULL, (void *)b->dy[0], NULL};
    void *weight[LK_DNNL_OPERANDS] = {(void *)b->x, NULL, (void *)b->dy[0], NULL};
    LK_TRY(lk_dnnl_bind(&bound->forward, &plan->forward, cpu->engine, forward, b->workspace, err));
    if (plan->data.primitive != NULL)
        LK_TRY(lk_dnnl_bind(&bound->data, &plan->data, cpu->engine, data, b->workspace, err));
    if (plan->weight.primitive != NULL)
        LK_TRY(lk_dnnl_bind(&bound->weight, &plan->weight, cpu->engine, weight, b->workspace, err));
out:
    return status;
}

void lk_cpu_conv_unbind(lk_call *call) {
    lk_cpu_conv_bound *bound = call->bound;
    if (bound == NULL) return;
    lk_dnnl_unbind(&bound->forward);
    lk_dnnl_unbind(&bound->data);
    lk_dnnl_unbind(&bound->weight);
    lk_free(bound);
}

/* The weights a pass reads: the stored ones or their copy. */
static const void *weights_of(const lk_call *call, const lk_run *run, const lk_dnnl_weight_copy *copy) {
    if (copy->reorder == NULL) return lk_cpu_param(call, run, 0);
    return (const char *)run->derived + call->buffers.derived_offset + copy->at;
}

lk_status lk_cpu_conv_forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu;
    lk_status status = LK_OK;
    const lk_cpu_conv_plan *plan = call->op->plan;
    lk_cpu_conv_bound *bound = call->bound;
    LK_TRY(lk_dnnl_set(&bound->forward, LK_CONV_WEIGHT, weights_of(call, run, &plan->forward_copy), err));
    if (call->op->desc.conv.bias) LK_TRY(lk_dnnl_set(&bound->forward, LK_CONV_BIAS, lk_cpu_param(call, run, 1), err));
    LK_TRY(lk_dnnl_run(&bound->forward, stream->dnnl, err));
out:
    return status;
}

lk_status lk_cpu_conv_backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu;
    lk_status status = LK_OK;
    const lk_cpu_conv_plan *plan = call->op->plan;
    lk_cpu_conv_bound *bound = call->bound;
    if (plan->weight.primitive != NULL) {
        LK_TRY(lk_dnnl_set(&bound->weight, LK_CONV_WEIGHT, lk_cpu_grad(call, run, 0), err));
        if (call->op->desc.conv.bias) LK_TRY(lk_dnnl_set(&bound->weight, LK_CONV_BIAS, lk_cpu_grad(call, run, 1), err));
        LK_TRY(lk_dnnl_run(&bound->weight, stream->dnnl, err));
    }
    if (plan->data.primitive != NULL) {
        LK_TRY(lk_dnnl_set(&bound->data, LK_CONV_WEIGHT, weights_of(call, run, &plan->data_copy), err));
        LK_TRY(lk_dnnl_run(&bound->data, stream->dnnl, err));
    }
out:
    return status;
}

lk_status lk_cpu_conv_refresh(lk_cpu *cpu, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                              const float *params, void *derived, lk_error *err) {
    const lk_cpu_conv_plan *plan = op->plan;
    const float *stored = params + buffers->param_offset[0];
    char *to = (char *)derived + buffers->derived_offset;
    LK_RETURN_IF(lk_dnnl_weight_copy_write(&plan->forward_copy, cpu->engine, stream->dnnl, stored, to, err));
    return lk_dnnl_weight_copy_write(&plan->data_copy, cpu->engine, stream->dnnl, stored, to, err);
}
