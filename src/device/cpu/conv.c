/* Planning of convolutions: which oneDNN implementation runs each pass, in which layouts. */
#include "device/cpu/conv.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

/* Everything a convolution's primitive descriptors are made from. */
typedef struct geometry {
    dnnl_memory_desc_t x, x_any, y, y_any, bias; /* bias: NULL where there is none */
    dnnl_memory_desc_t weight_any, weight_grad_any;
    dnnl_dims_t weight, strides, dilates, pad_low, pad_high;
    int weight_dims;
    bool training;
    dnnl_primitive_attr_t attr;
} geometry;

static void geometry_free(geometry *g) {
    dnnl_memory_desc_t all[] = {g->x, g->x_any, g->y, g->y_any, g->bias, g->weight_any, g->weight_grad_any};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) dnnl_memory_desc_destroy(all[i]);
    dnnl_primitive_attr_destroy(g->attr);
}

int64_t lk_cpu_conv_out(const lk_op_desc *d, int side) {
    int64_t size = side == 0 ? d->x.h : d->x.w, kernel = side == 0 ? d->conv.kernel_h : d->conv.kernel_w;
    int64_t less = side == 0 ? d->conv.pad_less_top : d->conv.pad_less_left;
    int64_t room = size + 2 * d->conv.pad - less - d->conv.dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / d->conv.stride + 1;
}

static void geometry_dims(geometry *g, const lk_op_desc *d) {
    int64_t dilation = d->conv.dilation;
    int64_t kernel[2] = {d->conv.kernel_h, d->conv.kernel_w};
    int64_t size[2] = {d->x.h, d->x.w}, less[2] = {d->conv.pad_less_top, d->conv.pad_less_left};
    int at = 0;
    if (d->conv.groups > 1) g->weight[at++] = d->conv.groups;
    g->weight[at++] = d->conv.out_channels / d->conv.groups;
    g->weight[at++] = d->x.c / d->conv.groups;
    for (int i = 0; i < 2; i++) {
        g->weight[at++] = kernel[i];
        g->strides[i] = d->conv.stride;
        g->dilates[i] = dilation - 1;
        g->pad_low[i] = d->conv.pad - less[i];
        int64_t out = lk_cpu_conv_out(d, i);
        g->pad_high[i] = (out - 1) * d->conv.stride + dilation * (kernel[i] - 1) + 1 - size[i] - g->pad_low[i];
    }
    g->weight_dims = at;
}

static lk_status geometry_create(geometry *g, const lk_op *op, lk_error *err) {
    lk_status status = LK_OK;
    const lk_op_desc *d = &op->desc;
    memset(g, 0, sizeof *g);
    g->training = d->training;
    geometry_dims(g, d);
    dnnl_data_type_t type = lk_dnnl_dtype(d->compute);
    LK_TRY(lk_dnnl_attr(&g->attr, err));
    LK_TRY(lk_dnnl_act_md(&g->x, &d->x, err));
    LK_TRY(lk_dnnl_act_any(&g->x_any, &d->x, err));
    LK_TRY(lk_dnnl_act_any(&g->y_any, &op->info.y, err));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&g->weight_any, g->weight_dims, g->weight, type, dnnl_format_tag_any));
    LK_DNNL(dnnl_memory_desc_create_with_tag(&g->weight_grad_any, g->weight_dims, g->weight, dnnl_f32,
                                             dnnl_format_tag_any));
    if (d->conv.bias) {
        dnnl_dims_t channels = {d->conv.out_channels};
        LK_DNNL(dnnl_memory_desc_create_with_tag(&g->bias, 1, channels, dnnl_f32, dnnl_x));
    }
out:
    return status;
}

typedef enum pass_kind { FORWARD, DATA, WEIGHT } pass_kind;

