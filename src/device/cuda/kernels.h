/* Launches of the own kernels: C declarations, defined in the .cu files. All enqueue on the stream and return a
 * cudaError_t. Activations are NHWC: rows of `block` channels, of which the first `channels` are real and the rest is
 * zero; block is a multiple of lk_cuda_lanes(type), so that a row is a whole number of 16-byte vectors.
 * Sums are taken over fixed chunks in a fixed order: the launch shape follows from the tensor's shape alone. */
#ifndef LK_DEVICE_CUDA_KERNELS_H
#define LK_DEVICE_CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/float_step.h"
#include "device/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lk_cuda_type { LK_CUDA_F32, LK_CUDA_BF16, LK_CUDA_F16 } lk_cuda_type;

/* Elements of a 16-byte vector. */
static inline int lk_cuda_lanes(lk_cuda_type type) { return type == LK_CUDA_F32 ? 4 : 8; }

/* rows x block elements. */
typedef struct lk_cuda_rows {
    lk_cuda_type type;
    int64_t rows; /* N * H * W */
    int channels, block;
} lk_cuda_rows;

/* How many chunks of rows a sum over the rows has: partial sums are chunks x 2 x block floats. */
int64_t lk_cuda_chunks(const lk_cuda_rows *shape);
/* Counters that a sum over rows uses: some for the whole launch, and one for each group of channels side by side. */
#define LK_CUDA_COUNTERS 4096
#define LK_CUDA_COUNTERS_AHEAD 32 /* those of the launch: a line of the cache */
/* Are there counters for all groups of this shape? */
bool lk_cuda_counters_suffice(const lk_cuda_rows *shape);

/* Batch normalisation. Unit of counts: elements. Device pointers; those not named by a launch may be NULL. */
typedef struct lk_cuda_norm {
    lk_cuda_rows shape;
    int64_t area; /* rows of one sample */
    float eps;
    lk_act act;
    const void *x, *residual, *dy[2];
    const void *mean_dy; /* a row for each sample: the gradient of its mean, one more dy; or NULL */
    void *y, *dx, *dresidual;
    const float *gamma, *beta; /* channels */
    float *mean, *variance;    /* channels: of the microbatch (written) or running (read) */
    float *dgamma, *dbeta;     /* channels, or NULL: the parameters are frozen */
    float *saved;              /* 4 x block: mean, 1 / sqrt(variance + eps), gamma times that, beta; or NULL */
    const float *keep;         /* a factor for each sample, or NULL: 1 */
    /* Maximum pooling of what it gives, windows of 3 x 3, stride 2, padding 1: sides of x, 0: none; for each element of
     * y which one of its window won (lk_cuda_maxpool_forward), or NULL. */
    int h, w;
    uint8_t *index;
    uint8_t *mask;       /* rows x block / lanes: bit i is set where RELU stopped lane i; or NULL */
    float *partial;      /* lk_cuda_chunks x 2 x block */
    float *terms;        /* 2 x block: slope and offset of dx, or NULL: the statistics are constants */
    unsigned *counters;  /* LK_CUDA_COUNTERS zeros; zero again afterwards */
    int multiprocessors; /* of the GPU: for the number of blocks, on which no result depends */
} lk_cuda_norm;

/* Writes mean, variance, saved, and then as lk_cuda_norm_apply, in one launch. */
int lk_cuda_norm_forward(cudaStream_t stream, const lk_cuda_norm *norm);
/* y = act(keep ((x - mean) gamma inverse + beta) + residual), with saved, or with mean and variance where saved is
 * NULL. Writes mask where it is given. */
int lk_cuda_norm_apply(cudaStream_t stream, const lk_cuda_norm *norm);
/* Writes dgamma, dbeta, terms, as far as they are given, and then as lk_cuda_norm_gradient, in one launch; both take
 * mean and variance where saved is NULL. What went into the activation is known from mask, or computed again from x,
 * keep and residual (NULL: there was none). With mean_dy there is no dy[1], no residual and no keep, and dy[0] may be
 * NULL. */
