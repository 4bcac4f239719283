/* The mean over a plane, and its gradient. A block takes one image and a group of channels (a vector for each
 * threadIdx.x); the rows of the image, its pixels, are shared out over threadIdx.y. A thread has 8 vectors of 16 bytes
 * under way: 256 threads 32 KB, and 3 blocks or more on a multiprocessor, where an H100 needs 15 KB to keep its memory
 * busy. Sums are taken in a fixed order: each thread's rows, then the threads pairwise. */
#include "device/cuda/kernel_reduce.cuh"

#define AHEAD 8 /* vectors that a thread loads before it adds the first */

struct planes {
    int64_t n;
    int area, block;
    lk_reduce_shape shape;
};

template <typename T>
static __device__ inline void add_rows(const planes &p, const T *x, float (&sum)[lk_lanes<T>::COUNT]) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int down = p.shape.down;
    for (int row = threadIdx.y; row < p.area; row += AHEAD * down) {
        lk_vector<T> v[AHEAD] = {};
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (row + k * down < p.area)
                v[k] = *reinterpret_cast<const lk_vector<T> *>(x + (int64_t)(row + k * down) * p.block);
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
#pragma unroll
            for (int i = 0; i < L; i++) sum[i] += lk_float(v[k].lane[i]);
    }
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) mean_forward(planes p, const T *x, T *y) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float totals[L][LK_CUDA_THREADS];
    const int across = p.shape.across, thread = threadIdx.y * across + threadIdx.x;
    const int first = ((int)blockIdx.x * across + threadIdx.x) * L;
    for (int64_t image = blockIdx.y; image < p.n; image += gridDim.y) {
        float sum[L] = {0};
        if (first < p.block) add_rows<T>(p, x + image * p.area * p.block + first, sum);
        __syncthreads(); /* the image before has been read */
        for (int i = 0; i < L; i++) totals[i][thread] = sum[i];
        for (int half = p.shape.down / 2; half > 0; half /= 2) {
            __syncthreads();
            if ((int)threadIdx.y < half)
                for (int i = 0; i < L; i++) totals[i][thread] += totals[i][thread + half * across];
        }
        if (threadIdx.y != 0 || first >= p.block) continue;
        for (int i = 0; i < L; i++) sum[i] = totals[i][thread] / (float)p.area;
        lk_store<T>(y + image * p.block + first, sum);
    }
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) mean_backward(planes p, const T *dy0, const T *dy1, T *dx) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = ((int)blockIdx.x * p.shape.across + threadIdx.x) * L;
    if (first >= p.block) return;
    for (int64_t image = blockIdx.y; image < p.n; image += gridDim.y) {
        float g[L];
        lk_load_dy<T>(g, dy0, dy1, image * p.block + first);
        for (int i = 0; i < L; i++) g[i] /= (float)p.area;
        T *to = dx + image * p.area * p.block + first;
#pragma unroll 4
        for (int row = threadIdx.y; row < p.area; row += p.shape.down) lk_store<T>(to + (int64_t)row * p.block, g);
    }
}

static planes planes_of(const lk_cuda_pool *pool, dim3 *grid, dim3 *block) {
    lk_cuda_rows rows = {pool->type, (int64_t)pool->h * pool->w, pool->block, pool->block};
    planes p = {pool->n, pool->h * pool->w, pool->block, lk_reduce_shape_of(&rows)};
    *grid = dim3(p.shape.groups, (unsigned)(p.n < 65535 ? p.n : 65535));
    *block = dim3(p.shape.across, p.shape.down);
    return p;
}

int lk_cuda_mean_forward(cudaStream_t stream, const lk_cuda_pool *pool, const void *x, void *y) {
    dim3 grid, block;
    planes p = planes_of(pool, &grid, &block);
    if (pool->type == LK_CUDA_BF16)
        return lk_launch(mean_forward<lk_bf16>, grid, block, stream, p, (const lk_bf16 *)x, (lk_bf16 *)y);
    return lk_launch(mean_forward<float>, grid, block, stream, p, (const float *)x, (float *)y);
}

int lk_cuda_mean_backward(cudaStream_t stream, const lk_cuda_pool *pool, const void *const dy[2], void *dx) {
    dim3 grid, block;
    planes p = planes_of(pool, &grid, &block);
    if (pool->type == LK_CUDA_BF16)
        return lk_launch(mean_backward<lk_bf16>, grid, block, stream, p, (const lk_bf16 *)dy[0], (const lk_bf16 *)dy[1],
                         (lk_bf16 *)dx);
    return lk_launch(mean_backward<float>, grid, block, stream, p, (const float *)dy[0], (const float *)dy[1],
                     (float *)dx);
}
