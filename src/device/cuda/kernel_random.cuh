/* The draws of core/random.h on the GPU: Philox4x32-10. Source: Salmon et al. 2011, "Parallel random numbers: as easy
 * as 1, 2, 3", section 3.3 (rounds, multipliers, Weyl constants). */
#ifndef LK_DEVICE_CUDA_KERNEL_RANDOM_CUH
#define LK_DEVICE_CUDA_KERNEL_RANDOM_CUH

#include "device/cuda/kernel_util.cuh"

/* The first word of lk_random_words for a key whose purpose is mixed into the seed already. */
static __device__ inline uint32_t lk_random_word(uint64_t seed, uint32_t epoch, uint64_t index, uint32_t sub) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = sub, c3 = epoch;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c0;
}

/* lk_random_uniform: 24 bits in [0, 1). */
static __device__ inline float lk_random_unit(uint64_t seed, uint32_t epoch, uint64_t index, uint32_t sub) {
    return (float)(lk_random_word(seed, epoch, index, sub) >> 8) * (1.0f / 16777216.0f);
}

#endif
