/* The one list of ops. Devices, the plan, the op cases and the documentation are generated from it or
 * checked against it. An op is described (lk_op_desc), planned once for given shapes (lk_op), bound to
 * memory once per lane (lk_call), then run without allocation or decision. */
#ifndef LK_DEVICE_OPS_H
#define LK_DEVICE_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/tensor.h"
#include "device/group.h"
#include "device/loss.h"

/* X(name in enum, text, inputs, what it does) */
#define LK_OP_LIST(X)                                                                                        \
    X(INPUT, "input", 1, "uint8 NHWC pixels -> (x/255 - mean) / std in the device's layout, samples mixed")  \
    X(CONV2D, "conv2d", 1, "2-D convolution, groups, optional bias, fused activation on some devices")       \
    X(BATCHNORM, "batchnorm", 1, "batch normalisation of one microbatch, fused residual add and activation") \
    X(ACTIVATION, "activation", 1, "pointwise activation")                                                   \
    X(ADD, "add", 2, "sum of two tensors, fused activation")                                                 \
    X(SCALE, "scale", 2, "tensor times a gate of one number per sample and channel")                         \
    X(DROPOUT, "dropout", 1, "elements dropped at random in training, the rest scaled up")                   \
    X(MAXPOOL, "maxpool", 1, "maximum pooling")                                                              \
    X(GLOBAL_AVGPOOL, "global_avgpool", 1, "mean over height and width")                                     \
    X(LINEAR, "linear", 1, "fully connected layer with bias")                                                \
    X(LOSS, "loss", 1, "cross-entropy, focal loss and soft macro-F1, a loss per sample")

typedef enum lk_op_kind {
#define X(name, text, inputs, help) LK_OP_##name,
    LK_OP_LIST(X)
#undef X
        LK_OP_COUNT
} lk_op_kind;

/* "conv2d", ...; static. */
const char *lk_op_kind_name(lk_op_kind kind);

/* X(name in enum, text, what it is). Source: the torch.nn.functional function of that name; SILU: Elfwing et al. 2017,
 * "Sigmoid-weighted linear units"; HARD_*: Howard et al. 2019, "Searching for MobileNetV3", section 5.2. */
#define LK_ACT_LIST(X)                                \
    X(NONE, "none", "x")                              \
    X(RELU, "relu", "max(x, 0)")                      \
    X(RELU6, "relu6", "min(max(x, 0), 6)")            \
    X(SILU, "silu", "x sigmoid(x)")                   \
    X(HARD_SWISH, "hard_swish", "x relu6(x + 3) / 6") \
    X(SIGMOID, "sigmoid", "1 / (1 + exp(-x))")        \
    X(HARD_SIGMOID, "hard_sigmoid", "relu6(x + 3) / 6")

typedef enum lk_act {
#define X(name, text, help) LK_ACT_##name,
    LK_ACT_LIST(X)
#undef X
        LK_ACT_COUNT
} lk_act;

/* "none", "relu", ...; static. */
const char *lk_act_name(lk_act act);

/* Does the activation's derivative follow from its value? Else backward needs what went into it. */
static inline bool lk_act_invertible(lk_act act) { return act != LK_ACT_SILU && act != LK_ACT_HARD_SWISH; }

/* The passes of an op whose implementations a device chooses. */
typedef enum lk_op_pass { LK_PASS_FORWARD, LK_PASS_DATA, LK_PASS_WEIGHT, LK_PASS_COUNT } lk_op_pass;

/* "forward", "data", "weight": of the gradients of x and of the weights; static. */
const char *lk_op_pass_name(lk_op_pass pass);

#define LK_CHOICE_SIZE 512 /* bytes of the text that names a choice, the final zero included */

/* An activation tensor: logical N x C x H x W; element (n, c, y, x) lies at
 *   ((n * CB + c / block) * H * W + y * W + x) * block + c % block,  CB = ceil(c / block).
 * block 1 is NCHW, block = C is NHWC, 8 and 16 are the blocked layouts of CPU libraries. Channels
 * between C and CB * block are padding: zero from the start, and every op keeps them zero. */
typedef struct lk_act_desc {
    lk_dtype dtype;
    int64_t n, c, h, w;
    int64_t block;
} lk_act_desc;

/* Elements, channel padding included. */
static inline int64_t lk_act_count(const lk_act_desc *d) {
    return d->n * ((d->c + d->block - 1) / d->block) * d->block * d->h * d->w;
}

