#include "device/cuda/conv_engine.h"

#include "device/cuda/cuda_internal.h"

static int64_t out_size(int64_t size, int64_t kernel, int64_t pad_less, const lk_op_desc *d) {
    int64_t room = size + 2 * d->conv.pad - pad_less - d->conv.dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / d->conv.stride + 1;
}

void lk_cuda_conv_shape(lk_cudnn_conv *s, const lk_op_desc *d) {
    bool depthwise = d->conv.groups == d->x.c && d->conv.groups > 1;
    *s = (lk_cudnn_conv){.n = d->x.n,
                         .c = d->x.c,
                         .h = d->x.h,
                         .w = d->x.w,
                         .x_block = d->x.block,
                         .k = d->conv.out_channels,
                         .out_h = out_size(d->x.h, d->conv.kernel_h, d->conv.pad_less_top, d),
                         .out_w = out_size(d->x.w, d->conv.kernel_w, d->conv.pad_less_left, d),
                         .y_block = lk_cuda_block(d->conv.out_channels, d->compute),
                         .kernel_h = d->conv.kernel_h,
                         .kernel_w = d->conv.kernel_w,
                         .stride = d->conv.stride,
                         .pad_top = d->conv.pad - d->conv.pad_less_top,
                         .pad_left = d->conv.pad - d->conv.pad_less_left,
                         .pad_end = d->conv.pad,
                         .dilation = d->conv.dilation,
                         .groups = d->conv.groups,
                         .dtype = d->compute,
                         .tf32 = d->tf32};
    if (depthwise) {
        s->y_block = s->k / s->c * s->x_block;
        s->groups = s->x_block;
    }
    if (depthwise || s->groups == 1) {
        s->c = s->x_block;
        s->k = s->y_block;
    }
}

bool lk_cuda_depthwise_applies(const lk_op_desc *d) {
    return d->conv.groups > 1 && d->conv.groups == d->x.c && d->conv.out_channels == d->x.c &&
           (d->conv.kernel_h == 3 || d->conv.kernel_h == 5) && d->conv.kernel_w == d->conv.kernel_h &&
           (d->conv.stride == 1 || d->conv.stride == 2) && d->conv.dilation == 1 && d->conv.pad < d->conv.kernel_h;
}

lk_status lk_cuda_conv_engine(lk_cudnn_plan *out, lk_cudnn_conv *shape, const lk_cudnn_target *target,
                              lk_cudnn_pass pass, const char *chosen, lk_error *err) {
    if (chosen != NULL) return lk_cudnn_plan_restore(out, target, shape, pass, chosen, LK_CUDA_WORKSPACE_LIMIT, err);
    const struct {
        lk_cudnn_ranking ranking;
        bool short_dweight;
    } tries[] = {
        {LK_CUDNN_FIRST, false}, {LK_CUDNN_FIRST, true}, {LK_CUDNN_FALLBACK, false}, {LK_CUDNN_FALLBACK, true}};
    bool either = pass == LK_CUDNN_WEIGHT && shape->dtype != LK_F32;
    lk_status status = LK_ERR_UNSUPPORTED;
    for (int i = 0; i < 4 && status == LK_ERR_UNSUPPORTED; i++) {
        if (tries[i].short_dweight && !either) continue;
        lk_error_clear(err);
        shape->short_dweight = tries[i].short_dweight;
        status = lk_cudnn_plan_create(out, target, shape, pass, tries[i].ranking, LK_CUDA_WORKSPACE_LIMIT, err);
    }
    return status;
}
