#include "device/described/info.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

#define CHUNK_ROWS 64    /* rows that a thread sums, of 256 / (threads across) side by side */
#define MOST_CHUNKS 1024 /* of a sum over rows */
#define LIBRARY_ALIGNMENT 256

static int64_t lanes_of(lk_dtype dtype) { return dtype == LK_F32 ? 4 : 8; }
static int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
static int64_t block_of(int64_t channels, lk_dtype dtype) { return round_up(channels, lanes_of(dtype)); }
static int64_t aligned(int64_t bytes) { return (int64_t)lk_round_up((size_t)bytes); }

static void start(const lk_op_desc *d, lk_op_info *info, int64_t c, int64_t h, int64_t w, int64_t block) {
    memset(info, 0, sizeof *info);
    info->y = (lk_act_desc){d->compute, d->x.n, c, h, w, block};
    info->launches_forward = 1;
    info->launches_backward = lk_op_has_backward(d);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own");
    if (lk_op_has_backward(d)) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

/* Bytes of the partial sums over the rows of a tensor. */
static int64_t partial_bytes(const lk_act_desc *d) {
    int64_t across = 1, vectors = d->block / lanes_of(d->dtype), rows = d->n * d->h * d->w;
    while (across < vectors && across < 32) across *= 2;
    int64_t chunk = 256 / across * CHUNK_ROWS, chunks = (rows + chunk - 1) / chunk;
    if (chunks > MOST_CHUNKS) chunks = MOST_CHUNKS;
    return chunks * 2 * d->block * (int64_t)sizeof(float);
}

static void input_info(const lk_op_desc *d, lk_op_info *info) {
    start(d, info, d->x.c, d->x.h, d->x.w, block_of(d->x.c, d->compute));
    info->workspace_bytes = lk_act_bytes(&d->x);
    info->flops_forward = 3 * (double)lk_act_count(&info->y);
    info->bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y));
}

static int64_t out_size(int64_t size, int64_t kernel, int64_t pad_less, const lk_op_desc *d) {
    return (size + 2 * d->conv.pad - pad_less - d->conv.dilation * (kernel - 1) - 1) / d->conv.stride + 1;
}

/* Channels as the library sees them: padding counts but where groups of several channels lie side by side. */
typedef struct conv_size {
    int64_t c, k, group, y_block, weights;
} conv_size;

static conv_size size_of(const lk_op_desc *d) {
    conv_size s = {.c = d->x.c, .k = d->conv.out_channels, .group = d->x.c / d->conv.groups};
    bool depthwise = d->conv.groups == d->x.c && d->conv.groups > 1;
    s.y_block = depthwise ? s.k / s.c * d->x.block : block_of(s.k, d->compute);
    if (depthwise || d->conv.groups == 1) {
        s.c = d->x.block;
        s.k = s.y_block;
    }
    s.weights = s.k * d->conv.kernel_h * d->conv.kernel_w * (depthwise ? 1 : s.c / d->conv.groups);
    return s;
}

/* Does the device run it by own kernels? They read float32 weights. Partial sums of the weight gradient, which are few,
 * are left out. */
static bool is_own_depthwise(const lk_op_desc *d) {
    return d->conv.groups > 1 && d->conv.groups == d->x.c && d->conv.out_channels == d->x.c &&
           (d->conv.kernel_h == 3 || d->conv.kernel_h == 5) && d->conv.kernel_w == d->conv.kernel_h &&
           (d->conv.stride == 1 || d->conv.stride == 2) && d->conv.dilation == 1 && d->conv.pad < d->conv.kernel_h;
}

