/* What the passes of batch normalisation share: both must find the same bits before the activation. A kernel is
 * compiled for each activation that is common (ACT), and once for the others (LK_ANY_ACT): a choice for each element
 * costs more than the memory does. */
#ifndef LK_DEVICE_CUDA_KERNEL_NORM_CUH
#define LK_DEVICE_CUDA_KERNEL_NORM_CUH

#include "device/cuda/kernel_act.cuh"
#include "device/cuda/kernel_phases.cuh"

#define LK_ANY_ACT (-1)

/* Shared memory of a block that does both passes. */
template <typename T>
struct lk_norm_memory {
    lk_scratch<T> scratch;
    lk_turn turn;
};

/* Rows [begin, end) of a chunk. */
struct lk_row_range {
    int64_t begin, end;
};

static __device__ inline lk_row_range lk_chunk_rows(const lk_cuda_norm &n, const lk_reduce_shape &r, int chunk) {
    const int64_t begin = chunk * r.chunk, end = begin + r.chunk;
    const lk_row_range range = {begin, end < n.shape.rows ? end : n.shape.rows};
    return range;
}

template <int ACT>
static __device__ inline lk_act lk_norm_act(const lk_cuda_norm &n) {
    return ACT == LK_ANY_ACT ? n.act : (lk_act)ACT;
}

/* keep ((x - mean) scale + beta) + residual */
static __device__ inline float lk_norm_value(float distance, float scale, float beta, float keep, float residual) {
    return keep * fmaf(distance, scale, beta) + residual;
}

static __device__ inline float lk_norm_keep(const lk_cuda_norm &n, int64_t row) {
    return n.keep != nullptr ? n.keep[(unsigned)row / (unsigned)n.area] : 1;
}

/* Mean, gamma / sqrt(variance + eps) and beta of a vector of channels; zero for padding. */
template <typename T>
static __device__ inline void lk_norm_channels(const lk_cuda_norm &n, int first, float (&mean)[lk_lanes<T>::COUNT],
                                               float (&scale)[lk_lanes<T>::COUNT], float (&beta)[lk_lanes<T>::COUNT]) {
    if (n.saved != nullptr) {
        lk_load_floats(mean, n.saved + first);
        lk_load_floats(scale, n.saved + 2 * n.shape.block + first);
        lk_load_floats(beta, n.saved + 3 * n.shape.block + first);
        return;
    }
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) {
        const int c = first + i;
        mean[i] = scale[i] = beta[i] = 0;
        if (c >= n.shape.channels) continue;
        mean[i] = n.mean[c];
        scale[i] = n.gamma[c] * (float)(1 / sqrt((double)n.variance[c] + (double)n.eps));
        beta[i] = n.beta[c];
    }
}

/* Calls of a kernel template by type and activation; TWO: are there two operands of the second kind (a residual, a
 * second gradient)?. */
#define LK_NORM_LAUNCH(kernel, TWO, norm, ...)                                                          \
    ((norm)->shape.type == LK_CUDA_F32    ? LK_NORM_LAUNCH_ACT(kernel, float, TWO, norm, __VA_ARGS__)   \
     : (norm)->shape.type == LK_CUDA_BF16 ? LK_NORM_LAUNCH_ACT(kernel, lk_bf16, TWO, norm, __VA_ARGS__) \
                                          : LK_NORM_LAUNCH_ACT(kernel, lk_f16, TWO, norm, __VA_ARGS__))
#define LK_NORM_LAUNCH_ACT(kernel, T, TWO, norm, ...)                                   \
    ((norm)->act == LK_ACT_NONE   ? lk_launch(kernel<T, LK_ACT_NONE, TWO>, __VA_ARGS__) \
     : (norm)->act == LK_ACT_RELU ? lk_launch(kernel<T, LK_ACT_RELU, TWO>, __VA_ARGS__) \
     : (norm)->act == LK_ACT_SILU ? lk_launch(kernel<T, LK_ACT_SILU, TWO>, __VA_ARGS__) \
                                  : lk_launch(kernel<T, LK_ANY_ACT, TWO>, __VA_ARGS__))

#endif