/* Bytes, channel padding included. */
static inline int64_t lk_act_bytes(const lk_act_desc *d) { return lk_act_count(d) * (int64_t)lk_dtype_size(d->dtype); }

/* Element index of (n, c, y, x). */
static inline int64_t lk_act_index(const lk_act_desc *d, int64_t n, int64_t c, int64_t y, int64_t x) {
    int64_t blocks = (d->c + d->block - 1) / d->block;
    return ((n * blocks + c / d->block) * d->h * d->w + y * d->w + x) * d->block + c % d->block;
}

#define LK_MAX_CHANNELS_IN 4 /* of an image */
#define LK_OP_MAX_PARAMS 2   /* weight or gamma, bias or beta */

typedef struct lk_op_desc {
    lk_op_kind kind;
    bool training;    /* plan the backward pass too; BATCHNORM: use the microbatch's statistics */
    bool need_dx;     /* training: the gradient of x is wanted (false for the first convolution) */
    bool frozen;      /* training: the gradients of the parameters are not wanted, nor written */
    int dy_count;     /* training: how many gradient tensors arrive at y, 1 or 2 (summed dy[0] + dy[1] as read;
                         2 only where lk_device.takes_two_dy says so); BATCHNORM, DROPOUT: 0 where the forward pass is
                         that of training and no backward pass follows (lk_op_has_backward) */
    lk_act_desc x;    /* the first input, layout as its producer chose. INPUT: U8, block = c (NHWC) */
    lk_dtype compute; /* dtype of y wanted */
    bool tf32;        /* float32: CONV2D and LINEAR may multiply in LK_TF32 */
    /* Which of the graph's layers that draw random numbers this is, from 0: part of the key of a draw (lk_run). */
    uint32_t layer;
    /* A plan of the same layer whose stored parameter layout must be kept (tails, evaluation), or NULL. */
    const struct lk_op *like;
    /* LK_PASS_COUNT texts of the lk_op_info.chosen of an earlier plan, to be taken again ("": the device's rule), or
     * NULL. Read while planning only. */
    const char *const *chosen;
    union {
        struct {
            float mean[LK_MAX_CHANNELS_IN], std[LK_MAX_CHANNELS_IN];
        } input;
        struct {
            int64_t out_channels, kernel_h, kernel_w, stride, pad, dilation, groups;
            bool bias;
            lk_act act; /* y = act(convolution + bias); other than NONE only where lk_device.fuses says so */
            /* Rows and columns less than `pad` at the top and on the left: TensorFlow's 'SAME' pads more at the ends.
             */
            int64_t pad_less_top, pad_less_left;
        } conv;
        struct {
            double eps;
            lk_act act;
            bool residual;
            int group;  /* training: how many leaves at most normalise together (lk_run.group); 0 or 1: each alone */
            bool fixed; /* training: normalise with lk_run.running, which stays as it is; group counts for nothing */
            double drop_path; /* in [0, 1), with a residual: the share of samples whose `keep` is 0 in training */
            /* Training: the last gradient that arrives is not one of y but of its mean over each sample's pixels,
             * n x c x 1 x 1 (lk_op_dy_desc); every pixel has its share of it. Only where lk_device.fuses says so. */
            bool mean_dy;
            /* Training: y is the maximum pooling of that, as MAXPOOL has it; kernel 0: it is not. Only where
             * lk_device.fuses says so. */
            struct {
                int64_t kernel, stride, pad;
            } pool;
        } batchnorm; /* y = act(keep * (gamma * (x-mean)/sqrt(var+eps) + beta) + residual), keep = 1 / (1 - drop_path).
                        Source: Huang et al. 2016, "Deep networks with stochastic depth", as timm's drop_path scales it
                      */
        struct {
            lk_act act;
        } activation;
        struct {
            lk_act act;
        } add; /* y = act(x + residual) */
        struct {
            lk_act_desc gate; /* the second input, n x c x 1 x 1 of the compute type: the plan fills it */
        } scale; /* y = x * gate; dresidual is the gradient of the gate. Source: Hu et al. 2018, "Squeeze-and-excitation
                    networks", equation 4 */
        struct {
            double rate; /* in [0, 1) */
        } dropout; /* training: y = x / (1 - rate), or 0 with probability `rate`; evaluation: y = x. Source: Srivastava
                      et al. 2014, scaled as torch.nn.Dropout */
        struct {
            int64_t kernel, stride, pad;
        } maxpool;
        struct {
            int64_t out_features;
        } linear;
        lk_loss_config loss; /* what its arrays point to must outlive the op */
    };
} lk_op_desc;

