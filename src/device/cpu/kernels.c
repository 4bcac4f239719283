#include "device/cpu/kernels.h"

#include "device/cpu/kernels_isa.h"

/* 256-bit vectors on every x86 processor from 2013 on: most loops wait for memory, so that wider ones gain little. */
static const lk_cpu_kernel_set *best_set(void) {
#if LK_CPU_HAVE_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &lk_cpu_kernels_avx2;
#endif
    return &lk_cpu_kernels_base;
}

const lk_cpu_kernels *lk_cpu_kernels_get(lk_dtype dtype, int64_t block) {
    const lk_cpu_kernel_set *set = best_set();
    if (block % LK_CPU_LANES == 0) return dtype == LK_BF16 ? set->bf16 : set->f32;
    return dtype == LK_BF16 ? lk_cpu_kernels_base.bf16_one : lk_cpu_kernels_base.f32_one;
}

const lk_cpu_slab_kernels *lk_cpu_slab_kernels_get(void) { return &best_set()->slab; }
