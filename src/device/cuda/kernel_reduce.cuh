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
    int across; /* threadIdx.x: vectors of a group */
    int down;   /* threadIdx.y: rows side by side */
    int groups;
    int64_t chunk; /* rows, a multiple of down */
    int chunks;
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

/* Is this block the last of its group (blockIdx.x; blockIdx.y: the chunk) to arrive? All threads get the answer; what
 * others stored before arriving is then visible. Sets the counter back. */
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

/* Two sums at once. */
struct lk_sums {
    double a, b;
};

#define LK_SCRATCH_ROW (LK_CUDA_THREADS + 8) /* rows of vector lanes begin in different banks */

/* Shared memory of a block that merges pairs: two floats for each lane of each thread, then of four channels a thread.
 */
template <typename T>
struct lk_scratch {
    union {
        float values[2][lk_lanes<T>::COUNT][LK_SCRATCH_ROW];
        double chunks[2][4][LK_CUDA_THREADS];
    };
    double parts[2][LK_CUDA_THREADS];
};

/* Merges what the threads of a block have of each channel of a group: pair_of(y, at, lane) gives what the thread in row
 * y, of number `at`, has of its lane. Threads that return true have a channel (of the whole tensor, below `block`). */
template <typename T, typename F>
static __device__ inline bool lk_merge_rows(const lk_reduce_shape &r, int block, int group, lk_scratch<T> &scratch,
                                            F pair_of, int *channel, lk_sums *total) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int thread = threadIdx.y * r.across + threadIdx.x, width = r.across * L, split = r.across * r.down / width;
    const int each = (r.down + split - 1) / split, part = thread / width, lane = thread / r.across % L;
    const int x = thread % r.across;
    lk_sums sum = {0, 0};
    __syncthreads();
    for (int y = part * each; part < split && y < (part + 1) * each && y < r.down; y++) {
        const lk_sums p = pair_of(y, y * r.across + x, lane);
        sum.a += p.a;
        sum.b += p.b;
    }
    scratch.parts[0][thread] = sum.a;
    scratch.parts[1][thread] = sum.b;
    __syncthreads();
    *channel = (group * r.across + x) * L + lane;
    if (part != 0 || *channel >= block) return false;
    for (int i = 1; i < split; i++) {
        sum.a += scratch.parts[0][i * width + thread];
        sum.b += scratch.parts[1][i * width + thread];
    }
    *total = sum;
    return true;
}

/* Merges the partial results of a group's chunks, each 2 x block floats: pair_of(chunk, first, second, lane) gives what
 * two floats of a channel add; `lane` is the channel's place among the four of this thread. Only in the block that came
 * last; returns as lk_merge_rows. */
template <typename T, typename F>
static __device__ inline bool lk_merge_chunks(const lk_reduce_shape &r, int block, int group, const float *partial,
                                              lk_scratch<T> &scratch, F pair_of, int *channel, lk_sums *total) {
    const int thread = threadIdx.y * r.across + threadIdx.x, width = r.across * lk_lanes<T>::COUNT;
    const int vectors = width / 4, split = r.across * r.down / vectors, each = (r.chunks + split - 1) / split;
    const int part = thread / vectors, first = group * width + thread % vectors * 4;
    const int begin = part * each, end = begin + each < r.chunks ? begin + each : r.chunks;
    double a[4] = {0}, b[4] = {0};
    if (part < split && first < block) {
#pragma unroll 4
        for (int i = begin; i < end; i++) {
            const float4 x = __ldcg((const float4 *)(partial + (int64_t)i * 2 * block + first));
            const float4 y = __ldcg((const float4 *)(partial + (int64_t)i * 2 * block + block + first));
            const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const lk_sums p = pair_of(i, xs[k], ys[k], k);
                a[k] += p.a;
                b[k] += p.b;
            }
        }
    }
    __syncthreads();
    for (int k = 0; k < 4; k++) {
        scratch.chunks[0][k][thread] = a[k];
        scratch.chunks[1][k][thread] = b[k];
    }
    __syncthreads();
    *channel = group * width + thread;
    if (thread >= width || *channel >= block) return false;
    lk_sums sum = {0, 0};
    for (int i = 0; i < split; i++) {
        sum.a += scratch.chunks[0][thread % 4][i * vectors + thread / 4];
        sum.b += scratch.chunks[1][thread % 4][i * vectors + thread / 4];
    }
    *total = sum;
    return true;
}

#endif