/* Is a backward pass planned? Pure. */
static inline bool lk_op_has_backward(const lk_op_desc *d) {
    bool may_end = d->kind == LK_OP_BATCHNORM || d->kind == LK_OP_DROPOUT;
    return d->training && d->kind != LK_OP_INPUT && (!may_end || d->dy_count > 0);
}

/* Does the op read a second input? */
static inline bool lk_op_takes_residual(const lk_op_desc *d) {
    return d->kind == LK_OP_ADD || d->kind == LK_OP_SCALE || (d->kind == LK_OP_BATCHNORM && d->batchnorm.residual);
}

/* Descriptor of the k-th gradient that arrives at the output y. Pure. */
static inline lk_act_desc lk_op_dy_desc(const lk_op_desc *d, const lk_act_desc *y, int k) {
    lk_act_desc dy = *y;
    if (d->kind == LK_OP_BATCHNORM && d->batchnorm.mean_dy && k == d->dy_count - 1) dy.h = dy.w = 1;
    return dy;
}

/* Bytes of all gradients that arrive at y. Pure. */
static inline int64_t lk_op_dy_bytes(const lk_op_desc *d, const lk_act_desc *y) {
    int64_t bytes = 0;
    for (int k = 0; k < d->dy_count; k++) {
        lk_act_desc dy = lk_op_dy_desc(d, y, k);
        bytes += lk_act_bytes(&dy);
    }
    return bytes;
}

typedef enum lk_param_role { LK_PARAM_WEIGHT, LK_PARAM_BIAS, LK_PARAM_GAMMA, LK_PARAM_BETA } lk_param_role;

typedef struct lk_param_info {
    lk_param_role role;
    lk_shape shape;       /* logical: O x I/groups x H x W, O x I, or C */
    int64_t stored_count; /* elements in the slab, layout padding included */
} lk_param_info;

/* One launch of a pass. Unit: its operands once, read or written; a multiply and an add are two. */
typedef struct lk_op_launch {
    const char *what; /* "data gradient"; static */
    double bytes, flops;
} lk_op_launch;

#define LK_OP_LAUNCHES 5 /* of a pass that says what each of its launches is */

/* What planning decided. */
typedef struct lk_op_info {
    lk_act_desc y; /* output with the layout chosen. The gradient of x always has x's descriptor,
                      the gradient of y has y's. LOSS: y is the loss, n x 1, master dtype. */
    int param_count;
    lk_param_info params[LK_OP_MAX_PARAMS];
    int64_t stats_count;      /* BATCHNORM: 2 * C elements (mean, then variance), master dtype; else 0 */
    int64_t derived_bytes;    /* copies of the parameters in other layouts or types, rewritten after each update */
    int64_t stash_bytes;      /* kept from forward to backward */
    int64_t workspace_bytes;  /* scratch of either pass */
    int64_t unfinished_bytes; /* the weight's gradient as backward leaves it until lk_device.finish_gradients, in
                                 shorter numbers or in parts; 0: backward writes it whole */
    int64_t run_bytes;        /* device memory that lk_device.prepare describes, other for every microbatch */
    bool keeps_x, keeps_y, keeps_residual; /* backward reads x, y, the second input */
    double flops_forward, flops_backward;  /* multiply and add are two */
    double bytes_forward, bytes_backward;  /* read + written: an operand counts as often as it is walked over */
    /* Kernels, library calls and fills that a pass enqueues, and a rewriting of the derived parameters of this op alone
     * (lk_plan_refresh gathers them all); copies from the host aside. 0 on devices of the host. */
    int launches_forward, launches_backward, launches_refresh;
    /* The launches of passes that have several, in order; their sums stand above. what NULL: there are no more. */
    lk_op_launch parts_forward[LK_OP_LAUNCHES], parts_backward[LK_OP_LAUNCHES];
    double bytes_finish; /* read + written by lk_device.finish_gradients for this op; 0: it leaves nothing */
    double bytes_again;  /* of lk_device.again where it is less than forward's; 0: all that forward does */
    char impl_forward[48], impl_dx[48], impl_dw[48]; /* implementation names, "" where there is none */
    /* What was chosen among several for each pass, all of it, as printable ASCII that lk_op_desc.chosen takes; "" where
     * there is no choice. */
    char chosen[LK_PASS_COUNT][LK_CHOICE_SIZE];
} lk_op_info;

