/* 2-D convolution: cuDNN for the three passes, own kernels for the bias and for a single pixel; common depthwise shapes
 * are depthwise.c's. Weights are stored K x R x S x C/groups. Without groups, and with one channel a group, the padding
 * channels of x and y are channels for cuDNN, with zero weights: what it writes there is zero. Other groups are given
 * to it as they are, with gaps between pixels. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/conv_engine.h"
#include "device/cuda/cuda_internal.h"

typedef struct conv_plan {
    lk_cudnn_conv shape;
    lk_cudnn_plan passes[LK_CUDNN_PASSES];
    int64_t weights; /* stored elements */
    bool gaps;       /* padding channels that cuDNN does not write */
    bool product;    /* on one pixel: own kernels, which need no passes of cuDNN */
} conv_plan;

typedef struct conv_bound {
    lk_cudnn_pack packs[LK_CUDNN_PASSES];
} conv_bound;

static const char *settings_fault(const lk_op_desc *d) {
    const int64_t most = 1 << 20, counts[] = {d->conv.out_channels, d->conv.kernel_h, d->conv.kernel_w,
                                              d->conv.stride,       d->conv.dilation, d->conv.groups};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] < 1 || counts[i] > most) return "its settings are impossible";
    if (d->conv.pad < 0 || d->conv.pad > most) return "its settings are impossible";
    if (d->conv.pad_less_top < 0 || d->conv.pad_less_top > d->conv.pad || d->conv.pad_less_left < 0 ||
        d->conv.pad_less_left > d->conv.pad)
        return "its padding is negative on a side";
    if (d->x.c % d->conv.groups != 0 || d->conv.out_channels % d->conv.groups != 0)
        return "its groups do not divide its channels";
    return NULL;
}

/* Weights lie as they do for cuDNN, so that plans of other sizes share them. */
#define MOST_WEIGHTS (1 << 20) /* of a product; larger ones are worth a library's tiles */
static bool is_product(const lk_cudnn_conv *s) {
    return s->h == 1 && s->w == 1 && s->kernel_h == 1 && s->kernel_w == 1 && s->out_h == 1 && s->out_w == 1 &&
           s->groups == 1 && s->c * s->k <= MOST_WEIGHTS;
}

/* An activation is one with a product. */
static bool fuses(const lk_op_desc *desc) {
    lk_op_desc d = *desc;
    lk_cudnn_conv shape;
    d.x.dtype = d.compute;
    d.x.block = lk_cuda_block(d.x.c, d.compute);
    if (settings_fault(&d) != NULL) return false;
    lk_cuda_conv_shape(&shape, &d);
    return is_product(&shape);
}

static lk_cuda_product product_of(const lk_call *call) {
    const lk_op *op = call->op;
    const conv_plan *p = op->plan;
    return (lk_cuda_product){.type = lk_cuda_type_of(op->desc.compute),
                             .n = op->desc.x.n,
                             .in = (int)p->shape.c,
                             .out = (int)p->shape.k,
                             .outputs = (int)op->desc.conv.out_channels,
                             .act = op->desc.conv.act,
                             .slope = op->info.stash_bytes > 0 ? call->buffers.stash : NULL};
}

/* Passes are numbered alike. */
_Static_assert((int)LK_PASS_DATA == (int)LK_CUDNN_DATA && (int)LK_PASS_WEIGHT == (int)LK_CUDNN_WEIGHT &&
                   (int)LK_PASS_COUNT == (int)LK_CUDNN_PASSES && LK_CHOICE_SIZE >= LK_CUDNN_CHOICE_SIZE,
               "a pass of cuDNN's is a pass of the op, and so is its choice");

static lk_status plan_pass(lk_cuda *cuda, lk_op *op, lk_cudnn_pass pass, lk_error *err) {
    conv_plan *p = op->plan;
    lk_error reason = {0};
    lk_cudnn_target target = {.handle = cuda->cudnn, .device = cuda->described};
    const char *chosen = lk_cuda_chosen(op, (lk_op_pass)pass);
    lk_status status = lk_cuda_conv_engine(&p->passes[pass], &p->shape, &target, pass, chosen, &reason);
    if (status == LK_ERR_UNSUPPORTED) return lk_cuda_unsupported(op, reason.message, err);
    if (status != LK_OK) return lk_fail(err, status, "%s", reason.message);
    return LK_OK;
}