static void own_depthwise(const lk_op_desc *d, lk_op_info *info, double flops) {
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y);
    double weights = (double)info->params[0].stored_count * sizeof(float);
    info->derived_bytes = 0;
    info->launches_refresh = 0;
    lk_op_info_launch(info, false, "convolution", x + y + weights, flops);
    if (d->conv.bias) lk_op_info_launch(info, false, "bias", 2 * y, 0);
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:depthwise");
    if (!d->training) return;
    bool trained = !d->frozen;
    if (trained) lk_op_info_launch(info, true, "weight gradient", x + y, flops);
    if (trained && d->conv.bias) lk_op_info_launch(info, true, "bias gradient", y, 0);
    if (d->need_dx) lk_op_info_launch(info, true, "data gradient", x + y + weights, flops);
    info->unfinished_bytes = 0;
    info->bytes_finish = trained * weights;
    if (trained) memcpy(info->impl_dw, info->impl_forward, sizeof info->impl_dw);
    memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

#define MOST_PRODUCT_WEIGHTS (1 << 20)

/* Is it a product of matrices by own kernels, one launch a pass? */
static bool is_own_product(const lk_op_desc *d, int64_t weights) {
    return d->x.h == 1 && d->x.w == 1 && d->conv.kernel_h == 1 && d->conv.kernel_w == 1 && d->conv.groups == 1 &&
           d->conv.pad == 0 && weights <= MOST_PRODUCT_WEIGHTS;
}

/* Does the backward pass of BATCHNORM need sums over a channel? */
static bool has_sums(const lk_op_desc *d) { return !d->batchnorm.fixed || !d->frozen; }

bool lk_described_fuses(const lk_op_desc *desc) {
    if (desc->kind == LK_OP_BATCHNORM && !(desc->training && !desc->batchnorm.residual && has_sums(desc))) return false;
    if (desc->kind == LK_OP_BATCHNORM && desc->batchnorm.pool.kernel > 0)
        return desc->batchnorm.pool.kernel == 3 && desc->batchnorm.pool.stride == 2 && desc->batchnorm.pool.pad == 1 &&
               !desc->batchnorm.fixed && !desc->batchnorm.mean_dy;
    if (desc->kind == LK_OP_BATCHNORM) return true;
    if (desc->kind != LK_OP_CONV2D) return false;
    lk_op_desc d = *desc;
    d.x.block = block_of(d.x.c, d.compute);
    return is_own_product(&d, size_of(&d).weights);
}

static void own_product(const lk_op_desc *d, lk_op_info *info, double bytes, double flops) {
    info->workspace_bytes = info->unfinished_bytes = 0;
    info->bytes_finish = 0;
    info->launches_forward = 1;
    if (d->conv.act != LK_ACT_NONE && d->training) info->stash_bytes = lk_act_count(&info->y) * (int64_t)sizeof(float);
    info->flops_forward = flops;
    info->bytes_forward = bytes + (double)info->stash_bytes;
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:product");
    if (!d->training) return;
    info->launches_backward = d->need_dx || !d->frozen;
    info->flops_backward = (d->need_dx + !d->frozen) * flops;
    info->bytes_backward = (d->need_dx + !d->frozen) * info->bytes_forward;
    if (!d->frozen) memcpy(info->impl_dw, info->impl_forward, sizeof info->impl_dw);
    memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
}

/* Of the library's passes. */
static void list_launches(const lk_op_desc *d, lk_op_info *info, double bytes, double flops, bool gaps) {
    bool trained = d->training && !d->frozen, wants_dx = d->training && d->need_dx;
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y);
    if (gaps) lk_op_info_launch(info, false, "zeros", y, 0);
    lk_op_info_launch(info, false, "convolution", bytes, flops);
    if (d->conv.bias) lk_op_info_launch(info, false, "bias", 2 * y, 0);
    if (trained) lk_op_info_launch(info, true, "weight gradient", bytes, flops);
    if (trained && d->conv.bias) lk_op_info_launch(info, true, "bias gradient", y, 0);
    if (wants_dx && gaps) lk_op_info_launch(info, true, "zeros", x, 0);
    if (wants_dx) lk_op_info_launch(info, true, "data gradient", bytes, flops);
}

