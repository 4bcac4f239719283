/* Activations and their derivatives (device/ops.h), in float. At a kink as PyTorch has it; NaN passes. T: what the
 * values are stored in; for 16-bit types the sigmoid is taken from the GPU's own exponential and division, within some
 * 2^-21 of the value, where bfloat16 keeps 2^-9 and float16 2^-11. */
#ifndef LK_DEVICE_CUDA_KERNEL_ACT_CUH
#define LK_DEVICE_CUDA_KERNEL_ACT_CUH

#include "device/cuda/kernel_util.cuh"

template <typename T>
static __device__ inline float lk_sigmoid(float z) {
    return 1 / (1 + expf(-z));
}
template <>
__device__ inline float lk_sigmoid<lk_bf16>(float z) {
    return __fdividef(1, 1 + __expf(-z));
}
template <>
__device__ inline float lk_sigmoid<lk_f16>(float z) {
    return lk_sigmoid<lk_bf16>(z);
}

static __device__ inline float lk_clamp(float z, float low, float high) { return z < low ? low : z > high ? high : z; }

template <typename T>
static __device__ inline float lk_act_value(lk_act act, float z) {
    switch (act) {
        case LK_ACT_RELU: return z < 0 ? 0 : z;
        case LK_ACT_RELU6: return lk_clamp(z, 0, 6);
        case LK_ACT_SILU: return z * lk_sigmoid<T>(z);
        case LK_ACT_HARD_SWISH: return z * lk_clamp(z + 3, 0, 6) / 6;
        case LK_ACT_SIGMOID: return lk_sigmoid<T>(z);
        case LK_ACT_HARD_SIGMOID: return lk_clamp(z + 3, 0, 6) / 6;
        default: return z;
    }
}

/* dy act'(z), from value: z, or act(z) where lk_act_invertible(act). */
template <typename T>
static __device__ inline float lk_act_gradient(lk_act act, float value, float dy) {
    const float s = act == LK_ACT_SILU ? lk_sigmoid<T>(value) : value;
    switch (act) {
        case LK_ACT_RELU: return value <= 0 ? 0 : dy;
        case LK_ACT_RELU6: return value <= 0 || value >= 6 ? 0 : dy;
        case LK_ACT_SILU: return dy * (s * (1 + value * (1 - s)));
        case LK_ACT_HARD_SWISH: return value <= -3 ? 0 : value >= 3 ? dy : dy * (value / 3 + 0.5f);
        case LK_ACT_SIGMOID: return dy * (s * (1 - s));
        case LK_ACT_HARD_SIGMOID: return value <= 0 || value >= 1 ? 0 : dy / 6;
        default: return dy;
    }
}

/* dy act'(z), from z. */
template <typename T>
static __device__ inline float lk_act_gradient_at(lk_act act, float z, float dy) {
    const bool bounded = act == LK_ACT_SIGMOID || act == LK_ACT_HARD_SIGMOID;
    return lk_act_gradient<T>(act, bounded ? lk_act_value<T>(act, z) : z, dy);
}

#endif