static lk_status plan_passes(lk_cuda *cuda, lk_op *op, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    LK_RETURN_IF(plan_pass(cuda, op, LK_CUDNN_FORWARD, err));
    if (d->training && d->need_dx) LK_RETURN_IF(plan_pass(cuda, op, LK_CUDNN_DATA, err));
    return d->training && !d->frozen ? plan_pass(cuda, op, LK_CUDNN_WEIGHT, err) : LK_OK;
}

/* In the order of the passes. bytes, flops: of one of cuDNN's. */
static void list_launches(lk_op *op, double bytes, double flops) {
    const lk_op_desc *d = &op->desc;
    const conv_plan *p = op->plan;
    lk_op_info *info = &op->info;
    bool trained = d->training && !d->frozen, wants_dx = d->training && d->need_dx;
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y);
    if (p->gaps) lk_op_info_launch(info, false, "zeros", y, 0);
    lk_op_info_launch(info, false, "convolution", bytes, flops);
    if (d->conv.bias) lk_op_info_launch(info, false, "bias", 2 * y, 0);
    if (trained) lk_op_info_launch(info, true, "weight gradient", bytes, flops);
    if (trained && d->conv.bias) lk_op_info_launch(info, true, "bias gradient", y, 0);
    if (wants_dx && p->gaps) lk_op_info_launch(info, true, "zeros", x, 0);
    if (wants_dx) lk_op_info_launch(info, true, "data gradient", bytes, flops);
}

static void fill_info(lk_op *op) {
    const lk_op_desc *d = &op->desc;
    const conv_plan *p = op->plan;
    lk_op_info *info = &op->info;
    int64_t out = d->conv.out_channels, group = d->x.c / d->conv.groups, most = 0;
    lk_shape shape = lk_shape_of(4, out, group, d->conv.kernel_h, d->conv.kernel_w);
    info->param_count = d->conv.bias ? 2 : 1;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, shape, p->weights};
    if (d->conv.bias) info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, out), out};
    bool trained = d->training && !d->frozen;
    info->keeps_x = trained;
    if (d->compute != LK_F32) info->derived_bytes = p->weights * (int64_t)sizeof(uint16_t);
    for (int i = 0; i < LK_CUDNN_PASSES; i++)
        if (p->passes[i].workspace_bytes > most) most = p->passes[i].workspace_bytes;
    int64_t partial = trained && d->conv.bias ? lk_cuda_partial_bytes(&info->y) : 0;
    info->workspace_bytes = LK_CUDA_WORKSPACE_ALIGNMENT + (partial > most ? partial : most);
    double bytes = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y)) +
                   (double)(p->weights * (int64_t)lk_dtype_size(d->compute));
    double flops = 2.0 * (double)lk_act_count(&info->y) * (double)(group * d->conv.kernel_h * d->conv.kernel_w);
    if (p->shape.short_dweight) {
        info->unfinished_bytes = p->weights * (int64_t)sizeof(uint16_t);
        info->bytes_finish = (double)p->weights * (sizeof(uint16_t) + sizeof(float));
    }
    info->launches_refresh = d->compute != LK_F32;
    if (p->product) {
        info->workspace_bytes = 0;
        if (d->conv.act != LK_ACT_NONE && lk_op_has_backward(d))
            info->stash_bytes = lk_act_count(&info->y) * (int64_t)sizeof(float);
        double passes = d->training ? d->need_dx + trained : 0;
        info->flops_forward = flops;
        info->flops_backward = passes * flops;
        info->bytes_forward = bytes + (double)info->stash_bytes;
        info->bytes_backward = passes * info->bytes_forward;
        lk_cuda_info_own(op, "product");
        if (trained) memcpy(info->impl_dw, info->impl_forward, sizeof info->impl_dw);
        return;
    }
    list_launches(op, bytes, flops);
    for (int i = 0; i < LK_CUDNN_PASSES; i++) memcpy(info->chosen[i], p->passes[i].choice, sizeof p->passes[i].choice);
    snprintf(info->impl_forward, sizeof info->impl_forward, "%s", p->passes[LK_CUDNN_FORWARD].name);
    snprintf(info->impl_dx, sizeof info->impl_dx, "%s", p->passes[LK_CUDNN_DATA].name);
    if (!trained) return;
    snprintf(info->impl_dw, sizeof info->impl_dw, "%.32s%s", p->passes[LK_CUDNN_WEIGHT].name,
             p->shape.short_dweight ? " in 16 bits" : "");
}

