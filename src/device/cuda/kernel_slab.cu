/* Arithmetic over slabs of float32. */
#include "device/cuda/kernel_util.cuh"

static __global__ void slab_add(float *sum, const float *x, int64_t count) {
    LK_GRID_LOOP(i, count) sum[i] = sum[i] + x[i];
}

static __global__ void slab_blend(float *running, const float *fresh, int64_t count, float keep, float take) {
    LK_GRID_LOOP(i, count) running[i] = keep * running[i] + take * fresh[i];
}

static __global__ void slab_squares(const float *x, int64_t count, double *sums) {
    __shared__ double parts[LK_CUDA_THREADS];
    const int64_t begin = (int64_t)blockIdx.x * LK_CUDA_CHUNK;
    double sum = 0;
    for (int i = threadIdx.x; i < LK_CUDA_CHUNK && begin + i < count; i += LK_CUDA_THREADS)
        sum += (double)x[begin + i] * (double)x[begin + i];
    parts[threadIdx.x] = sum;
    for (int half = LK_CUDA_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = parts[0];
}

int lk_cuda_slab_add(cudaStream_t stream, float *sum, const float *x, int64_t count) {
    return lk_launch(slab_add, lk_grid(count), LK_CUDA_THREADS, stream, sum, x, count);
}

int lk_cuda_slab_blend(cudaStream_t stream, float *running, const float *fresh, int64_t count, float keep, float take) {
    return lk_launch(slab_blend, lk_grid(count), LK_CUDA_THREADS, stream, running, fresh, count, keep, take);
}

int lk_cuda_slab_squares(cudaStream_t stream, const float *x, int64_t count, double *sums) {
    dim3 grid((unsigned)lk_ceil_div(count, LK_CUDA_CHUNK));
    return lk_launch(slab_squares, grid, LK_CUDA_THREADS, stream, x, count, sums);
}
