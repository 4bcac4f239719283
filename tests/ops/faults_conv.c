/* Faults of convolution and of the linear layer, which is one over a single pixel. */
#include <string.h>

#include "core/memory.h"
#include "fault.h"

typedef enum way {
    STRIDE,     /* stride 1 */
    PAD,        /* padding of one less on the left and top */
    SYMMETRIC,  /* as much padding at the top and on the left as at the ends */
    REPLICATED, /* padding repeats the border instead of being zero */
    DILATION,   /* dilation 1 */
    GROUPS,     /* every group reads the first one's channels */
    FLIPPED,    /* the kernel is turned by 180 degrees: true convolution */
    SWAPPED,    /* kernel rows and columns are exchanged */
    NO_BIAS,
    BIAS_TWICE,
    LAST_CHANNEL, /* the last input channel is left out */
    LAST_SAMPLE,  /* the last sample is left out of a sum over samples */
    OUTPUTS,      /* output channels in reverse order */
    TRANSPOSED,   /* weights read as I x O */
    FIRST_PIXEL,  /* a sum over pixels takes the first only */
    NO_ACT        /* the activation, or its derivative, is left out */
} way;

/* Does this way change anything for the case? */
static bool matters(const op_fault_site *s, way how) {
    const lk_op_desc *d = &s->desc;
    bool linear = d->kind == LK_OP_LINEAR, bias = linear || d->conv.bias;
    bool activated = !linear && d->conv.act != LK_ACT_NONE;
    if (activated != (how == NO_ACT)) return false; /* what is broken must not show by the activation alone */
    bool spatial = !linear && d->conv.kernel_h * d->conv.kernel_w > 1;
    switch (how) {
        case STRIDE: return !linear && d->conv.stride > 1 && s->info.y.h * s->info.y.w > 1;
        case PAD:
        case REPLICATED: return !linear && d->conv.pad > 0;
        case SYMMETRIC: return !linear && d->conv.pad_less_top + d->conv.pad_less_left > 0;
        case DILATION: return spatial && d->conv.dilation > 1;
        case GROUPS: return !linear && d->conv.groups > 1;
        case FLIPPED: return spatial;
        case SWAPPED: return spatial && d->conv.kernel_h == d->conv.kernel_w;
        case NO_BIAS:
        case BIAS_TWICE: return bias;
        case OUTPUTS: return s->info.y.c > 1;
        case TRANSPOSED: return d->x.c == s->info.y.c && d->x.c > 1 && (linear || d->conv.groups == 1);
        case FIRST_PIXEL: return bias && s->info.y.h * s->info.y.w > 1;
        default: return true;
    }
}

typedef struct walk { /* sizes of a convolution; a linear layer is one of 1 x 1 */
    int64_t kh, kw, stride, pad_top, pad_left, dilation, groups, in, out;
} walk;

static walk walk_of(const op_fault_site *s, way how) {
    const lk_op_desc *d = &s->desc;
    walk w = {1, 1, 1, 0, 0, 1, 1, d->x.c, s->info.y.c};
    if (d->kind == LK_OP_CONV2D)
        w = (walk){d->conv.kernel_h,
                   d->conv.kernel_w,
                   d->conv.stride,
                   d->conv.pad - (how == SYMMETRIC ? 0 : d->conv.pad_less_top),
                   d->conv.pad - (how == SYMMETRIC ? 0 : d->conv.pad_less_left),
                   d->conv.dilation,
                   d->conv.groups,
                   d->x.c / d->conv.groups,
                   s->info.y.c / d->conv.groups};
    if (how == STRIDE) w.stride = 1;
    if (how == PAD) w.pad_top -= 1, w.pad_left -= 1;
    if (how == DILATION) w.dilation = 1;
    return w;
}

static int64_t clamp(int64_t v, int64_t size) { return v < 0 ? 0 : v >= size ? size - 1 : v; }

/* The input that weight (o, i, ky, kx) meets at an output pixel. */
static double input_at(const op_fault_site *s, const walk *w, way how, int64_t n, int64_t channel, int64_t y,
                       int64_t x) {
    const lk_act_desc *d = &s->desc.x;
    if (how == REPLICATED) return op_at(d, s->b.x, n, channel, clamp(y, d->h), clamp(x, d->w));
    if (y < 0 || y >= d->h || x < 0 || x >= d->w) return 0;
    if (how == LAST_CHANNEL && channel % w->in == w->in - 1) return 0;
    return op_at(d, s->b.x, n, channel, y, x);
}

