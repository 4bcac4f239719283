/* Vectorised loops of the CPU device, compiled once for every instruction set and picked at run time.
 *
 * An activation is walked in groups of `lanes` channels: 8 where the layout's block is a multiple of 8, else 1.
 * All instruction sets use the same eight lanes and, but for the sigmoid and silu, never fuse a multiplication with an
 * addition, so that with other activations they give the same bits. */
#ifndef LK_DEVICE_CPU_KERNELS_H
#define LK_DEVICE_CPU_KERNELS_H

#include "device/float_step.h"
#include "device/ops.h"

#define LK_CPU_LANES 8

/* One group of channels over all images. Unit: elements. */
typedef struct lk_cpu_group {
    int64_t planes, plane_stride; /* images, and from one to the next */
    int64_t pixels, pixel_stride;
} lk_cpu_group;

/* Per channel of one group, padding channels zero. */
typedef struct lk_cpu_bn_lanes {
    float mean[LK_CPU_LANES];  /* of the microbatch, or the running mean */
    float scale[LK_CPU_LANES]; /* gamma / sqrt(variance + eps) */
    float beta[LK_CPU_LANES];
    float slope[LK_CPU_LANES], offset[LK_CPU_LANES]; /* backward: dx = scale g + slope (x - mean) + offset */
} lk_cpu_bn_lanes;

/* Backward pass of one group. What the activation does to the gradient comes from `mask` (RELU with residual) or is
 * computed again from x and, with other activations, the residual. */
typedef struct lk_cpu_bn_grads {
    const void *x, *residual, *dy[2]; /* residual: NULL where it is not read; dy[1] may be NULL */
    void *dx, *dresidual;             /* dresidual may be NULL, or dy[0] */
    const uint8_t *mask;              /* NULL unless RELU with residual */
    const float *keep;                /* one per image, or NULL: all 1 */
    lk_act act;
    bool fixed; /* the statistics are constants: dx = scale keep dz */
    bool alone; /* bn_backward_dx is run without bn_backward_sums before it, and x is read for the activation alone */
} lk_cpu_bn_grads;

/* Is the derivative of an activation or a sum taken from y? A sigmoid near 1, rounded to bfloat16 (2 bytes), has lost
 * what its derivative is made of. Pure. */
static inline bool lk_cpu_act_from_y(lk_act act, size_t element_size) {
    return lk_act_invertible(act) && (act != LK_ACT_SIGMOID || element_size == sizeof(float));
}

/* Backward pass of an activation or a sum. */
typedef struct lk_cpu_act_grads {
    const void *value;    /* y where lk_cpu_act_from_y, else x */
    const void *residual; /* added to value, or NULL */
    const void *dy[2];    /* dy[1] may be NULL */
    void *dx, *dresidual; /* either may be NULL */
} lk_cpu_act_grads;

typedef struct lk_cpu_pool {
    int64_t h, w, out_h, out_w, kernel, stride, pad;
    int64_t pixel_stride; /* elements */
} lk_cpu_pool;

/* Loops over activations of one element type and lane count. Pointers are at the group's first element. */
typedef struct lk_cpu_kernels {
    int lanes;
    /* Mean and sum of squared deviations of every lane. Source: Chan, Golub, LeVeque 1983 (merging of chunks). */
    void (*bn_statistics)(const lk_cpu_group *g, const void *x, double *mean, double *m2);
    /* y = act(keep ((x - mean) scale + beta) + residual). keep: one per image, or NULL. mask: bits of the elements that
     * RELU stops, or NULL. */
    void (*bn_forward)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const void *x, const void *residual,
                       const float *keep, void *y, uint8_t *mask, lk_act act);
    /* Sums of g = keep dz and g (x - mean) over the group, dz before the activation. */
    void (*bn_backward_sums)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t, double *sum,
                             double *dot);
    /* dx; dresidual too where the sums have not written it. */
    void (*bn_backward_dx)(const lk_cpu_group *g, const lk_cpu_bn_lanes *p, const lk_cpu_bn_grads *t);
    /* y = act(x + residual); residual may be NULL. Contiguous; count is a multiple of the lanes. */
    void (*add_forward)(int64_t count, const void *x, const void *residual, void *y, lk_act act);
    /* dx = dresidual = (dy[0] + dy[1]) act'. */
    void (*add_backward)(int64_t count, const lk_cpu_act_grads *t, lk_act act);
    /* One plane of one group times its gates; dgate = sum of dy x. dx may be NULL. */
    void (*scale_forward)(int64_t pixels, int64_t pixel_stride, const void *x, const float *gate, void *y);
    void (*scale_backward)(int64_t pixels, int64_t pixel_stride, const void *x, const void *dy, const float *gate,
                           void *dx, double *dgate);
    /* One plane. index: which element of the window won, one byte per output element, or NULL. */
    void (*maxpool_forward)(const lk_cpu_pool *p, const void *x, void *y, uint8_t *index);
    void (*maxpool_backward)(const lk_cpu_pool *p, const void *const dy[2], const uint8_t *index, float *sums,
                             void *dx);
    /* One plane of `pixels` to its mean, and back. */
    void (*avgpool_forward)(int64_t pixels, int64_t pixel_stride, const void *x, float *mean);
    void (*avgpool_backward)(int64_t pixels, int64_t pixel_stride, const float *gradient, void *dx);
} lk_cpu_kernels;

/* Loops over float32 slabs. */
typedef struct lk_cpu_slab_kernels {
    const char *name; /* of the instruction set */
    void (*add)(float *sum, const float *x, int64_t count);
    /* velocity may be NULL. Source: torch.optim.SGD. */
    void (*sgd)(float *params, const float *grads, float *velocity, int64_t count, const lk_float_sgd *s);
    /* Source: as lk_adam. */
    void (*adam)(float *params, const float *grads, float *mean, float *square, int64_t count, const lk_float_adam *s);
    /* mean (not centered) and velocity (no momentum) may be NULL. Source: as lk_rmsprop. */
    void (*rmsprop)(float *params, const float *grads, float *square, float *mean, float *velocity, int64_t count,
                    const lk_float_rmsprop *s);
    void (*lerp)(float *average, const float *x, int64_t count, float share);
    void (*blend)(float *running, const float *fresh, int64_t count, float keep, float add);
    double (*sum_squares)(const float *x, int64_t count); /* of one chunk */
} lk_cpu_slab_kernels;

/* The best kernels of this processor for a layout. dtype: LK_F32 or LK_BF16. */
const lk_cpu_kernels *lk_cpu_kernels_get(lk_dtype dtype, int64_t block);
const lk_cpu_slab_kernels *lk_cpu_slab_kernels_get(void);

/* Element offset of channel group i from the start of an image. */
static inline int64_t lk_cpu_group_offset(const lk_act_desc *d, int lanes, int64_t i) {
    int64_t c = i * lanes;
    return c / d->block * d->block * d->h * d->w + c % d->block;
}

/* Channel groups of an activation, padding included. */
static inline int64_t lk_cpu_group_count(const lk_act_desc *d, int lanes) {
    return (d->c + d->block - 1) / d->block * d->block / lanes;
}

static inline lk_cpu_group lk_cpu_group_of(const lk_act_desc *d) {
    int64_t padded = (d->c + d->block - 1) / d->block * d->block;
    return (lk_cpu_group){d->n, padded * d->h * d->w, d->h * d->w, d->block};
}

#endif
