/* How the pixels of one image are shared out: a block takes an image and a group of channels (a vector of 16 bytes for
 * each threadIdx.x), its rows, the pixels, go round threadIdx.y. Sums within a plane are then sums within a block, in a
 * fixed order. */
#ifndef LK_DEVICE_CUDA_KERNEL_PLANE_CUH
#define LK_DEVICE_CUDA_KERNEL_PLANE_CUH

#include "device/cuda/kernel_reduce.cuh"

struct lk_plane_shape {
    int64_t images;
    int area, block;          /* pixels; elements of a row */
    int across, down, groups; /* of threads; groups of channels: blockIdx.x */
};

#define LK_PLANE_ROWS 6 /* that a thread should have, so that its loads keep the memory busy */

static inline lk_plane_shape lk_plane_shape_of(int64_t images, int64_t area, int block, lk_cuda_type type) {
    const int vectors = block / lk_cuda_lanes(type);
    int most = LK_GROUP_VECTORS;
    while (most < 32 && area < (int64_t)LK_PLANE_ROWS * (LK_CUDA_THREADS / most)) most *= 2;
    lk_plane_shape p = {images, (int)area, block, 0, 0, (vectors + most - 1) / most};
    p.across = (vectors + p.groups - 1) / p.groups;
    p.down = LK_CUDA_THREADS / p.across;
    return p;
}

static inline dim3 lk_plane_grid(const lk_plane_shape &p) {
    return dim3((unsigned)p.groups, (unsigned)(p.images < 65535 ? p.images : 65535));
}

/* The sums of the block's threads in totals[.][threadIdx.x]: row by row of threads, pairwise. */
template <int L>
static __device__ inline void lk_plane_sum(const lk_plane_shape &p, float (&totals)[L][LK_CUDA_THREADS],
                                           const float (&sum)[L]) {
    const int thread = threadIdx.y * p.across + threadIdx.x, y = threadIdx.y;
    __syncthreads(); /* what the image before left has been read */
    for (int i = 0; i < L; i++) totals[i][thread] = sum[i];
    for (int half = lk_first_half(p.down); half > 0; half /= 2) {
        __syncthreads();
        if (y < half && y + half < p.down)
            for (int i = 0; i < L; i++) totals[i][thread] += totals[i][thread + half * p.across];
    }
}

/* take(fetch(row)) for `left` rows from `row` on, `down` apart, in order. As many as COUNT are fetched at once, the
 * rest of them half as many, and so on: a load that depends on a condition would wait for its turn. */
template <int COUNT, typename F, typename G>
static __device__ inline void lk_each_row(int row, int down, int left, F fetch, G take) {
    for (; left >= COUNT; left -= COUNT, row += COUNT * down) {
        decltype(fetch(0)) v[COUNT];
#pragma unroll
        for (int k = 0; k < COUNT; k++) v[k] = fetch(row + k * down);
#pragma unroll
        for (int k = 0; k < COUNT; k++) take(v[k], row + k * down);
    }
    if constexpr (COUNT > 1) lk_each_row<COUNT / 2>(row, down, left, fetch, take);
}

/* Rows of a plane that the thread has, from threadIdx.y on. */
static __device__ inline int lk_plane_rows(const lk_plane_shape &p) {
    return (p.area - (int)threadIdx.y + p.down - 1) / p.down;
}

#endif