static lk_status plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    conv_plan *p = NULL;
    const char *fault = settings_fault(d);
    if (fault != NULL) return lk_cuda_unsupported(op, fault, err);
    if (d->conv.act != LK_ACT_NONE && !fuses(d))
        return lk_cuda_unsupported(op, "it takes an activation on one pixel only", err);
    if (lk_cuda_depthwise_applies(d)) {
        op->class = &lk_cuda_class_depthwise;
        return op->class->plan(cuda, op, err);
    }
    LK_RETURN_IF(LK_NEW(&p, 1, "a convolution", err));
    op->plan = p;
    lk_cuda_conv_shape(&p->shape, d);
    if (p->shape.out_h < 1 || p->shape.out_w < 1)
        return lk_cuda_unsupported(op, "its kernel does not fit its input", err);
    p->gaps = p->shape.c != p->shape.x_block || p->shape.k != p->shape.y_block;
    p->weights = p->shape.k * p->shape.kernel_h * p->shape.kernel_w * (p->shape.c / p->shape.groups);
    lk_cuda_info_start(op, d->conv.out_channels, p->shape.out_h, p->shape.out_w, p->shape.y_block);
    p->product = is_product(&p->shape);
    if (!p->product) LK_RETURN_IF(plan_passes(cuda, op, err));
    fill_info(op);
    return LK_OK;
}
static void drop(lk_op *op) {
    conv_plan *p = op->plan;
    if (p == NULL) return;
    for (int i = 0; i < LK_CUDNN_PASSES; i++) lk_cudnn_plan_free(&p->passes[i]);
    lk_free(p);
}

static int64_t stored_at(const lk_op *op, int i, int64_t e) {
    const conv_plan *p = op->plan;
    const lk_op_desc *d = &op->desc;
    if (i != 0) return e;
    int64_t area = d->conv.kernel_h * d->conv.kernel_w, group = d->x.c / d->conv.groups;
    int64_t o = e / (group * area), c = e / area % group, k = e % area;
    return (o * area + k) * (p->shape.c / p->shape.groups) + c;
}

static lk_status refresh(lk_cuda *cuda, const lk_op *op, lk_stream *stream, const lk_op_buffers *buffers,
                         const float *params, void *derived, lk_error *err) {
    (void)cuda;
    const conv_plan *p = op->plan;
    lk_cuda_task copy = {.kind = lk_cuda_copy_of(op->desc.compute),
                         .count = p->weights,
                         .to = (char *)derived + buffers->derived_offset,
                         .from = params + buffers->param_offset[0]};
    return lk_cuda_task_submit(stream, &copy, err);
}

static lk_status bind(lk_cuda *cuda, lk_call *call, lk_error *err) {
    (void)cuda;
    conv_bound *bound = NULL;
    LK_RETURN_IF(LK_NEW(&bound, 1, "a bound convolution", err));
    call->bound = bound;
    return LK_OK;
}

static void unbind(lk_call *call) {
    conv_bound *bound = call->bound;
    if (bound == NULL) return;
    for (int i = 0; i < LK_CUDNN_PASSES; i++) lk_cudnn_pack_free(&bound->packs[i]);
    lk_free(bound);
}

static const void *weights_of(const lk_call *call, const lk_run *run) {
    if (call->op->desc.x.dtype == LK_F32) return lk_cuda_param(call, run, 0);
    return (const char *)run->derived + call->buffers.derived_offset;
}

