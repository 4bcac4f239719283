/* What the passes of batch normalisation share: both must find the same bits before the activation. */
#ifndef LK_DEVICE_CUDA_KERNEL_NORM_CUH
#define LK_DEVICE_CUDA_KERNEL_NORM_CUH

#include "device/cuda/kernel_act.cuh"
#include "device/cuda/kernel_reduce.cuh"

/* keep ((x - mean) scale + beta) + residual */
static __device__ inline float lk_norm_value(float x, float mean, float scale, float beta, float keep, float residual) {
    return keep * fmaf(x - mean, scale, beta) + residual;
}

/* Mean, gamma / sqrt(variance + eps) and beta of a vector of channels; zero for padding. */
template <typename T>
static __device__ inline void lk_norm_channels(const lk_cuda_norm &n, int first, float (&mean)[lk_lanes<T>::COUNT],
                                               float (&scale)[lk_lanes<T>::COUNT], float (&beta)[lk_lanes<T>::COUNT]) {
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) {
        const int c = first + i;
        mean[i] = scale[i] = beta[i] = 0;
        if (c >= n.shape.channels) continue;
        float inverse;
        if (n.saved != nullptr) {
            mean[i] = n.saved[c];
            inverse = n.saved[n.shape.block + c];
        } else {
            mean[i] = n.mean[c];
            inverse = (float)(1 / sqrt((double)n.variance[c] + (double)n.eps));
        }
        scale[i] = n.gamma[c] * inverse;
        beta[i] = n.beta[c];
    }
}

/* Blocks down the rows for a kernel that only passes over them: at least 8 rows a thread, so that what a thread knows
 * of its channels is worth the loading. */
static inline unsigned lk_row_blocks(int64_t rows, const lk_reduce_shape *r) {
    int64_t blocks = lk_ceil_div(rows, (int64_t)r->down * 8);
    return (unsigned)(blocks < 4096 ? blocks : 4096);
}

#endif
