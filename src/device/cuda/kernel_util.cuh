/* What the kernels share: 16-byte vectors of float32, bfloat16 or float16 as floats, and the launch. */
#ifndef LK_DEVICE_CUDA_KERNEL_UTIL_CUH
#define LK_DEVICE_CUDA_KERNEL_UTIL_CUH

#include <cuda_runtime.h>

#include "device/cuda/kernels.h"
#ifdef LK_CUDA_HOST_KERNELS
#include <kernel_host.h>
#endif

#ifdef LK_CUDA_HOST_KERNELS
#define LK_GRID_CONSTANT const
#else
#define LK_GRID_CONSTANT const __grid_constant__ /* read where it lies, never copied */
#endif

#define LK_CUDA_THREADS 256 /* of a block */

struct lk_bf16 {
    uint16_t bits;
};
struct lk_f16 {
    uint16_t bits;
};

static __device__ inline float lk_float(float v) { return v; }
static __device__ inline float lk_float(lk_bf16 v) { return __uint_as_float((unsigned)v.bits << 16); }

static __device__ inline float lk_float(lk_f16 v) {
#ifdef LK_CUDA_HOST_KERNELS
    return sim_widen(SIM_F16, v.bits);
#else
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
    return f;
#endif
}

template <typename T>
static __device__ inline T lk_round(float v);
template <>
__device__ inline float lk_round<float>(float v) {
    return v;
}
/* To nearest even; NaN stays NaN. */
template <>
__device__ inline lk_bf16 lk_round<lk_bf16>(float v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    lk_bf16 native;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(native.bits) : "f"(v));
    return native;
#endif
    unsigned u = __float_as_uint(v);
    unsigned rounded = v != v ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    lk_bf16 result = {(uint16_t)rounded};
    return result;
}

/* To nearest even; beyond the largest number, to infinity. */
template <>
__device__ inline lk_f16 lk_round<lk_f16>(float v) {
    lk_f16 result;
#ifdef LK_CUDA_HOST_KERNELS
    result.bits = sim_narrow(SIM_F16, v);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(v));
#endif
    return result;
}

/* 16 bytes: 4 floats or 8 of a 16-bit type. */
template <typename T>
struct lk_lanes {
    static const int COUNT = (int)(16 / sizeof(T));
};

template <typename T>
struct alignas(16) lk_vector {
    T lane[lk_lanes<T>::COUNT];
};

/* As it lies in memory: 4 registers, to be unpacked when it is needed. */
template <typename T>
static __device__ inline lk_vector<T> lk_fetch(const T *from) {
    return *reinterpret_cast<const lk_vector<T> *>(from);
}

template <typename T>
static __device__ inline void lk_unpack(float (&out)[lk_lanes<T>::COUNT], const lk_vector<T> &v) {
#pragma unroll
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) out[i] = lk_float(v.lane[i]);
}

template <typename T>
static __device__ inline void lk_load(float (&out)[lk_lanes<T>::COUNT], const T *from) {
    lk_unpack<T>(out, lk_fetch<T>(from));
}

/* COUNT floats from 16-byte aligned memory. */
template <int COUNT>
static __device__ inline void lk_load_floats(float (&out)[COUNT], const float *from) {
#pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
        lk_vector<float> v = lk_fetch<float>(from + i);
#pragma unroll
        for (int k = 0; k < 4; k++) out[i + k] = v.lane[k];
    }
}

template <typename T>
static __device__ inline void lk_store(T *to, const float (&values)[lk_lanes<T>::COUNT]) {
    lk_vector<T> v;
#pragma unroll
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) v.lane[i] = lk_round<T>(values[i]);
    *reinterpret_cast<lk_vector<T> *>(to) = v;
}

/* Two of a 16-bit type in a word, the first below. */
template <typename T>
static __device__ inline unsigned lk_pack(float first, float second) {
    return (unsigned)lk_round<T>(first).bits | (unsigned)lk_round<T>(second).bits << 16;
}
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
template <>
__device__ inline unsigned lk_pack<lk_bf16>(float first, float second) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}
template <>
__device__ inline unsigned lk_pack<lk_f16>(float first, float second) {
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}
#endif

/* As words: of eight halves the compiler may make eight stores. */
template <typename T>
static __device__ inline void lk_store_words(T *to, const float (&v)[8]) {
    *reinterpret_cast<uint4 *>(to) =
        make_uint4(lk_pack<T>(v[0], v[1]), lk_pack<T>(v[2], v[3]), lk_pack<T>(v[4], v[5]), lk_pack<T>(v[6], v[7]));
}
template <>
__device__ inline void lk_store<lk_bf16>(lk_bf16 *to, const float (&v)[8]) {
    lk_store_words(to, v);
}
template <>
__device__ inline void lk_store<lk_f16>(lk_f16 *to, const float (&v)[8]) {
    lk_store_words(to, v);
}

/* The gradient that arrives: one tensor, or the sum of two. */
template <typename T>
static __device__ inline void lk_load_dy(float (&out)[lk_lanes<T>::COUNT], const T *first, const T *second,
                                         int64_t at) {
    lk_load<T>(out, first + at);
    if (second == nullptr) return;
    float other[lk_lanes<T>::COUNT];
    lk_load<T>(other, second + at);
#pragma unroll
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) out[i] += other[i];
}

#ifndef LK_CUDA_HOST_KERNELS
template <typename... P, typename... A>
static int lk_launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... args) {
    kernel<<<grid, block, 0, stream>>>(args...);
    return (int)cudaGetLastError();
}

/* Until another block has brought the counter to this value. */
static __device__ inline void lk_wait_for(const unsigned *counter, unsigned value) {
    while (*(const volatile unsigned *)counter != value) __nanosleep(32);
}

/* Says, first of all, what the shared memory of a block is whose blocks wait for each other: the stand-in GPU, where
 * blocks take turns, keeps it for them. */
template <typename M>
static __device__ inline void lk_block_memory(M &) {}
#endif

/* A call of a function template by the type of the values. */
#define LK_BY_TYPE(type, function, ...)                        \
    ((type) == LK_CUDA_F32    ? function<float>(__VA_ARGS__)   \
     : (type) == LK_CUDA_BF16 ? function<lk_bf16>(__VA_ARGS__) \
                              : function<lk_f16>(__VA_ARGS__))

/* A launch of a kernel template whose arguments do not depend on the type. */
#define LK_LAUNCH_BY_TYPE(type, kernel, ...)                            \
    ((type) == LK_CUDA_F32    ? lk_launch(kernel<float>, __VA_ARGS__)   \
     : (type) == LK_CUDA_BF16 ? lk_launch(kernel<lk_bf16>, __VA_ARGS__) \
                              : lk_launch(kernel<lk_f16>, __VA_ARGS__))

static inline int64_t lk_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Blocks of a grid-stride loop over `count` items: enough to fill any GPU; more would only start and end. */
static inline dim3 lk_grid(int64_t count) {
    int64_t blocks = lk_ceil_div(count, LK_CUDA_THREADS);
    return dim3((unsigned)(blocks < 4096 ? (blocks < 1 ? 1 : blocks) : 4096));
}

#define LK_GRID_LOOP(i, count) \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += (int64_t)gridDim.x * blockDim.x)

#endif
