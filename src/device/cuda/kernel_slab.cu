/* Sums over slabs of float32. */
#include "device/cuda/kernel_util.cuh"

static __global__ void slab_add(float *sum, const float *x, int64_t count) {
    LK_GRID_LOOP(i, count) sum[i] = sum[i] + x[i];
}

/* A block sums one chunk. Which segment it belongs to is found by halving: the same for all threads. */
static __global__ void slab_squares(const float *x, lk_cuda_segments s, int first, double *sums) {
    __shared__ double parts[LK_CUDA_THREADS];
    const int chunk = first + (int)blockIdx.x;
    int low = 0, high = s.count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (s.chunk[middle] <= chunk)
            low = middle;
        else
            high = middle;
    }
    const int64_t begin = s.begin[low] + (int64_t)(chunk - s.chunk[low]) * LK_CUDA_CHUNK, end = s.begin[low + 1];
    double sum = 0;
    for (int i = threadIdx.x; i < LK_CUDA_CHUNK && begin + i < end; i += LK_CUDA_THREADS)
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

int lk_cuda_slab_squares(cudaStream_t stream, const float *x, const lk_cuda_segments *segments, int first, int count,
                         double *sums) {
    return lk_launch(slab_squares, dim3((unsigned)count), LK_CUDA_THREADS, stream, x, *segments, first, sums);
}
