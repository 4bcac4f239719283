/* Fully connected layer: oneDNN's inner product over rows of features. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/dnnl_util.h"

enum { X, WEIGHT, Y, BIAS }; /* operands of the passes */

typedef struct linear_plan {
    dnnl_memory_desc_t stored; /* O x I, float32 */
    lk_dnnl_pass forward, data, weight;
    lk_dnnl_weight_copy copy; /* bfloat16 weights */
} linear_plan;

typedef struct linear_bound {
    lk_dnnl_bound forward, data, weight;
} linear_bound;

/* Rows of features as the tensors have them and as the primitives take them. */
typedef struct shapes {
    dnnl_memory_desc_t x, y;                                            /* in memory */
    dnnl_memory_desc_t x_row, y_row, dy_row, weight, weight_grad, bias; /* of the primitives */
    dnnl_primitive_attr_t attr;
} shapes;

static void shapes_free(shapes *s) {
    dnnl_memory_desc_t all[] = {s->x, s->y, s->x_row, s->y_row, s->dy_row, s->weight, s->weight_grad, s->bias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) dnnl_memory_desc_destroy(all[i]);
    dnnl_primitive_attr_destroy(s->attr);
}

static lk_status shapes_create(shapes *s, const lk_op *op, lk_error *err) {
    lk_status status = LK_OK;
    const lk_act_desc *d = &op->desc.x;
    int64_t out = op->desc.linear.out_features;
    dnnl_data_type_t type = lk_dnnl_dtype(d->dtype), y_type = lk_dnnl_dtype(op->info.y.dtype);
    dnnl_dims_t x_dims = {d->n, d->c}, y_dims = {d->n, out}, w_dims = {out, d->c}, b_dims = {out};
    dnnl_dims_t strides = {(d->c + d->block - 1) / d->block * d->block, 1};
    LK_TRY(lk_dnnl_attr(&s->attr, err));
    LK_DNNL(dnnl_memory_desc_create_with_strides(&s->x, 2, x_dims, type, strides));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->y, 2, y_dims, y_type, dnnl_nc));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->x_row, 2, x_dims, type, dnnl_nc));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->y_row, 2, y_dims, y_type, dnnl_nc));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->dy_row, 2, y_dims, type, dnnl_nc));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->weight, 2, w_dims, type,
                                             type == dnnl_f32 ? dnnl_oi : dnnl_format_tag_any));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->weight_grad, 2, w_dims, dnnl_f32, dnnl_oi));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&s->bias, 1, b_dims, dnnl_f32, dnnl_x));
out:
    return status;
}

static lk_status plan_forward(const lk_cpu *cpu, lk_op *op, const shapes *s, dnnl_primitive_desc_t *pd, lk_error *err) {
    lk_status status = LK_OK;
    linear_plan *p = op->plan;
    LK_DNNL(dnnl_inner_product_forward_primitive_desc_create(
        pd, cpu->engine, op->desc.training ? dnnl_forward_training : dnnl_forward_inference, s->x_row, s->weight,
        s->bias, s->y_row, s->attr));
    LK_TRY(lk_dnnl_pass_start(&p->forward, *pd, err));
    LK_TRY(lk_dnnl_pass_operand(&p->forward, cpu->engine, *pd, DNNL_ARG_SRC, false, s->x, err));
    LK_TRY(lk_dnnl_pass_operand(&p->forward, cpu->engine, *pd, DNNL_ARG_WEIGHTS, false, NULL, err));
    LK_TRY(lk_dnnl_pass_operand(&p->forward, cpu->engine, *pd, DNNL_ARG_DST, true, s->y, err));
    LK_TRY(lk_dnnl_pass_operand(&p->forward, cpu->engine, *pd, DNNL_ARG_BIAS, false, NULL, err));
    LK_TRY(lk_dnnl_weight_copy_plan(&p->copy, cpu->engine, p->stored,
                                    dnnl_primitive_desc_query_md(*pd, dnnl_query_weights_md, 0),
                                    &op->info.derived_bytes, err));
out:
    return status;
}

