/* Sums over the rows of an NHWC tensor, channel by channel, in a fixed order. A block takes a group of channels (a
 * vector for each threadIdx.x) and a chunk of rows (shared out over threadIdx.y), merges its threads pairwise in shared
 * memory and stores a partial result. The block that stores the last partial of a group merges them all, in order. */
#ifndef LK_DEVICE_CUDA_KERNEL_REDUCE_CUH
#define LK_DEVICE_CUDA_KERNEL_REDUCE_CUH

#include "device/cuda/kernel_util.cuh"

#define LK_ROWS_PER_THREAD 64 /* of one chunk: bounds the error of a thread's float sums */

struct lk_reduce_shape {
    int across;    /* threadIdx.x: vectors of a group */
    int down;      /* threadIdx.y: rows side by side */
    int groups;    /* blockIdx.x */
    int64_t chunk; /* rows */
    int chunks;    /* blockIdx.y */
};

static inline lk_reduce_shape lk_reduce_shape_of(const lk_cuda_rows *s) {
    lk_reduce_shape r;
    int vectors = s->block / lk_cuda_lanes(s->type);
    r.across = 1;
    while (r.across < vectors && r.across < 32) r.across *= 2;
    r.down = LK_CUDA_THREADS / r.across;
    r.groups = (vectors + r.across - 1) / r.across;
    r.chunk = (int64_t)r.down * LK_ROWS_PER_THREAD;
    int64_t chunks = lk_ceil_div(s->rows, r.chunk);
    if (chunks > 1024) { /* long chunks rather than many partial results */
        r.chunk = lk_ceil_div(lk_ceil_div(s->rows, 1024), r.down) * r.down;
        chunks = lk_ceil_div(s->rows, r.chunk);
    }
    r.chunks = (int)chunks;
    return r;
}

/* Is this block the last of its group to arrive? All threads get the answer; what others stored before arriving is
 * then visible. Sets the counter back. */
static __device__ inline bool lk_last_to_arrive(unsigned *counters) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        last = atomicAdd(&counters[blockIdx.x], 1u) == gridDim.y - 1;
        if (last) counters[blockIdx.x] = 0;
    }
    __syncthreads();
    if (last) __threadfence();
    return last;
}

#endif