/* Adds a launch to a pass, and to the pass's sums: at most LK_OP_LAUNCHES of one. */
static inline void lk_op_info_launch(lk_op_info *info, bool backward, const char *what, double bytes, double flops) {
    int *count = backward ? &info->launches_backward : &info->launches_forward;
    (backward ? info->parts_backward : info->parts_forward)[(*count)++] = (lk_op_launch){what, bytes, flops};
    *(backward ? &info->bytes_backward : &info->bytes_forward) += bytes;
    *(backward ? &info->flops_backward : &info->flops_forward) += flops;
}

/* Fixed addresses of one lane, and offsets into slabs that are given at run time. */
typedef struct lk_op_buffers {
    const void *x;        /* NULL for INPUT: taken from lk_run.images */
    const void *residual; /* BATCHNORM with residual, ADD: same descriptor as y; SCALE: the gate */
    void *y;
    const void *dy[2];
    void *dx;        /* written, never added to */
    void *dresidual; /* written; may alias dy[0] (never dy[1]); SCALE: an own tensor, NULL where it is not wanted */
    void *stash;
    void *workspace;                        /* shared by all ops of a lane */
    void *unfinished;                       /* unfinished_bytes, this op's until finish_gradients is done */
    const void *run_data;                   /* run_bytes, aligned to 64 bytes */
    int64_t param_offset[LK_OP_MAX_PARAMS]; /* elements into lk_run.params and lk_run.grads */
    int64_t stats_offset;                   /* elements into lk_run.stats */
    int64_t derived_offset;                 /* bytes into lk_run.derived */
} lk_op_buffers;

/* What changes from microbatch to microbatch. Slabs are device memory in the master dtype; images, labels, counts and
 * all about mixing are host memory, and may change once the pass has returned; images of lk_device.host_alloc once all
 * that the pass enqueued is done. */
typedef struct lk_run {
    const void *params;
    const void *derived;
    void *grads;           /* this leaf's gradient slab: written, not added to */
    void *stats;           /* training: written with (mean, biased variance), a group's with those of the group, but for
                              fixed statistics; evaluation: running statistics, read */
    const void *running;   /* training: running statistics, read by a BATCHNORM with fixed ones */
    const uint8_t *images; /* N x H x W x C uint8 */
    /* The same pixels in the memory of a device without host_memory, whole when its stream comes to the pass; NULL: the
     * pass copies `images`. */
    const void *device_images;
    const int32_t *labels; /* N; rows at `rows` and after are padding and give loss 0, gradient 0 */
    int64_t rows;          /* valid samples of this microbatch, <= N; only evaluation pads */
    double loss_scale;     /* d(total loss) / d(loss of one sample): 1 / samples in the window */
    double weight_scale;   /* read with class weights only: samples / sum of their weights, over the window */
    /* Read with an F1 term over the window only, in backward: 3 K soft counts (device/loss.h) of the window's samples,
     * and how many samples they are. NULL where backward will not run. */
    const double *f1_counts;
    int64_t f1_samples;
    /* Mixed samples (mixup, cutmix), or NULL: N each; partner[i] is a row of this microbatch. INPUT gives
     * pixel_share[i] * x_i + (1 - pixel_share[i]) * x_partner of the normalised values; the loss takes label_share[i]
     * of the row's own target and the rest of its partner's. Source: Zhang et al. 2018, "mixup", equation 1. */
    const int32_t *partner;
    const float *pixel_share, *label_share;
    /* Key of the random draws of DROPOUT and drop_path: they depend on nothing else, so that lanes and ranks do not
     * matter and a pass that is run again draws the same. Row i stands at first_position + i of the epoch's order. */
    uint64_t seed;
    uint32_t epoch;
    int64_t first_position;
    /* BATCHNORM of a group: the leaves that normalise together. All run at once; their passes meet at each such op. */
    const lk_leaf_group *group;
} lk_run;

/* Is this element of row `row` dropped? DROPOUT: `element` counts the row's `elements` in NCHW order; drop_path: 0
 * of 1. Pure. */
bool lk_run_drops(const lk_run *run, uint32_t layer, int64_t row, int64_t elements, int64_t element, double rate);

/* Has every valid row of a loss over logits x a label among its classes, and where rows are mixed a partner among the
 * rows and a share in [0, 1]? What is wrong comes from a data set (LK_ERR_DATA) or from the caller (LK_ERR_INTERNAL).
 */
LK_MUST_CHECK lk_status lk_run_check_labels(const lk_run *run, const lk_act_desc *x, lk_error *err);
/* The label of a checked row. Pure. */
lk_loss_label lk_run_label(const lk_run *run, int64_t row);

#endif