int lk_cuda_norm_backward(cudaStream_t stream, const lk_cuda_norm *norm);
/* That for mean_dy. */
int lk_cuda_norm_backward_mean(cudaStream_t stream, const lk_cuda_norm *norm);
/* Both for pooling, where x moves the statistics; y and dy are those of the pooled values. */
int lk_cuda_norm_forward_pooled(cudaStream_t stream, const lk_cuda_norm *norm);
int lk_cuda_norm_backward_pooled(cudaStream_t stream, const lk_cuda_norm *norm);
/* Writes dx and dresidual, as far as they are given, from terms that are there. */
int lk_cuda_norm_gradient(cudaStream_t stream, const lk_cuda_norm *norm);

/* sums[c] = sum over rows of dy, for c < count (channels or block). */
int lk_cuda_column_sums(cudaStream_t stream, const lk_cuda_rows *shape, const void *dy, float *sums, int count,
                        float *partial, unsigned *counters);

/* y[r, c] += bias[c] */
int lk_cuda_add_bias(cudaStream_t stream, const lk_cuda_rows *shape, void *y, const float *bias);

/* Depthwise convolution, one output channel for each input channel. Weights and their gradient are kernel^2 x block
 * float32, tap by tap, zero for padding channels. kernel: 3 or 5; stride: 1 or 2; pad_top, pad_left: less than kernel.
 */
typedef struct lk_cuda_depthwise {
    lk_cuda_type type;
    int64_t n;
    int block, h, w, out_h, out_w, kernel, stride, pad_top, pad_left;
} lk_cuda_depthwise;
int lk_cuda_depthwise_forward(cudaStream_t stream, const lk_cuda_depthwise *conv, const void *x, const float *weights,
                              void *y);
int lk_cuda_depthwise_data(cudaStream_t stream, const lk_cuda_depthwise *conv, const void *dy, const float *weights,
                           void *dx);
/* That for stride 2. */
int lk_cuda_depthwise_data_strided(cudaStream_t stream, const lk_cuda_depthwise *conv, const void *dy,
                                   const float *weights, void *dx);
/* Writes partial sums of the weights' gradient, chunk by chunk (lk_cuda_unfinished). */
int lk_cuda_depthwise_weight(cudaStream_t stream, const lk_cuda_depthwise *conv, const void *x, const void *dy,
                             float *partial);
int lk_cuda_depthwise_chunks(const lk_cuda_depthwise *conv);

/* y = act(x weights^T + bias): x is n x in, weights out x in of the same type, both with padding; dweights are float32.
 * bias and dbias (`outputs` floats), dx and dweights (then dbias too) may be NULL. slope: act' at each of the n x out
 * values of y, zero for padding, which forward writes and backward reads; NULL: act is NONE, or (forward) none is
 * wanted. */
typedef struct lk_cuda_product {
    lk_cuda_type type;
    int64_t n;
    int in, out, outputs; /* outputs: of `out`, those that are not padding */
    lk_act act;
    float *slope;
} lk_cuda_product;
int lk_cuda_product_forward(cudaStream_t stream, const lk_cuda_product *product, const void *x, const void *weights,
                            const float *bias, void *y);
int lk_cuda_product_backward(cudaStream_t stream, const lk_cuda_product *product, const void *x, const void *weights,
                             const void *dy, void *dx, float *dweights, float *dbias);

/* y = act(x + residual). */
typedef struct lk_cuda_add {
    lk_cuda_rows shape;
    lk_act act;
    const void *x, *residual; /* residual may be NULL */
    void *y;
    /* Backward: dx = dresidual = (dy[0] + dy[1]) act', from y, or from x and residual. dy[1], dx, dresidual may be
     * NULL. */
    bool from_y;
    const void *dy[2];
    void *dx, *dresidual;
} lk_cuda_add;
int lk_cuda_add_forward(cudaStream_t stream, const lk_cuda_add *add);
int lk_cuda_add_backward(cudaStream_t stream, const lk_cuda_add *add);

