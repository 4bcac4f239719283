/* Depthwise convolutions of 3 x 3 and 5 x 5 by loops of their own: one kernel per channel, so that there is no sum over
 * channels and eight channels of a pixel are one vector.
 *
 * Every pass walks planes: one image, eight channels. A plane is read in bands of rows, copied into scratch with their
 * padding as zeros, so that the loops over the kernel have no edges. With stride 2 the copy takes the columns apart:
 * even ones first, then odd ones; what a kernel column meets is then contiguous for either stride. */
#ifndef LK_DEVICE_CPU_DEPTHWISE_H
#define LK_DEVICE_CPU_DEPTHWISE_H

#include <stdint.h>

#define LK_DEPTHWISE_LANES 8
#define LK_DEPTHWISE_MAX_KERNEL 5

/* Shape of one plane. Unit: pixels; the strides of memory: elements from one pixel to the next. */
typedef struct lk_depthwise {
    int64_t h, w, out_h, out_w;
    int64_t kernel, stride, pad_top, pad_left;
    int64_t x_pixel, y_pixel;
} lk_depthwise;

/* Weights of eight channels: [kernel][kernel][8]. */
typedef struct lk_depthwise_kernels {
    /* y of a plane. */
    void (*forward)(const lk_depthwise *g, const float *x, const float *weights, float *y, float *scratch);
    /* dx of a plane. */
    void (*data)(const lk_depthwise *g, const float *dy, const float *weights, float *dx, float *scratch);
    /* Adds a plane to the sums of the weights' gradient, [kernel][kernel][8]: each band in float, the bands in double.
     */
    void (*weight)(const lk_depthwise *g, const float *x, const float *dy, double *sums, float *scratch);
} lk_depthwise_kernels;

/* Elements of scratch that any pass over this plane needs. Pure. */
int64_t lk_depthwise_scratch(const lk_depthwise *g);

/* NULL where the processor lacks AVX2 with FMA. */
const lk_depthwise_kernels *lk_depthwise_kernels_get(void);

#endif
