/* Batch normalisation forward. Statistics are taken in one pass over x: a thread sums distances from the first value it
 * sees, so that a large mean costs no digits, and threads, blocks and chunks merge as Chan, Golub and LeVeque 1983
 * merge samples. A thread's error is at most LK_ROWS_PER_THREAD roundings of a sum that its own values bound. */
#include "device/cuda/kernel_norm.cuh"
#include "device/cuda/kernel_reduce.cuh"

struct moments {
    double count, mean, squares;
};

static __device__ inline moments merge(moments a, moments b) {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    double count = a.count + b.count, distance = b.mean - a.mean;
    moments m = {count, a.mean + distance * (b.count / count),
                 a.squares + b.squares + distance * distance * (a.count * b.count / count)};
    return m;
}

/* The last block of a group: merges the chunks of its channels and writes the results. */
template <typename T>
static __device__ void finish_statistics(const lk_cuda_norm &n, const lk_reduce_shape &r) {
    __shared__ moments parts[LK_CUDA_THREADS];
    const int width = r.across * lk_lanes<T>::COUNT, split = LK_CUDA_THREADS / width;
    const int thread = threadIdx.y * r.across + threadIdx.x, part = thread / width, block = n.shape.block;
    const int channel = (int)blockIdx.x * width + thread % width;
    const int each = (r.chunks + split - 1) / split;
    moments total = {0, 0, 0};
    for (int i = part * each; i < (part + 1) * each && i < r.chunks && channel < block; i++) {
        int64_t rest = n.shape.rows - i * r.chunk;
        const float *partial = n.partial + (int64_t)i * 2 * block + channel;
        moments chunk = {(double)(rest < r.chunk ? rest : r.chunk), (double)__ldcg(partial),
                         (double)__ldcg(partial + block)};
        total = merge(total, chunk);
    }
    parts[thread] = total;
    __syncthreads();
    if (part != 0 || channel >= block) return;
    for (int i = 1; i < split; i++) total = merge(total, parts[i * width + thread]);
    bool real = channel < n.shape.channels;
    double variance = total.squares / total.count;
    n.saved[channel] = real ? (float)total.mean : 0;
    n.saved[block + channel] = real ? (float)(1 / sqrt(variance + (double)n.eps)) : 0;
    if (!real) return;
    n.mean[channel] = (float)total.mean;
    n.variance[channel] = (float)variance;
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) statistics(lk_cuda_norm n, lk_reduce_shape r) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float means[L][LK_CUDA_THREADS], squares[L][LK_CUDA_THREADS];
    __shared__ int counts[LK_CUDA_THREADS];
    const int thread = threadIdx.y * r.across + threadIdx.x, first = ((int)blockIdx.x * r.across + threadIdx.x) * L;
    const int64_t begin = blockIdx.y * r.chunk;
    const int64_t end = begin + r.chunk < n.shape.rows ? begin + r.chunk : n.shape.rows;
    float pivot[L] = {0}, sum[L] = {0}, square[L] = {0};
    int count = 0;
    if (first < n.shape.block) {
        const T *x = (const T *)n.x + first;
        if (begin + threadIdx.y < end) lk_load<T>(pivot, x + (begin + threadIdx.y) * n.shape.block);
#pragma unroll 4
        for (int64_t row = begin + threadIdx.y; row < end; row += r.down) {
            float v[L];
            lk_load<T>(v, x + row * n.shape.block);
#pragma unroll
            for (int i = 0; i < L; i++) {
                float d = v[i] - pivot[i];
                sum[i] += d;
                square[i] = fmaf(d, d, square[i]);
            }
            count++;
        }
    }
    counts[thread] = count;
    for (int i = 0; i < L; i++) {
        float mean = count > 0 ? sum[i] / (float)count : 0, rest = square[i] - sum[i] * mean;
        means[i][thread] = pivot[i] + mean;
        squares[i][thread] = rest < 0 ? 0 : rest; /* NaN passes */
    }
    for (int half = r.down / 2; half > 0; half /= 2) {
        __syncthreads();
        const int other = thread + half * r.across;
        const bool active = (int)threadIdx.y < half;
        const float a = active ? (float)counts[thread] : 0, b = active ? (float)counts[other] : 0;
        if (active && b > 0) {
            for (int i = 0; i < L; i++) {
                float distance = means[i][other] - means[i][thread];
                means[i][thread] += distance * (b / (a + b));
                squares[i][thread] += squares[i][other] + distance * distance * (a * b / (a + b));
            }
            counts[thread] += counts[other];
        }
    }
    if (threadIdx.y == 0 && first < n.shape.block) {
        float *partial = n.partial + (int64_t)blockIdx.y * 2 * n.shape.block + first;
        for (int i = 0; i < L; i++) {
            partial[i] = means[i][thread];
            partial[n.shape.block + i] = squares[i][thread];
        }
    }
    if (lk_last_to_arrive(n.counters)) finish_statistics<T>(n, r);
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) apply(lk_cuda_norm n, lk_reduce_shape r) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = ((int)blockIdx.x * r.across + threadIdx.x) * L, block = n.shape.block;
    if (first >= block) return;
    float mean[L], scale[L], beta[L];
    lk_norm_channels<T>(n, first, mean, scale, beta);
    const T *x = (const T *)n.x, *residual = (const T *)n.residual;
    for (int64_t row = blockIdx.y * (int64_t)r.down + threadIdx.y; row < n.shape.rows;
         row += (int64_t)gridDim.y * r.down) {
        const int64_t at = row * block + first;
        float v[L], z[L], other[L] = {0};
        lk_load<T>(v, x + at);
        if (residual != nullptr) lk_load<T>(other, residual + at);
        const float keep = n.keep != nullptr ? n.keep[row / n.area] : 1;
        unsigned stopped = 0;
#pragma unroll
        for (int i = 0; i < L; i++) {
            z[i] = lk_norm_value(v[i], mean[i], scale[i], beta[i], keep, other[i]);
            if (n.mask != nullptr && z[i] <= 0) stopped |= 1u << i;
            z[i] = first + i < n.shape.channels ? lk_act_value(n.act, z[i]) : 0;
        }
        lk_store<T>((T *)n.y + at, z);
        if (n.mask != nullptr) n.mask[at / L] = (uint8_t)stopped;
    }
}

int lk_cuda_norm_statistics(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, r.chunks), block(r.across, r.down);
    if (norm->shape.type == LK_CUDA_BF16) return lk_launch(statistics<lk_bf16>, grid, block, stream, *norm, r);
    return lk_launch(statistics<float>, grid, block, stream, *norm, r);
}

int lk_cuda_norm_apply(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, lk_row_blocks(norm->shape.rows, &r)), block(r.across, r.down);
    if (norm->shape.type == LK_CUDA_BF16) return lk_launch(apply<lk_bf16>, grid, block, stream, *norm, r);
    return lk_launch(apply<float>, grid, block, stream, *norm, r);
}