static int64_t weight_index(const walk *w, way how, int64_t o, int64_t i, int64_t ky, int64_t kx) {
    if (how == FLIPPED) ky = w->kh - 1 - ky, kx = w->kw - 1 - kx;
    if (how == OUTPUTS) o = w->out * w->groups - 1 - o;
    if (how == TRANSPOSED) return ((i * w->in + o) * w->kh + ky) * w->kw + kx;
    if (how == SWAPPED) return ((o * w->in + i) * w->kh + kx) * w->kw + ky;
    return ((o * w->in + i) * w->kh + ky) * w->kw + kx;
}

static bool y_again(op_fault_site *s, int how) {
    if (!matters(s, how)) return false;
    const walk w = walk_of(s, how);
    double *weight = op_fault_param(s, 0), *bias = s->info.param_count > 1 ? op_fault_param(s, 1) : NULL;
    if (weight == NULL) return false;
    OP_FOR_EACH(&s->info.y, n, o, oy, ox) {
        double sum = bias == NULL || how == NO_BIAS ? 0 : how == BIAS_TWICE ? 2 * bias[o] : bias[o];
        int64_t group = how == GROUPS ? 0 : o / w.out;
        for (int64_t i = 0; i < w.in; i++)
            for (int64_t ky = 0; ky < w.kh; ky++)
                for (int64_t kx = 0; kx < w.kw; kx++)
                    sum += weight[weight_index(&w, how, o, i, ky, kx)] *
                           input_at(s, &w, how, n, group * w.in + i, oy * w.stride - w.pad_top + ky * w.dilation,
                                    ox * w.stride - w.pad_left + kx * w.dilation);
        op_set(&s->info.y, s->b.y, n, o, oy, ox, sum);
    }
    lk_free(weight);
    lk_free(bias);
    return true;
}

static bool weight_gradient_again(op_fault_site *s, int how) {
    if (!matters(s, how)) return false;
    const walk w = walk_of(s, how);
    int64_t count = op_fault_param_count(s, 0);
    double *sum = NULL;
    if (LK_NEW(&sum, count, "a gradient", NULL) != LK_OK) return false;
    OP_FOR_EACH(&s->info.y, n, o, oy, ox) {
        if (how == LAST_SAMPLE && n == s->info.y.n - 1) continue;
        double dy = op_fault_dy(s, n, o, oy, ox);
        int64_t group = how == GROUPS ? 0 : o / w.out;
        for (int64_t i = 0; i < w.in; i++)
            for (int64_t ky = 0; ky < w.kh; ky++)
                for (int64_t kx = 0; kx < w.kw; kx++)
                    sum[weight_index(&w, how, o, i, ky, kx)] +=
                        dy * input_at(s, &w, how, n, group * w.in + i, oy * w.stride - w.pad_top + ky * w.dilation,
                                      ox * w.stride - w.pad_left + kx * w.dilation);
    }
    bool done = op_fault_set_grad(s, 0, sum);
    lk_free(sum);
    return done;
}

static bool bias_gradient_again(op_fault_site *s, int how) {
    if (s->info.param_count < 2 || !matters(s, how)) return false;
    double *sum = NULL;
    if (LK_NEW(&sum, op_fault_param_count(s, 1), "a gradient", NULL) != LK_OK) return false;
    OP_FOR_EACH(&s->info.y, n, o, y, x) {
        if (how == LAST_SAMPLE && n == s->info.y.n - 1) continue;
        if (how == FIRST_PIXEL && (y > 0 || x > 0)) continue;
        sum[how == OUTPUTS ? s->info.y.c - 1 - o : o] += op_fault_dy(s, n, o, y, x);
    }
    bool done = op_fault_set_grad(s, 1, sum);
    lk_free(sum);
    return done;
}

static bool dx_again(op_fault_site *s, int how) {
    if (!s->desc.need_dx || !matters(s, how)) return false;
    const walk w = walk_of(s, how);
    const lk_act_desc *d = &s->desc.x;
    double *weight = op_fault_param(s, 0);
    if (weight == NULL) return false;
    OP_FOR_EACH(d, n, c, y, x) op_set(d, s->b.dx, n, c, y, x, 0);
    OP_FOR_EACH(&s->info.y, n, o, oy, ox)
    for (int64_t i = 0; i < w.in; i++)
        for (int64_t ky = 0; ky < w.kh; ky++)
            for (int64_t kx = 0; kx < w.kw; kx++) {
                int64_t y = oy * w.stride - w.pad_top + ky * w.dilation,
                        x = ox * w.stride - w.pad_left + kx * w.dilation;
                int64_t c = (how == GROUPS ? 0 : o / w.out) * w.in + i;
                if (how == REPLICATED) y = clamp(y, d->h), x = clamp(x, d->w);
                if (y < 0 || y >= d->h || x < 0 || x >= d->w) continue;
                double add = weight[weight_index(&w, how, o, i, ky, kx)] * op_fault_dy(s, n, o, oy, ox);
                op_set(d, s->b.dx, n, c, y, x, op_at(d, s->b.dx, n, c, y, x) + add);
            }
    lk_free(weight);
    return true;
}