static lk_status run_pass(lk_stream *stream, lk_call *call, lk_cudnn_pass pass, const void *x, const void *weight,
                          const void *y, lk_error *err) {
    const conv_plan *p = call->op->plan;
    conv_bound *bound = call->bound;
    void *workspace = lk_cuda_align_workspace(call->buffers.workspace);
    return lk_cudnn_run(stream->cudnn, &p->passes[pass], &bound->packs[pass], x, weight, y, workspace, err);
}

static lk_status forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const conv_plan *p = call->op->plan;
    const lk_act_desc *y = &call->op->info.y;
    lk_cuda_rows rows = lk_cuda_rows_of(y);
    const float *bias = call->op->desc.conv.bias ? lk_cuda_param(call, run, 1) : NULL;
    if (p->product) {
        lk_cuda_product product = product_of(call);
        return lk_cuda_check(lk_cuda_product_forward(stream->cuda, &product, call->buffers.x, weights_of(call, run),
                                                     bias, call->buffers.y),
                             "product_forward", err);
    }
    if (p->gaps) LK_CUDA(cudaMemsetAsync(call->buffers.y, 0, (size_t)lk_act_bytes(y), stream->cuda));
    LK_TRY(run_pass(stream, call, LK_CUDNN_FORWARD, call->buffers.x, weights_of(call, run), call->buffers.y, err));
    if (bias != NULL) LK_CUDA(lk_cuda_add_bias(stream->cuda, &rows, call->buffers.y, bias));
out:
    return status;
}

static lk_status backward_weights(lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    lk_status status = LK_OK;
    const conv_plan *p = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    float *grad = lk_cuda_grad(call, run, 0);
    lk_cuda_unfinished left = {.from = b->unfinished, .to = grad, .count = p->weights};
    void *target = p->shape.short_dweight ? b->unfinished : (void *)grad;
    LK_TRY(run_pass(stream, call, LK_CUDNN_WEIGHT, b->x, target, b->dy[0], err));
    if (p->shape.short_dweight)
        LK_TRY(lk_cuda_leave_unfinished(stream, lk_cuda_type_of(call->op->desc.compute), &left, err));
out:
    return status;
}

static lk_status backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const lk_op_desc *d = &call->op->desc;
    const conv_plan *p = call->op->plan;
    const lk_op_buffers *b = &call->buffers;
    lk_cuda_rows rows = lk_cuda_rows_of(&call->op->info.y);
    if (p->product) {
        lk_cuda_product product = product_of(call);
        float *dweights = d->frozen ? NULL : lk_cuda_grad(call, run, 0);
        float *dbias = d->conv.bias && !d->frozen ? lk_cuda_grad(call, run, 1) : NULL;
        return lk_cuda_check(lk_cuda_product_backward(stream->cuda, &product, b->x, weights_of(call, run), b->dy[0],
                                                      d->need_dx ? b->dx : NULL, dweights, dbias),
                             "product_backward", err);
    }
    if (!d->frozen) LK_TRY(backward_weights(stream, call, run, err));
    if (d->conv.bias && !d->frozen)
        LK_CUDA(lk_cuda_column_sums(stream->cuda, &rows, b->dy[0], lk_cuda_grad(call, run, 1), rows.channels,
                                    lk_cuda_align_workspace(b->workspace), stream->counters));
    if (!d->need_dx) goto out;
    if (p->gaps) LK_CUDA(cudaMemsetAsync(b->dx, 0, (size_t)lk_act_bytes(&d->x), stream->cuda));
    LK_TRY(run_pass(stream, call, LK_CUDNN_DATA, b->dx, weights_of(call, run), b->dy[0], err));
out:
    return status;
}

const lk_cuda_op_class lk_cuda_class_conv = {.one_dy = true,
                                             .fuses = fuses,
                                             .plan = plan,
                                             .drop = drop,
                                             .stored_at = stored_at,
                                             .refresh = refresh,
                                             .bind = bind,
                                             .unbind = unbind,
                                             .forward = forward,
                                             .backward = backward};