static lk_status plan_backward(const lk_cpu *cpu, lk_op *op, const shapes *s, const_dnnl_primitive_desc_t hint,
                               lk_error *err) {
    lk_status status = LK_OK;
    linear_plan *p = op->plan;
    dnnl_primitive_desc_t data = NULL, weight = NULL;
    const_dnnl_memory_desc_t w = dnnl_primitive_desc_query_md(hint, dnnl_query_weights_md, 0);
    if (op->desc.need_dx) {
        LK_DNNL(dnnl_inner_product_backward_data_primitive_desc_create(&data, cpu->engine, s->x_row, w, s->dy_row, hint,
                                                                       s->attr));
        LK_TRY(lk_dnnl_pass_start(&p->data, data, err));
        LK_TRY(lk_dnnl_pass_operand(&p->data, cpu->engine, data, DNNL_ARG_DIFF_SRC, true, s->x, err));
        LK_TRY(lk_dnnl_pass_operand(&p->data, cpu->engine, data, DNNL_ARG_WEIGHTS, false, NULL, err));
        LK_TRY(lk_dnnl_pass_operand(&p->data, cpu->engine, data, DNNL_ARG_DIFF_DST, false, s->y, err));
    }
    if (op->desc.frozen) goto out;
    LK_DNNL(dnnl_inner_product_backward_weights_primitive_desc_create(&weight, cpu->engine, s->x_row, s->weight_grad,
                                                                      s->bias, s->dy_row, hint, s->attr));
    LK_TRY(lk_dnnl_pass_start(&p->weight, weight, err));
    LK_TRY(lk_dnnl_pass_operand(&p->weight, cpu->engine, weight, DNNL_ARG_SRC, false, s->x, err));
    LK_TRY(lk_dnnl_pass_operand(&p->weight, cpu->engine, weight, DNNL_ARG_DIFF_WEIGHTS, true, p->stored, err));
    LK_TRY(lk_dnnl_pass_operand(&p->weight, cpu->engine, weight, DNNL_ARG_DIFF_DST, false, s->y, err));
    LK_TRY(lk_dnnl_pass_operand(&p->weight, cpu->engine, weight, DNNL_ARG_DIFF_BIAS, true, NULL, err));
out:
    dnnl_primitive_desc_destroy(data);
    dnnl_primitive_desc_destroy(weight);
    return status;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    const linear_plan *p = op->plan;
    lk_op_info *info = &op->info;
    int64_t out = d->linear.out_features;
    info->param_count = 2;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, lk_shape_of(2, out, d->x.c), out * d->x.c};
    info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, out), out};
    info->keeps_x = d->training && !d->frozen;
    info->workspace_bytes =
        larger(p->forward.workspace_bytes, larger(p->data.workspace_bytes, p->weight.workspace_bytes));
    double passes = d->training ? d->need_dx + !d->frozen : 0;
    double bytes = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y) + out * d->x.c * (int64_t)sizeof(float));
    info->flops_forward = 2.0 * (double)(d->x.n * out * d->x.c);
    info->flops_backward = passes * info->flops_forward;
    info->bytes_forward = bytes + (double)p->forward.reorder_bytes;
    info->bytes_backward = passes * bytes + (double)(p->data.reorder_bytes + p->weight.reorder_bytes);
    snprintf(info->impl_forward, sizeof info->impl_forward, "%s", p->forward.impl);
    snprintf(info->impl_dx, sizeof info->impl_dx, "%s", p->data.impl);
    snprintf(info->impl_dw, sizeof info->impl_dw, "%s", p->weight.impl);
}

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)like; /* there is one layout */
    lk_status status = LK_OK;
    const lk_op_desc *d = &op->desc;
    shapes s = {0};
    dnnl_primitive_desc_t forward = NULL;
    linear_plan *p = NULL;
    lk_cpu_info_start(op, d->linear.out_features, 1, 1);
    op->info.y.block = 1;
    LK_TRY(LK_NEW(&p, 1, "a linear layer", err));
    op->plan = p;
    if (d->x.h != 1 || d->x.w != 1 || d->linear.out_features < 1)
        LK_TRY(lk_cpu_unsupported(op, "its input is n x features; pool it first", err));
    dnnl_dims_t w_dims = {d->linear.out_features, d->x.c};
    LK_TRY(shapes_create(&s, op, err));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&p->stored, 2, w_dims, dnnl_f32, dnnl_oi));
    LK_TRY(plan_forward(cpu, op, &s, &forward, err));
    if (d->training) LK_TRY(plan_backward(cpu, op, &s, forward, err));
    fill_info(op);
