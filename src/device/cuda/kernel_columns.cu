/* Bias: added to every row, and its gradient, the sum of the rows. */
#include "device/cuda/kernel_norm.cuh"

struct columns {
    lk_cuda_rows shape;
    const void *dy;
    float *sums, *partial;
    int count;
    unsigned *counters;
};

/* How the last block of a group shares out its channels' partial results: `width` channels side by side, the chunks
 * of each split in `split` runs of `each`. Threads beyond width * split have none. */
struct finish {
    int width, split, each;
    int thread, channel, begin, end; /* of this thread; begin == end: nothing */
};

template <typename T>
static __device__ inline finish finish_of(const lk_reduce_shape &r, int block) {
    finish f;
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

template <typename T>
static __device__ void finish_columns(const columns &c, const lk_reduce_shape &r) {
    __shared__ double sums[LK_CUDA_THREADS];
    const finish f = finish_of<T>(r, c.shape.block);
    double sum = 0;
#pragma unroll 8
    for (int i = f.begin; i < f.end; i++) sum += (double)__ldcg(c.partial + (int64_t)i * c.shape.block + f.channel);
    sums[f.thread] = sum;
    __syncthreads();
    if (f.thread >= f.width || f.channel >= c.count) return;
    for (int i = 1; i < f.split; i++) sum += sums[i * f.width + f.thread];
    c.sums[f.channel] = f.channel < c.shape.channels ? (float)sum : 0;
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) column_sums(columns c, lk_reduce_shape r) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float totals[L][LK_CUDA_THREADS];
    const int thread = threadIdx.y * r.across + threadIdx.x, first = ((int)blockIdx.x * r.across + threadIdx.x) * L;
    const int64_t begin = blockIdx.y * r.chunk, rows = c.shape.rows;
    const int64_t end = begin + r.chunk < rows ? begin + r.chunk : rows;
    float total[L] = {0};
#pragma unroll 4
    for (int64_t row = begin + threadIdx.y; row < end && first < c.shape.block; row += r.down) {
        float v[L];
        lk_load<T>(v, (const T *)c.dy + row * c.shape.block + first);
        for (int i = 0; i < L; i++) total[i] += v[i];
    }
    for (int i = 0; i < L; i++) totals[i][thread] = total[i];
    for (int half = lk_first_half(r.down); half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half && (int)threadIdx.y + half < r.down)
            for (int i = 0; i < L; i++) totals[i][thread] += totals[i][thread + half * r.across];
    }
    if (threadIdx.y == 0 && first < c.shape.block)
        for (int i = 0; i < L; i++) c.partial[(int64_t)blockIdx.y * c.shape.block + first + i] = totals[i][thread];
    if (lk_last_to_arrive(c.counters)) finish_columns<T>(c, r);
}

template <typename T>
static __global__ void add_bias(lk_cuda_rows shape, T *y, const float *bias) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int vectors = shape.block / L;
    LK_GRID_LOOP(i, shape.rows * vectors) {
        const int first = (int)(i % vectors) * L;
        float v[L];
        lk_load<T>(v, y + i * L);
        for (int k = 0; k < L; k++)
            if (first + k < shape.channels) v[k] += bias[first + k];
        lk_store<T>(y + i * L, v);
    }
}

int64_t lk_cuda_chunks(const lk_cuda_rows *shape) { return lk_reduce_shape_of(shape).chunks; }

bool lk_cuda_counters_suffice(const lk_cuda_rows *shape) {
    return lk_reduce_shape_of(shape).groups <= LK_CUDA_COUNTERS - LK_CUDA_COUNTERS_AHEAD;
}

int lk_cuda_column_sums(cudaStream_t stream, const lk_cuda_rows *shape, const void *dy, float *sums, int count,
                        float *partial, unsigned *counters) {
    lk_reduce_shape r = lk_reduce_shape_of(shape);
    columns c = {*shape, dy, sums, partial, count, counters};
    dim3 grid(r.groups, r.chunks), block(r.across, r.down);
    return LK_LAUNCH_BY_TYPE(shape->type, column_sums, grid, block, stream, c, r);
}

template <typename T>
static int launch_add_bias(dim3 grid, cudaStream_t stream, const lk_cuda_rows *shape, void *y, const float *bias) {
    return lk_launch(add_bias<T>, grid, LK_CUDA_THREADS, stream, *shape, (T *)y, bias);
}

int lk_cuda_add_bias(cudaStream_t stream, const lk_cuda_rows *shape, void *y, const float *bias) {
    dim3 grid = lk_grid(shape->rows * shape->block / lk_cuda_lanes(shape->type));
    return LK_BY_TYPE(shape->type, launch_add_bias, grid, stream, shape, y, bias);
}