/* First descriptor that oneDNN offers for these layouts. hint: the forward pass. */
static dnnl_status_t describe(dnnl_primitive_desc_t *out, const lk_cpu *cpu, const geometry *g, pass_kind kind,
                              const_dnnl_memory_desc_t x, const_dnnl_memory_desc_t w, const_dnnl_memory_desc_t y,
                              const_dnnl_primitive_desc_t hint) {
    *out = NULL;
    if (kind == FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(
            out, cpu->engine, g->training ? dnnl_forward_training : dnnl_forward_inference, dnnl_convolution_direct, x,
            w, g->bias, y, g->strides, g->dilates, g->pad_low, g->pad_high, g->attr);
    if (kind == DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(out, cpu->engine, dnnl_convolution_direct, x, w, y,
                                                                    g->strides, g->dilates, g->pad_low, g->pad_high,
                                                                    hint, g->attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(out, cpu->engine, dnnl_convolution_direct, x, w,
                                                                   g->bias, y, g->strides, g->dilates, g->pad_low,
                                                                   g->pad_high, hint, g->attr);
}

/* Keeps the better of *best and a fresh descriptor; ties go to *best. */
static void keep_better(dnnl_primitive_desc_t *best, dnnl_primitive_desc_t fresh) {
    int have = *best == NULL ? -1 : lk_dnnl_rank(lk_dnnl_impl(*best));
    if (fresh != NULL && lk_dnnl_rank(lk_dnnl_impl(fresh)) > have) {
        dnnl_primitive_desc_destroy(*best);
        *best = fresh;
    } else {
        dnnl_primitive_desc_destroy(fresh);
    }
}

/* The rule of choice: the tensors' own layouts if an implementation made for this processor takes them, else any
 * layouts with reorders if that finds one, else what there is; never a reference implementation.
 * y: NULL leaves the output's layout free. */
static lk_status choose(dnnl_primitive_desc_t *out, const lk_cpu *cpu, const lk_op *op, const geometry *g,
                        pass_kind kind, const_dnnl_primitive_desc_t hint, lk_error *err) {
    const_dnnl_memory_desc_t w = kind == WEIGHT ? g->weight_grad_any : g->weight_any;
    const_dnnl_memory_desc_t y = g->y != NULL ? g->y : g->y_any;
    const struct {
        const_dnnl_memory_desc_t x, y;
    } tries[] = {{g->x, y}, {g->x, g->y_any}, {g->x_any, y}, {g->x_any, g->y_any}};
    dnnl_primitive_desc_t best = NULL;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        dnnl_primitive_desc_t fresh = NULL;
        dnnl_status_t code = describe(&fresh, cpu, g, kind, tries[i].x, w, tries[i].y, hint);
        if (code == dnnl_success) keep_better(&best, fresh);
        if (best != NULL && lk_dnnl_rank(lk_dnnl_impl(best)) == 3) break;
    }
    *out = best;
    if (best == NULL) return lk_cpu_unsupported(op, "oneDNN has no implementation", err);
    if (lk_dnnl_rank(lk_dnnl_impl(best)) == 0)
        return lk_cpu_unsupported(op, "oneDNN has only a reference implementation", err);
    return LK_OK;
}

/* Fixes y's layout: the forward primitive's choice where lk_act_desc can say it, else blocks of 8. */
static lk_status settle_y(lk_op *op, geometry *g, const_dnnl_primitive_desc_t forward, lk_error *err) {
    int64_t block = lk_dnnl_act_block(dnnl_primitive_desc_query_md(forward, dnnl_query_dst_md, 0));
    op->info.y.block = block != 0 ? block : 8;
    return lk_dnnl_act_md(&g->y, &op->info.y, err);
}

static const_dnnl_memory_desc_t stored_of(const lk_op *like) {
    if (like->class == &lk_cpu_winograd) return lk_cpu_winograd_stored(like);
    if (like->class == &lk_cpu_depthwise) return lk_cpu_depthwise_stored(like);
    return ((const lk_cpu_conv_plan *)like->plan)->stored;
}

static lk_status plan_forward(const lk_cpu *cpu, lk_op *op, geometry *g, dnnl_primitive_desc_t *pd, const lk_op *like,
                              lk_error *err) {
    lk_status status = LK_OK;
    lk_cpu_conv_plan *plan = op->plan;
    LK_TRY(choose(pd, cpu, op, g, FORWARD, NULL, err));
    LK_TRY(settle_y(op, g, *pd, err));
    const_dnnl_memory_desc_t weights = dnnl_primitive_desc_query_md(*pd, dnnl_query_weights_md, 0);
    if (like != NULL) {
        LK_DNNL(dnnl_memory_desc_clone(&plan->stored, stored_of(like)));
    } else if (op->desc.compute == LK_F32) {
        LK_DNNL(dnnl_memory_desc_clone(&plan->stored, weights));
    } else { /* the weights are copied to bfloat16 anyway */
        LK_DNNL(dnnl_memory_desc_create_with_tag(&plan->stored, g->weight_dims, g->weight, dnnl_f32,
                                                 g->weight_dims == 5 ? dnnl_goihw : dnnl_oihw));
    }
    LK_TRY(lk_dnnl_pass_start(&plan->forward, *pd, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->forward, cpu->engine, *pd, DNNL_ARG_SRC, false, g->x, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->forward, cpu->engine, *pd, DNNL_ARG_WEIGHTS, false, NULL, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->forward, cpu->engine, *pd, DNNL_ARG_DST, true, g->y, err));
    if (g->bias != NULL)
        LK_TRY(lk_dnnl_pass_operand(&plan->forward, cpu->engine, *pd, DNNL_ARG_BIAS, false, NULL, err));
    LK_TRY(lk_dnnl_weight_copy_plan(&plan->forward_copy, cpu->engine, plan->stored, weights, &op->info.derived_bytes,
                                    err));
    LK_TRY(lk_dnnl_map_create(&plan->map, plan->stored, err));
out:
    return status;
}

static lk_status plan_data(const lk_cpu *cpu, lk_op *op, geometry *g, const_dnnl_primitive_desc_t hint, lk_error *err) {
    lk_status status = LK_OK;
    lk_cpu_conv_plan *plan = op->plan;
    dnnl_primitive_desc_t pd = NULL;
    LK_TRY(choose(&pd, cpu, op, g, DATA, hint, err));
    LK_TRY(lk_dnnl_pass_start(&plan->data, pd, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->data, cpu->engine, pd, DNNL_ARG_DIFF_SRC, true, g->x, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->data, cpu->engine, pd, DNNL_ARG_WEIGHTS, false, NULL, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->data, cpu->engine, pd, DNNL_ARG_DIFF_DST, false, g->y, err));
    LK_TRY(lk_dnnl_weight_copy_plan(&plan->data_copy, cpu->engine, plan->stored,
                                    dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), &op->info.derived_bytes,
                                    err));
out:
    dnnl_primitive_desc_destroy(pd);
    return status;
}

static lk_status plan_weight(const lk_cpu *cpu, lk_op *op, geometry *g, const_dnnl_primitive_desc_t hint,
                             lk_error *err) {
    lk_status status = LK_OK;
    lk_cpu_conv_plan *plan = op->plan;
    dnnl_primitive_desc_t pd = NULL;
    LK_TRY(choose(&pd, cpu, op, g, WEIGHT, hint, err));
    LK_TRY(lk_dnnl_pass_start(&plan->weight, pd, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->weight, cpu->engine, pd, DNNL_ARG_SRC, false, g->x, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->weight, cpu->engine, pd, DNNL_ARG_DIFF_WEIGHTS, true, plan->stored, err));
    LK_TRY(lk_dnnl_pass_operand(&plan->weight, cpu->engine, pd, DNNL_ARG_DIFF_DST, false, g->y, err));
    if (g->bias != NULL)
        LK_TRY(lk_dnnl_pass_operand(&plan->weight, cpu->engine, pd, DNNL_ARG_DIFF_BIAS, true, NULL, err));
out:
    dnnl_primitive_desc_destroy(pd);
    return status;
}

static void fill_params(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    const lk_cpu_conv_plan *plan = op->plan;
    lk_op_info *info = &op->info;
    info->param_count = d->conv.bias ? 2 : 1;
    info->params[0] = (lk_param_info){
        LK_PARAM_WEIGHT,
        lk_shape_of(4, d->conv.out_channels, d->x.c / d->conv.groups, d->conv.kernel_h, d->conv.kernel_w),
        (int64_t)(dnnl_memory_desc_get_size(plan->stored) / sizeof(float))};
    if (d->conv.bias)
        info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, d->conv.out_channels), d->conv.out_channels};
}

