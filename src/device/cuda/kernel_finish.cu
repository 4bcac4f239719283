/* What weight gradients lack when their passes are done, for many layers in one launch: 16-bit values widened to
 * float32, partial sums added in order. */
#include "device/cuda/kernel_util.cuh"

#define WIDEN_CHUNK 4096 /* elements of a block, a multiple of a vector */
#define ADD_ACROSS 32    /* elements that a block adds up, side by side */

template <typename T>
static __device__ inline void widen(const lk_cuda_unfinished &t, int block) {
    constexpr int L = lk_lanes<T>::COUNT;
    const T *from = (const T *)t.from;
    const int64_t begin = (int64_t)block * WIDEN_CHUNK,
                  end = begin + WIDEN_CHUNK < t.count ? begin + WIDEN_CHUNK : t.count;
    int64_t i = begin + (int64_t)threadIdx.x * L;
#pragma unroll
    for (int k = 0; k < WIDEN_CHUNK / (LK_CUDA_THREADS * L); k++, i += LK_CUDA_THREADS * L) {
        if (i + L <= end) {
            float v[L];
            lk_load<T>(v, from + i);
#pragma unroll
            for (int q = 0; q < L; q += 4) {
                const float four[4] = {v[q], v[q + 1], v[q + 2], v[q + 3]};
                lk_store<float>(t.to + i + q, four);
            }
        } else {
            for (int64_t j = i; j < end; j++) t.to[j] = lk_float(from[j]);
        }
    }
}

/* In double: a run of chunks for each row of threads, then the runs, in order. */
static __device__ inline void add_chunks(const lk_cuda_unfinished &t, int block, double *totals) {
    const int across = threadIdx.x % ADD_ACROSS, part = threadIdx.x / ADD_ACROSS, parts = LK_CUDA_THREADS / ADD_ACROSS;
    const int64_t element = (int64_t)block * ADD_ACROSS + across;
    const int each = (t.chunks + parts - 1) / parts, end = (part + 1) * each < t.chunks ? (part + 1) * each : t.chunks;
    const float *partial = (const float *)t.from;
    double total = 0;
#pragma unroll 8
    for (int i = part * each; i < end; i++)
        if (element < t.count) total += (double)partial[i * t.count + element];
    totals[threadIdx.x] = total;
    __syncthreads();
    if (part != 0 || element >= t.count) return;
    for (int i = 1; i < parts; i++) total += totals[i * ADD_ACROSS + across];
    t.to[element] = (float)total;
}

/* Which gradient a block works for is found by halving: the same for all threads. */
template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) finish(LK_GRID_CONSTANT lk_cuda_finish f) {
    __shared__ double totals[LK_CUDA_THREADS];
    const int block = (int)blockIdx.x;
    int low = 0, high = f.count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (f.all[middle].first_block <= block)
            low = middle;
        else
            high = middle;
    }
    const lk_cuda_unfinished t = f.all[low];
    if (t.chunks > 0)
        add_chunks(t, block - t.first_block, totals);
    else
        widen<T>(t, block - t.first_block);
}

int64_t lk_cuda_finish_blocks(const lk_cuda_unfinished *unfinished) {
    return lk_ceil_div(unfinished->count, unfinished->chunks > 0 ? ADD_ACROSS : WIDEN_CHUNK);
}

/* In float32 there is nothing to widen. */
int lk_cuda_finish_run(cudaStream_t stream, const lk_cuda_finish *f) {
    const dim3 grid((unsigned)f->blocks);
    return f->type == LK_CUDA_F16 ? lk_launch(finish<lk_f16>, grid, LK_CUDA_THREADS, stream, *f)
                                  : lk_launch(finish<lk_bf16>, grid, LK_CUDA_THREADS, stream, *f);
}
