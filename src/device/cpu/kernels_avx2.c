/* The loops for processors with AVX2 and FMA. */
#include "device/cpu/kernels_isa.h"

#if LK_CPU_HAVE_AVX2
#pragma GCC target("avx2,fma")
/* The vectors below never cross a function that is not inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

#include "device/cpu/kernels_vector.h"

#define LK_K(name) name##_f32
#define LK_E float
#define LK_LANES 8
#define LK_V(name) v8_##name
#define LK_LOAD v8_load_f32
#define LK_STORE v8_store_f32
#define LK_VF v8f
#define LK_VI v8i
#define LK_VD v8d
#include "device/cpu/kernels_body.h"

#define LK_K(name) name##_bf16
#define LK_E uint16_t
#define LK_LANES 8
#define LK_V(name) v8_##name
#define LK_LOAD v8_load_bf16
#define LK_STORE v8_store_bf16
#define LK_VF v8f
#define LK_VI v8i
#define LK_VD v8d
#include "device/cpu/kernels_body.h"

#define LK_S(name) name
#include "device/cpu/kernels_optimizer.h"
#include "device/cpu/kernels_slab.h"

const lk_cpu_kernel_set lk_cpu_kernels_avx2 = {
    .f32 = &kernels_f32,
    .bf16 = &kernels_bf16,
    .slab = {"avx2+fma", add, sgd, adam, rmsprop, lerp, blend, sum_squares},
};
#endif
