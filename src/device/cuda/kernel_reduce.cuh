/* Sums over the rows of an NHWC tensor, channel by channel, in a fixed order. A block takes a group of channels (a
 * vector for each threadIdx.x) and a chunk of rows (shared out over threadIdx.y), merges its threads pairwise in shared
 * memory and stores a partial result. The block that stores the last partial of a group merges them all, in order. */
#ifndef LK_DEVICE_CUDA_KERNEL_REDUCE_CUH
#define LK_DEVICE_CUDA_KERNEL_REDUCE_CUH

#include "device/cuda/kernel_util.cuh"

#define LK_GROUP_VECTORS 8    /* most of a group: 128 bytes, so that a group's part of a row is whole cache lines */
#define LK_ROWS_PER_THREAD 64 /* at most, of one chunk: bounds the error of a thread's float sums */
#define LK_LEAST_ROWS 4       /* of a thread: what it knows of its channels is worth the loading */
#define LK_BLOCKS_WANTED \
    792                     /* six for each multiprocessor of an H100; part of the bits of sums: never read off a GPU */
#define LK_MOST_CHUNKS 1024 /* long chunks rather than more partial results */

struct lk_reduce_shape {
    int across;    /* threadIdx.x: vectors of a group */
    int down;      /* threadIdx.y: rows side by side */
    int groups;    /* blockIdx.x */
    int64_t chunk; /* rows, a multiple of down */
    int chunks;    /* blockIdx.y */
};

static inline lk_reduce_shape lk_reduce_shape_of(const lk_cuda_rows *s) {
    lk_reduce_shape r;
    int vectors = s->block / lk_cuda_lanes(s->type);
    r.groups = (vectors + LK_GROUP_VECTORS - 1) / LK_GROUP_VECTORS;
    r.across = (vectors + r.groups - 1) / r.groups;
    r.down = LK_CUDA_THREADS / r.across;
    int64_t each = lk_ceil_div(s->rows * r.groups, (int64_t)r.down * LK_BLOCKS_WANTED); /* rows of a thread */
    each = each < LK_LEAST_ROWS ? LK_LEAST_ROWS : each > LK_ROWS_PER_THREAD ? LK_ROWS_PER_THREAD : each;
    int64_t least = lk_ceil_div(lk_ceil_div(s->rows, LK_MOST_CHUNKS), r.down);
    r.chunk = (each > least ? each : least) * r.down;
    r.chunks = (int)lk_ceil_div(s->rows, r.chunk);
    return r;
}

/* The merging of `down` threads: steps of this, halved until 0; a thread below it takes the one `half` further on,
 * where there is one. */
static __device__ inline int lk_first_half(int down) {
    int half = 1;
    while (half * 2 < down) half *= 2;
    return down > 1 ? half : 0;
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

/* How the last block of a group shares out its channels' partial results: `width` channels side by side, the chunks
 * of each split in `split` runs of `each`. Threads beyond width * split have none. */
struct lk_finish {
    int width, split, each;
    int thread, channel, begin, end; /* of this thread; begin == end: nothing */
};

template <typename T>
static __device__ inline lk_finish lk_finish_of(const lk_reduce_shape &r, int block) {
    lk_finish f;
    f.width = r.across * lk_lanes<T>::COUNT;
    f.split = r.across * r.down / f.width;
    f.each = (r.chunks + f.split - 1) / f.split;
    f.thread = threadIdx.y * r.across + threadIdx.x;
    f.channel = (int)blockIdx.x * f.width + f.thread % f.width;
    const int part = f.thread / f.width, begin = part * f.each,
              end = begin + f.each < r.chunks ? begin + f.each : r.chunks;
    const bool idle = part >= f.split || f.channel >= block || begin >= end;
    f.begin = idle ? 0 : begin;
    f.end = idle ? 0 : end;
    return f;
}

#endif