/* y = x gate, a number for each sample and channel. Backward: dx = dy gate, dgate = sum over the sample's rows of dy x;
 * dx and dgate may be NULL. */
typedef struct lk_cuda_scale {
    lk_cuda_rows shape;
    int64_t area; /* rows of one sample */
    int gate_block;
    const void *x, *gate, *dy[2];
    void *y, *dx, *dgate;
} lk_cuda_scale;
int lk_cuda_scale_forward(cudaStream_t stream, const lk_cuda_scale *scale);
int lk_cuda_scale_backward(cudaStream_t stream, const lk_cuda_scale *scale);

/* Which numbers a microbatch draws. seed: with the purpose mixed in. */
typedef struct lk_cuda_draws {
    uint64_t seed, first_position;
    uint32_t epoch;
} lk_cuda_draws;

/* y = (x[0] + x[1]) keep, with keep 0 or `kept`, as lk_run_drops says; x[1] may be NULL. */
typedef struct lk_cuda_dropout {
    lk_cuda_rows shape;
    int64_t area;
    const lk_cuda_draws *draws; /* device */
    uint32_t layer;
    double rate;
    float kept; /* 1 / (1 - rate) */
} lk_cuda_dropout;
int lk_cuda_dropout_run(cudaStream_t stream, const lk_cuda_dropout *dropout, const void *const x[2], void *y);

/* The images of a microbatch. */
typedef struct lk_cuda_images_source {
    const uint8_t *pixels; /* device, interleaved */
    int32_t mixed;
} lk_cuda_images_source;

typedef struct lk_cuda_images {
    int64_t pixels, area; /* N * H * W, H * W */
    int channels, block;  /* of a pixel; block of y */
    float mean[4], std[4];
    const lk_cuda_images_source *source; /* device, as what follows */
    const int32_t *partner;              /* N; read where they are mixed */
    const float *share;                  /* N */
} lk_cuda_images;

/* y = (pixel / 255 - mean) / std; mixed: share times the own value and the rest of the partner's. */
int lk_cuda_input(cudaStream_t stream, lk_cuda_type type, const lk_cuda_images *images, void *y);

typedef struct lk_cuda_pool {
    lk_cuda_type type;
    int64_t n;
    int block, h, w, out_h, out_w, kernel, stride, pad;
} lk_cuda_pool;

/* index: which element of the window won (row-major in the window), a byte for each element of y, or NULL. */
int lk_cuda_maxpool_forward(cudaStream_t stream, const lk_cuda_pool *pool, const void *x, void *y, uint8_t *index);
int lk_cuda_maxpool_backward(cudaStream_t stream, const lk_cuda_pool *pool, const void *const dy[2],
                             const uint8_t *index, void *dx);
/* y[n, c] = mean over h, w */
int lk_cuda_mean_forward(cudaStream_t stream, const lk_cuda_pool *pool, const void *x, void *y);
int lk_cuda_mean_backward(cudaStream_t stream, const lk_cuda_pool *pool, const void *const dy[2], void *dx);

/* As lk_loss_label. */
typedef struct lk_cuda_label {
    int32_t label, other;
    float share;
} lk_cuda_label;

/* Factors of a microbatch: lk_run.weight_scale, lk_run.loss_scale, and that of the F1 term: its factor times the
 * samples counted. */
typedef struct lk_cuda_loss_scales {
    double weight, loss, f1;
} lk_cuda_loss_scales;

/* device/loss.h on the GPU. Arrays are device memory. */
typedef struct lk_cuda_loss {
    lk_cuda_type type;
    int64_t n, rows; /* rows: valid ones; the others give 0 */
    int classes, block;
    lk_loss_config config; /* its arrays replaced by device copies */
    const lk_cuda_label *labels;
    const lk_cuda_loss_scales *scales;
    const double *counts; /* 3 x classes soft counts, or NULL: no F1 term */
    double *totals;       /* n: scratch of the counting */
} lk_cuda_loss;