static void conv_info(const lk_op_desc *d, lk_op_info *info) {
    conv_size s = size_of(d);
    bool shorter = d->compute != LK_F32, gaps = s.c != d->x.block || s.k != s.y_block;
    int64_t out = d->conv.out_channels, area = d->conv.kernel_h * d->conv.kernel_w;
    start(d, info, out, out_size(d->x.h, d->conv.kernel_h, d->conv.pad_less_top, d),
          out_size(d->x.w, d->conv.kernel_w, d->conv.pad_less_left, d), s.y_block);
    lk_shape shape = lk_shape_of(4, out, s.group, d->conv.kernel_h, d->conv.kernel_w);
    info->param_count = d->conv.bias ? 2 : 1;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, shape, s.weights};
    if (d->conv.bias) info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, out), out};
    bool trained = d->training && !d->frozen;
    info->keeps_x = trained;
    if (shorter) info->derived_bytes = s.weights * 2;
    if (shorter && trained) {
        info->unfinished_bytes = s.weights * 2; /* the weight gradient of a layer in a 16-bit type is widened */
        info->bytes_finish = (double)s.weights * 6;
    }
    info->workspace_bytes = LIBRARY_ALIGNMENT + (trained && d->conv.bias ? partial_bytes(&info->y) : 0);
    double bytes = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&info->y) + s.weights * (shorter ? 2 : 4));
    double flops = 2.0 * (double)lk_act_count(&info->y) * (double)(s.group * area);
    info->launches_forward = info->launches_backward = 0; /* listed */
    info->launches_refresh = shorter;
    snprintf(info->impl_forward, sizeof info->impl_forward, "cudnn");
    snprintf(info->impl_dx, sizeof info->impl_dx, "%s", d->training && d->need_dx ? "cudnn" : "");
    snprintf(info->impl_dw, sizeof info->impl_dw, "%s", !trained ? "" : shorter ? "cudnn in 16 bits" : "cudnn");
    if (is_own_depthwise(d))
        own_depthwise(d, info, flops);
    else if (is_own_product(d, s.weights))
        own_product(d, info, bytes, flops);
    else
        list_launches(d, info, bytes, flops, gaps);
}

static void batchnorm_info(const lk_op_desc *d, lk_op_info *info) {
    double bytes = (double)lk_act_bytes(&d->x), count = (double)lk_act_count(&d->x);
    int64_t mask_bytes = lk_act_count(&d->x) / lanes_of(d->x.dtype);
    bool pooled = d->batchnorm.pool.kernel > 0;
    start(d, info, d->x.c, pooled ? (d->x.h + 1) / 2 : d->x.h, pooled ? (d->x.w + 1) / 2 : d->x.w, d->x.block);
    info->param_count = 2;
    info->params[0] = (lk_param_info){LK_PARAM_GAMMA, lk_shape_of(1, d->x.c), d->x.c};
    info->params[1] = (lk_param_info){LK_PARAM_BETA, lk_shape_of(1, d->x.c), d->x.c};
    info->stats_count = 2 * d->x.c;
    bool measured = d->training && !d->batchnorm.fixed, back = lk_op_has_backward(d);
    info->flops_forward = (measured ? 7 : 3) * count;
    info->bytes_forward = bytes * (2 + measured + d->batchnorm.residual);
    info->launches_forward = 1;
    if (!d->training) return;
    bool mask = back && d->batchnorm.residual && d->batchnorm.act == LK_ACT_RELU;
    info->stash_bytes = aligned(4 * d->x.block * (int64_t)sizeof(float)) + (mask ? mask_bytes : 0);
    info->workspace_bytes = aligned(partial_bytes(&d->x)) + 2 * d->x.block * (int64_t)sizeof(float);
    info->bytes_forward += mask ? (double)mask_bytes : 0;
    info->bytes_again = measured && !pooled ? 2 * bytes : 0;
    double index = pooled && back ? (double)lk_act_count(&info->y) : 0;
    info->stash_bytes += (int64_t)index;
    if (pooled) info->bytes_forward = 2 * bytes + (double)lk_act_bytes(&info->y) + index;
    if (!back) return;
    bool sums = has_sums(d), derivative = d->batchnorm.act != LK_ACT_NONE && !mask;
    int walks = sums + (d->need_dx || d->batchnorm.residual);
    info->keeps_x = sums || derivative;
    info->keeps_residual = d->batchnorm.residual && derivative;
    info->flops_backward = (sums ? 10 : 2) * count;
    double read = bytes * (info->keeps_x + info->keeps_residual) + (double)lk_op_dy_bytes(d, &info->y) + index;
    info->bytes_backward =
        read * walks + bytes * (d->need_dx + d->batchnorm.residual) + (mask ? (double)mask_bytes * 2 : 0);
    info->launches_backward = walks > 0;
}

