/* Which element of a pooling window won, row-major in the window, a byte for each channel. */
#ifndef LK_DEVICE_CUDA_KERNEL_PLACES_CUH
#define LK_DEVICE_CUDA_KERNEL_PLACES_CUH

#include "device/cuda/kernel_util.cuh"

#define LK_NOWHERE 254 /* no window has so many elements */

/* Places of a vector's lanes, a byte each, the first below. */
template <int L>
struct alignas(L) lk_places {
    unsigned word[L / 4];
};

template <int L>
static __device__ inline unsigned lk_place_of(const lk_places<L> &p, int lane) {
    return p.word[lane / 4] >> lane % 4 * 8 & 0xffu;
}

template <int L>
static __device__ inline lk_places<L> lk_load_places(const uint8_t *index) {
    return *reinterpret_cast<const lk_places<L> *>(index);
}

template <int L>
static __device__ inline void lk_store_places(uint8_t *index, const unsigned (&place)[L]) {
    lk_places<L> kept = {};
#pragma unroll
    for (int i = 0; i < L; i++) kept.word[i / 4] |= place[i] << i % 4 * 8;
    *reinterpret_cast<lk_places<L> *>(index) = kept;
}

#endif