const op_fault *op_faults_of_conv2d(int *count) {
    static const op_fault FAULTS[] = {
        {"the stride is ignored", STRIDE, .after_forward = y_again},
        {"the padding is one too small", PAD, .after_forward = y_again},
        {"the padding is symmetric", SYMMETRIC, .after_forward = y_again},
        {"the padding is not zero", REPLICATED, .after_forward = y_again},
        {"the dilation is ignored", DILATION, .after_forward = y_again},
        {"the groups are ignored", GROUPS, .after_forward = y_again},
        {"the kernel is flipped", FLIPPED, .after_forward = y_again},
        {"kernel rows and columns are exchanged", SWAPPED, .after_forward = y_again},
        {"weights are read as I x O", TRANSPOSED, .after_forward = y_again},
        {"the bias is left out", NO_BIAS, .after_forward = y_again},
        {"the bias is added twice", BIAS_TWICE, .after_forward = y_again},
        {"the last input channel is left out", LAST_CHANNEL, .after_forward = y_again},
        {"the activation is left out", NO_ACT, .after_forward = y_again},
        {"dx leaves out the activation's derivative", NO_ACT, .after_backward = dx_again},
        {"dweight leaves out the activation's derivative", NO_ACT, .after_backward = weight_gradient_again},
        {"dbias leaves out the activation's derivative", NO_ACT, .after_backward = bias_gradient_again},
        {"dx ignores the stride", STRIDE, .after_backward = dx_again},
        {"dx is off by one pixel", PAD, .after_backward = dx_again},
        {"dx takes the padding as symmetric", SYMMETRIC, .after_backward = dx_again},
        {"dx of the padding goes to the border", REPLICATED, .after_backward = dx_again},
        {"dx ignores the dilation", DILATION, .after_backward = dx_again},
        {"dx ignores the groups", GROUPS, .after_backward = dx_again},
        {"dx uses the kernel flipped", FLIPPED, .after_backward = dx_again},
        {"dx uses the weights as I x O", TRANSPOSED, .after_backward = dx_again},
        {"dweight ignores the stride", STRIDE, .after_backward = weight_gradient_again},
        {"dweight takes the padding as symmetric", SYMMETRIC, .after_backward = weight_gradient_again},
        {"dweight ignores the dilation", DILATION, .after_backward = weight_gradient_again},
        {"dweight ignores the groups", GROUPS, .after_backward = weight_gradient_again},
        {"dweight sees padding that is not zero", REPLICATED, .after_backward = weight_gradient_again},
        {"dweight is flipped", FLIPPED, .after_backward = weight_gradient_again},
        {"dweight has its output channels reversed", OUTPUTS, .after_backward = weight_gradient_again},
        {"dweight leaves out the last sample", LAST_SAMPLE, .after_backward = weight_gradient_again},
        {"dbias leaves out the last sample", LAST_SAMPLE, .after_backward = bias_gradient_again},
        {"dbias is summed over the samples only", FIRST_PIXEL, .after_backward = bias_gradient_again},
        {"dbias has its channels reversed", OUTPUTS, .after_backward = bias_gradient_again},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}

const op_fault *op_faults_of_linear(int *count) {
    static const op_fault FAULTS[] = {
        {"weights are read as I x O", TRANSPOSED, .after_forward = y_again},
        {"the bias is left out", NO_BIAS, .after_forward = y_again},
        {"the bias is added twice", BIAS_TWICE, .after_forward = y_again},
        {"the last feature is left out", LAST_CHANNEL, .after_forward = y_again},
        {"the outputs are reversed", OUTPUTS, .after_forward = y_again},
        {"dx uses the weights as I x O", TRANSPOSED, .after_backward = dx_again},
        {"dweight is transposed", TRANSPOSED, .after_backward = weight_gradient_again},
        {"dweight leaves out the last sample", LAST_SAMPLE, .after_backward = weight_gradient_again},
        {"dbias leaves out the last sample", LAST_SAMPLE, .after_backward = bias_gradient_again},
        {"dbias is reversed", OUTPUTS, .after_backward = bias_gradient_again},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