/* ACTIVATION and ADD. */
static void pointwise_info(const lk_op_desc *d, lk_op_info *info) {
    bool add = d->kind == LK_OP_ADD;
    lk_act act = add ? d->add.act : d->activation.act;
    bool from_y = lk_act_invertible(act) && (act != LK_ACT_SIGMOID || d->x.dtype == LK_F32);
    double bytes = (double)lk_act_bytes(&d->x), count = (double)lk_act_count(&d->x);
    start(d, info, d->x.c, d->x.h, d->x.w, d->x.block);
    info->keeps_y = d->training && act != LK_ACT_NONE && from_y;
    info->keeps_x = d->training && !from_y;
    info->keeps_residual = info->keeps_x && add;
    info->flops_forward = (1 + add) * count;
    info->bytes_forward = bytes * (2 + add);
    if (!d->training) return;
    info->flops_backward = count;
    info->bytes_backward = bytes * (1 + d->dy_count + add + info->keeps_y + info->keeps_x + info->keeps_residual);
}

static void scale_info(const lk_op_desc *d, lk_op_info *info) {
    double bytes = (double)lk_act_bytes(&d->x), gate = (double)lk_act_bytes(&d->scale.gate);
    start(d, info, d->x.c, d->x.h, d->x.w, d->x.block);
    info->keeps_x = info->keeps_residual = d->training;
    info->flops_forward = (double)lk_act_count(&d->x);
    info->bytes_forward = 2 * bytes + gate;
    if (!d->training) return;
    info->flops_backward = 3 * info->flops_forward;
    info->bytes_backward = (1 + d->dy_count + d->need_dx) * bytes + 2 * gate;
}

static void dropout_info(const lk_op_desc *d, lk_op_info *info) {
    double bytes = (double)lk_act_bytes(&d->x);
    start(d, info, d->x.c, d->x.h, d->x.w, d->x.block);
    info->flops_forward = (double)lk_act_count(&d->x);
    info->bytes_forward = 2 * bytes;
    if (!lk_op_has_backward(d)) return;
    info->flops_backward = info->flops_forward;
    info->bytes_backward = bytes * (1 + d->dy_count);
    info->launches_backward = d->need_dx;
}

static void pool_info(const lk_op_desc *d, lk_op_info *info) {
    bool maximum = d->kind == LK_OP_MAXPOOL;
    int64_t kernel = d->maxpool.kernel, stride = d->maxpool.stride, pad = d->maxpool.pad;
    int64_t h = maximum ? (d->x.h + 2 * pad - kernel) / stride + 1 : 1;
    int64_t w = maximum ? (d->x.w + 2 * pad - kernel) / stride + 1 : 1;
    start(d, info, d->x.c, h, w, d->x.block);
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y), out = (double)lk_act_count(&info->y);
    double index = maximum && d->training ? out : 0;
    info->flops_forward = maximum ? out * (double)(kernel * kernel) : (double)lk_act_count(&d->x);
    info->bytes_forward = x + y + index;
    if (!d->training) return;
    info->stash_bytes = (int64_t)index;
    info->flops_backward = maximum ? out : info->flops_forward;
    info->bytes_backward = x + d->dy_count * y + index;
    info->launches_backward = d->need_dx;
}