static int64_t max3(int64_t a, int64_t b, int64_t c) { return a > b ? (a > c ? a : c) : (b > c ? b : c); }

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    const lk_cpu_conv_plan *plan = op->plan;
    lk_op_info *info = &op->info;
    fill_params(op);
    double passes = d->training ? d->need_dx + !d->frozen : 0;
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y);
    double w = (double)dnnl_memory_desc_get_size(plan->stored);
    info->flops_forward = 2.0 * (double)(info->y.n * info->y.c * info->y.h * info->y.w) *
                          (double)(d->x.c / d->conv.groups * d->conv.kernel_h * d->conv.kernel_w);
    info->flops_backward = passes * info->flops_forward;
    info->bytes_forward = x + y + w + (double)plan->forward.reorder_bytes;
    info->bytes_backward = passes * (x + y + w) + (double)(plan->data.reorder_bytes + plan->weight.reorder_bytes);
    info->workspace_bytes =
        max3(plan->forward.workspace_bytes, plan->data.workspace_bytes, plan->weight.workspace_bytes);
    info->keeps_x = d->training && !d->frozen;
    snprintf(info->impl_forward, sizeof info->impl_forward, "%s", plan->forward.impl);
    snprintf(info->impl_dx, sizeof info->impl_dx, "%s", plan->data.impl);
    snprintf(info->impl_dw, sizeof info->impl_dw, "%s", plan->weight.impl);
}

