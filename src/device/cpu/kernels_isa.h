/* One set of loops per instruction set. */
#ifndef LK_DEVICE_CPU_KERNELS_ISA_H
#define LK_DEVICE_CPU_KERNELS_ISA_H

#include "device/cpu/kernels.h"

#if defined(__x86_64__)
#define LK_CPU_HAVE_AVX2 1
#else
#define LK_CPU_HAVE_AVX2 0
#endif

typedef struct lk_cpu_kernel_set {
    const lk_cpu_kernels *f32, *bf16;         /* eight lanes */
    const lk_cpu_kernels *f32_one, *bf16_one; /* one lane: layouts whose block is not a multiple of 8 */
    lk_cpu_slab_kernels slab;
} lk_cpu_kernel_set;

extern const lk_cpu_kernel_set lk_cpu_kernels_base;
#if LK_CPU_HAVE_AVX2
extern const lk_cpu_kernel_set lk_cpu_kernels_avx2;
#endif

#endif