static void linear_info(const lk_op_desc *d, lk_op_info *info) {
    int64_t in = d->x.block, out = block_of(d->linear.out_features, d->compute);
    int64_t size = (int64_t)lk_dtype_size(d->x.dtype);
    start(d, info, d->linear.out_features, 1, 1, out);
    info->param_count = 2;
    info->params[0] = (lk_param_info){LK_PARAM_WEIGHT, lk_shape_of(2, d->linear.out_features, d->x.c), out * in};
    info->params[1] = (lk_param_info){LK_PARAM_BIAS, lk_shape_of(1, d->linear.out_features), out};
    bool trained = d->training && !d->frozen;
    info->keeps_x = trained;
    if (d->x.dtype != LK_F32) info->derived_bytes = aligned(out * in * 2) + out * 2;
    info->workspace_bytes = LIBRARY_ALIGNMENT + (trained ? partial_bytes(&info->y) : 0);
    double y = (double)lk_act_bytes(&info->y), bytes = (double)(lk_act_bytes(&d->x) + out * in * size) + y;
    double flops = 2.0 * (double)d->x.n * (double)(out * in);
    info->launches_forward = info->launches_backward = 0; /* listed */
    lk_op_info_launch(info, false, "product", bytes, flops);
    if (trained) lk_op_info_launch(info, true, "weight gradient", bytes, flops);
    if (trained) lk_op_info_launch(info, true, "bias gradient", y, 0);
    if (d->training && d->need_dx) lk_op_info_launch(info, true, "data gradient", bytes, flops);
    info->launches_refresh = info->derived_bytes > 0 ? 2 : 0;
    snprintf(info->impl_forward, sizeof info->impl_forward, "cublaslt");
    snprintf(info->impl_dx, sizeof info->impl_dx, "%s", d->training && d->need_dx ? "cublaslt" : "");
    snprintf(info->impl_dw, sizeof info->impl_dw, "%s", trained ? "cublaslt" : "");
}

static void loss_info(const lk_op_desc *d, lk_op_info *info) {
    double count = (double)lk_act_count(&d->x), bytes = (double)lk_act_bytes(&d->x);
    bool counting = d->training && d->loss.f1 > 0 && d->loss.f1_microbatch;
    start(d, info, 1, 1, 1, 1);
    info->y.dtype = LK_F32;
    info->workspace_bytes = counting ? aligned(d->x.n * 8) + 3 * d->x.c * 8 : 0;
    info->keeps_x = d->training;
    info->launches_forward = info->launches_backward = 0; /* listed */
    for (int backward = 0; backward < (d->training && d->need_dx ? 2 : 1); backward++) {
        if (counting) lk_op_info_launch(info, backward, "sums of rows", bytes, count);
        if (counting) lk_op_info_launch(info, backward, "soft counts", bytes, count);
        lk_op_info_launch(info, backward, "loss", backward ? 2 * bytes : bytes, (backward ? 5 : 4) * count);
    }
}

void lk_described_info(const lk_op_desc *desc, lk_op_info *info) {
    switch (desc->kind) {
        case LK_OP_INPUT: input_info(desc, info); break;
        case LK_OP_CONV2D: conv_info(desc, info); break;
        case LK_OP_BATCHNORM: batchnorm_info(desc, info); break;
        case LK_OP_SCALE: scale_info(desc, info); break;
        case LK_OP_DROPOUT: dropout_info(desc, info); break;
        case LK_OP_MAXPOOL:
        case LK_OP_GLOBAL_AVGPOOL: pool_info(desc, info); break;
        case LK_OP_LINEAR: linear_info(desc, info); break;
        case LK_OP_LOSS: loss_info(desc, info); break;
        default: pointwise_info(desc, info); break;
    }
}
