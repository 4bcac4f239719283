/* The mean over a plane, and its gradient. A thread has 8 vectors of 16 bytes under way in 62 registers; 4 blocks of
 * 256 threads then are 128 KB on a multiprocessor, three times the 40 KB that keep the memory of an H100 busy: expected
 * are 85% of its 3.0 TB/s or more. */
#include "device/cuda/kernel_plane.cuh"

#define AHEAD 8

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, 4) mean_forward(lk_plane_shape p, const T *x, T *y) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float totals[L][LK_CUDA_THREADS];
    const int thread = threadIdx.y * p.across + threadIdx.x;
    const int first = ((int)blockIdx.x * p.across + threadIdx.x) * L;
    for (int64_t image = blockIdx.y; image < p.images; image += gridDim.y) {
        float sum[L] = {0};
        const T *from = x + image * p.area * p.block + first;
        auto fetch = [&](int row) { return lk_fetch<T>(from + (int64_t)row * p.block); };
        auto add = [&](const lk_vector<T> &v, int) {
#pragma unroll
            for (int i = 0; i < L; i++) sum[i] += lk_float(v.lane[i]);
        };
        if (first < p.block) lk_each_row<AHEAD>(threadIdx.y, p.down, lk_plane_rows(p), fetch, add);
        lk_plane_sum<L>(p, totals, sum);
        if (threadIdx.y != 0 || first >= p.block) continue;
        for (int i = 0; i < L; i++) sum[i] = totals[i][thread] / (float)p.area;
        lk_store<T>(y + image * p.block + first, sum);
    }
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS)
    mean_backward(lk_plane_shape p, const T *dy0, const T *dy1, T *dx) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = ((int)blockIdx.x * p.across + threadIdx.x) * L;
    if (first >= p.block) return;
    for (int64_t image = blockIdx.y; image < p.images; image += gridDim.y) {
        float g[L];
        lk_load_dy<T>(g, dy0, dy1, image * p.block + first);
        for (int i = 0; i < L; i++) g[i] /= (float)p.area;
        T *to = dx + image * p.area * p.block + first;
#pragma unroll 4
        for (int row = threadIdx.y; row < p.area; row += p.down) lk_store<T>(to + (int64_t)row * p.block, g);
    }
}

static lk_plane_shape planes_of(const lk_cuda_pool *pool) {
    return lk_plane_shape_of(pool->n, (int64_t)pool->h * pool->w, pool->block, pool->type);
}

template <typename T>
static int run_forward(cudaStream_t stream, const lk_cuda_pool *pool, const void *x, void *y) {
    lk_plane_shape p = planes_of(pool);
    dim3 grid = lk_plane_grid(p), block(p.across, p.down);
    return lk_launch(mean_forward<T>, grid, block, stream, p, (const T *)x, (T *)y);
}

template <typename T>
static int run_backward(cudaStream_t stream, const lk_cuda_pool *pool, const void *const dy[2], void *dx) {
    lk_plane_shape p = planes_of(pool);
    dim3 grid = lk_plane_grid(p), block(p.across, p.down);
    return lk_launch(mean_backward<T>, grid, block, stream, p, (const T *)dy[0], (const T *)dy[1], (T *)dx);
}

int lk_cuda_mean_forward(cudaStream_t stream, const lk_cuda_pool *pool, const void *x, void *y) {
    return LK_BY_TYPE(pool->type, run_forward, stream, pool, x, y);
}

int lk_cuda_mean_backward(cudaStream_t stream, const lk_cuda_pool *pool, const void *const dy[2], void *dx) {
    return LK_BY_TYPE(pool->type, run_backward, stream, pool, dy, dx);
}