/* counts[3 x classes] of the microbatch's valid rows. */
int lk_cuda_loss_count(cudaStream_t stream, const lk_cuda_loss *loss, const void *x, double *counts);
/* y[n], float; with counts, config.f1 times 1 - macro-F1 is part of each valid row's. */
int lk_cuda_loss_forward(cudaStream_t stream, const lk_cuda_loss *loss, const void *x, float *y);
int lk_cuda_loss_backward(cudaStream_t stream, const lk_cuda_loss *loss, const void *x, void *dx);

/* sum[i] += x[i], float32. */
int lk_cuda_slab_add(cudaStream_t stream, float *sum, const float *x, int64_t count);

typedef enum lk_cuda_task_kind {
    LK_CUDA_SGD,     /* params, grads; state[0]: velocity or NULL */
    LK_CUDA_ADAM,    /* params, grads; state: mean, square */
    LK_CUDA_RMSPROP, /* params, grads; state: square, mean or NULL, velocity or NULL */
    LK_CUDA_LERP,    /* to += take (from - to), exactly from with take 1 */
    LK_CUDA_BLEND,   /* to = keep to + take from */
    LK_CUDA_TO_BF16, /* to (bfloat16) = from, rounded to nearest even */
    LK_CUDA_TO_F16   /* to (float16), likewise */
} lk_cuda_task_kind;

/* Elementwise work over float32: what is the same for all of `count` elements. */
typedef struct lk_cuda_task {
    lk_cuda_task_kind kind;
    int first_block; /* of a launch of several tasks: the first that is this one's */
    int64_t count;
    void *to;
    const float *from;
    float *state[3];
    float keep, take;
    union {
        lk_float_sgd sgd;
        lk_float_adam adam;
        lk_float_rmsprop rmsprop;
    };
} lk_cuda_task;

#define LK_CUDA_TASK_CHUNK 4096 /* elements of a block of a launch of several tasks */
int lk_cuda_task_run(cudaStream_t stream, const lk_cuda_task *task);
/* tasks: device memory, with first_block ascending from 0; blocks: of all. */
int lk_cuda_tasks_run(cudaStream_t stream, const lk_cuda_task *tasks, int count, int blocks);

#define LK_CUDA_CHUNK 4096 /* elements of a partial sum of squares */
#define LK_CUDA_SEGMENTS 64

/* Segments of a slab, one behind the other; each is summed in chunks of its own. */
typedef struct lk_cuda_segments {
    int count;
    int64_t begin[LK_CUDA_SEGMENTS + 1]; /* elements; the last is the end */
    int chunk[LK_CUDA_SEGMENTS + 1];     /* the segment's first chunk, counted over all; the last is their number */
} lk_cuda_segments;
/* sums[i] = sum of squares of chunk first + i, for i < count */
int lk_cuda_slab_squares(cudaStream_t stream, const float *x, const lk_cuda_segments *segments, int first, int count,
                         double *sums);

#define LK_CUDA_UNFINISHED 120 /* of a launch, whose arguments have room for 4096 bytes */

/* A gradient of `count` elements that is not yet in `to`: 16-bit values to be widened, or `chunks` x count partial sums
 * in float32 to be added, chunk by chunk. Both aligned to 16 bytes. */
typedef struct lk_cuda_unfinished {
    const void *from;
    float *to;
    int64_t count;
    int chunks;      /* 0: 16-bit values */
    int first_block; /* of a launch: the first that is this one's */
} lk_cuda_unfinished;

typedef struct lk_cuda_finish {
    lk_cuda_type type; /* of the 16-bit values */
    int count, blocks;
    lk_cuda_unfinished all[LK_CUDA_UNFINISHED]; /* first_block ascending from 0 */
} lk_cuda_finish;
int64_t lk_cuda_finish_blocks(const lk_cuda_unfinished *unfinished);
int lk_cuda_finish_run(cudaStream_t stream, const lk_cuda_finish *finish);

#ifdef __cplusplus
}
#endif

#endif