out:
    dnnl_primitive_desc_destroy(forward);
    shapes_free(&s);
    return status;
}

static void drop(lk_op *op) {
    linear_plan *p = op->plan;
    if (p == NULL) return;
    lk_dnnl_pass_free(&p->forward);
    lk_dnnl_pass_free(&p->data);
    lk_dnnl_pass_free(&p->weight);
    lk_dnnl_weight_copy_free(&p->copy);
    dnnl_memory_desc_destroy(p->stored);
    lk_free(p);
}

static lk_status bind(lk_cpu *cpu, lk_call *call, lk_error *err) {
    lk_status status = LK_OK;
    const linear_plan *p = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    linear_bound *bound = NULL;
    LK_TRY(LK_NEW(&bound, 1, "a bound linear layer", err));
    call->bound = bound;
    void *forward[LK_DNNL_OPERANDS] = {(void *)b->x, NULL, b->y, NULL};
    void *data[LK_DNNL_OPERANDS] = {b->dx, NULL, (void *)b->dy[0], NULL};
    void *weight[LK_DNNL_OPERANDS] = {(void *)b->x, NULL, (void *)b->dy[0], NULL};
    LK_TRY(lk_dnnl_bind(&bound->forward, &p->forward, cpu->engine, forward, b->workspace, err));
    if (p->data.primitive != NULL) LK_TRY(lk_dnnl_bind(&bound->data, &p->data, cpu->engine, data, b->workspace, err));
    if (p->weight.primitive != NULL)
        LK_TRY(lk_dnnl_bind(&bound->weight, &p->weight, cpu->engine, weight, b->workspace, err));
out:
    return status;
}

static void unbind(lk_call *call) {
    linear_bound *bound = call->bound;
    if (bound == NULL) return;
    lk_dnnl_unbind(&bound->forward);
    lk_dnnl_unbind(&bound->data);
    lk_dnnl_unbind(&bound->weight);
    lk_free(bound);
}

static const void *weights_of(const lk_call *call, const lk_run *run) {
    const linear_plan *p = call->op->plan;
    if (p->copy.reorder == NULL) return lk_cpu_param(call, run, 0);
    return (const char *)run->derived + call->buffers.derived_offset + p->copy.at;
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu;
    linear_bound *bound = call->bound;
    LK_RETURN_IF(lk_dnnl_set(&bound->forward, WEIGHT, weights_of(call, run), err));
    LK_RETURN_IF(lk_dnnl_set(&bound->forward, BIAS, lk_cpu_param(call, run, 1), err));
    return lk_dnnl_run(&bound->forward, stream->dnnl, err);
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu;
    linear_bound *bound = call->bound;
    if (!call->op->desc.frozen) {
        LK_RETURN_IF(lk_dnnl_set(&bound->weight, WEIGHT, lk_cpu_grad(call, run, 0), err));
        LK_RETURN_IF(lk_dnnl_set(&bound->weight, BIAS, lk_cpu_grad(call, run, 1), err));
        LK_RETURN_IF(lk_dnnl_run(&bound->weight, stream->dnnl, err));
    }
    if (!call->op->desc.need_dx) return LK_OK;
    if (call->op->desc.x.c % call->op->desc.x.block != 0) /* the rows' padding */
        memset(call->buffers.dx, 0, (size_t)lk_act_bytes(&call->op->desc.x));
    LK_RETURN_IF(lk_dnnl_set(&bound->data, WEIGHT, weights_of(call, run), err));
    return lk_dnnl_run(&bound->data, stream->dnnl, err);
}

static lk_status refresh(lk_cpu *cpu, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                         const float *params, void *derived, lk_error *err) {
    const linear_plan *p = op->plan;
    return lk_dnnl_weight_copy_write(&p->copy, cpu->engine, stream->dnnl, params + buffers->param_offset[0],
                                     (char *)derived + buffers->derived_offset, err);
}

const lk_cpu_op_class lk_cpu_linear = {.one_dy = true,
                                       .plan = plan,
                                       .drop = drop,
                                       .refresh = refresh,
                                       .bind = bind,
                                       .unbind = unbind,
                                       .forward = forward,
                                       .backward = backward};