/* Each attribute by itself; the bounds keep every product far from overflow. */
static bool sane(const lk_op_desc *d) {
    const int64_t small[] = {d->conv.kernel_h, d->conv.kernel_w, d->conv.stride, d->conv.pad + 1, d->conv.dilation};
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
        if (small[i] < 1 || small[i] > 4096) return false;
    const int64_t less[] = {d->conv.pad_less_top, d->conv.pad_less_left};
    for (int i = 0; i < 2; i++)
        if (less[i] < 0 || less[i] > d->conv.pad) return false;
    return d->conv.groups >= 1 && d->conv.out_channels >= 1 && d->conv.out_channels <= 1 << 20 &&
           d->x.c % d->conv.groups == 0 && d->conv.out_channels % d->conv.groups == 0;
}

static lk_status conv_plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    lk_status status = LK_OK;
    const lk_op_desc *d = &op->desc;
    geometry g = {0};
    dnnl_primitive_desc_t forward = NULL;
    if (!sane(d)) return lk_cpu_unsupported(op, "its shape is impossible", err);
    /* A plan that must be like another goes the same way, so that it has the same stored layout. */
    if (like != NULL ? like->class == &lk_cpu_winograd && lk_cpu_winograd_takes(cpu, d)
                     : lk_cpu_winograd_takes(cpu, d)) {
        op->class = &lk_cpu_winograd;
        return op->class->plan(cpu, op, like, err);
    }
    if (lk_cpu_depthwise_takes(d) && (like == NULL || like->class == &lk_cpu_depthwise)) {
        op->class = &lk_cpu_depthwise;
        return op->class->plan(cpu, op, like, err);
    }
    lk_cpu_info_start(op, d->conv.out_channels, lk_cpu_conv_out(d, 0), lk_cpu_conv_out(d, 1));
    lk_cpu_conv_plan *plan = NULL;
    LK_TRY(LK_NEW(&plan, 1, "a convolution", err));
    op->plan = plan;
    if (op->info.y.h < 1 || op->info.y.w < 1)
        LK_TRY(lk_cpu_unsupported(op, "its kernel is larger than its input", err));
    LK_TRY(geometry_create(&g, op, err));
    LK_TRY(plan_forward(cpu, op, &g, &forward, like, err));
    if (d->training && d->need_dx) LK_TRY(plan_data(cpu, op, &g, forward, err));
    if (d->training && !d->frozen) LK_TRY(plan_weight(cpu, op, &g, forward, err));
    fill_info(op);
out:
    dnnl_primitive_desc_destroy(forward);
    geometry_free(&g);
    return status;
}

static void conv_drop(lk_op *op) {
    lk_cpu_conv_plan *plan = op->plan;
    if (plan == NULL) return;
    lk_dnnl_pass_free(&plan->forward);
    lk_dnnl_pass_free(&plan->data);
    lk_dnnl_pass_free(&plan->weight);
    lk_dnnl_weight_copy_free(&plan->forward_copy);
    lk_dnnl_weight_copy_free(&plan->data_copy);
    dnnl_memory_desc_destroy(plan->stored);
    lk_dnnl_map_free(&plan->map);
    lk_free(plan);
}

static lk_status conv_pack(const lk_op *op, int i, const float *canonical, float *stored, lk_error *err) {
    (void)err;
    const lk_cpu_conv_plan *plan = op->plan;
    if (i == 0)
        lk_dnnl_map_pack(&plan->map, canonical, stored, op->info.params[0].stored_count);
    else
        memcpy(stored, canonical, (size_t)op->info.params[i].stored_count * sizeof *stored);
    return LK_OK;
}

static lk_status conv_unpack(const lk_op *op, int i, const float *stored, float *canonical, lk_error *err) {
    (void)err;
    const lk_cpu_conv_plan *plan = op->plan;
    if (i == 0)
        lk_dnnl_map_unpack(&plan->map, stored, canonical);
    else
        memcpy(canonical, stored, (size_t)op->info.params[i].stored_count * sizeof *stored);
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_conv = {
    .one_dy = true,
    .plan = conv_plan,
    .drop = conv_drop,
    .pack = conv_pack,
    .unpack = conv_unpack,
    .refresh = lk_cpu_conv_refresh,
    .bind = lk_cpu_conv_bind,
    .unbind = lk_cpu_conv_unbind,
    .forward = lk_cpu_conv_forward,
    .backward = lk_cpu_conv_backward,
};
