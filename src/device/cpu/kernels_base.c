/* The loops for any processor. */
#include "device/cpu/kernels_isa.h"

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

#define LK_K(name) name##_f32_one
#define LK_E float
#define LK_LANES 1
#define LK_V(name) s1_##name
#define LK_LOAD s1_load_f32
#define LK_STORE s1_store_f32
#define LK_VF float
#define LK_VI int32_t
#define LK_VD double
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

#define LK_K(name) name##_bf16_one
#define LK_E uint16_t
#define LK_LANES 1
#define LK_V(name) s1_##name
#define LK_LOAD s1_load_bf16
#define LK_STORE s1_store_bf16
#define LK_VF float
#define LK_VI int32_t
#define LK_VD double
#include "device/cpu/kernels_body.h"

#define LK_S(name) name
#include "device/cpu/kernels_optimizer.h"
#include "device/cpu/kernels_slab.h"

const lk_cpu_kernel_set lk_cpu_kernels_base = {
    .f32 = &kernels_f32,
    .bf16 = &kernels_bf16,
    .f32_one = &kernels_f32_one,
    .bf16_one = &kernels_bf16_one,
    .slab = {"base", add, sgd, adam, rmsprop, lerp, blend, sum_squares},
};
