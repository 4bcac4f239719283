/* Batch normalisation forward. Statistics are taken in one pass over x: a thread sums distances from the first value it
 * sees, so that a large mean costs no digits, and threads and chunks
 * merge as Chan, Golub and LeVeque 1983 merge samples, in double. A thread's error is at most LK_ROWS_PER_THREAD
 * roundings of a sum that its own values bound. */
#include "device/cuda/kernel_norm.cuh"

/* Vectors of 16 bytes that a thread has under way: 8 of x for the statistics; for the values 4 of x, or 2 and as many
 * of a residual. With blocks of 256 threads, LK_BLOCKS of them on a multiprocessor, that is 96 KB and 48 KB; an H100
 * needs about 40 KB to keep its memory busy (3.35 TB/s, 1.5 us under load, 132 multiprocessors). */
#define LK_AHEAD 8
#define LK_AHEAD_APPLY(residual) ((residual) ? 2 : 4)
#define LK_BLOCKS 3
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 /* where the compiler needs more registers for the same */
#define LK_FIT(act) ((act) == LK_ACT_NONE || (act) == LK_ACT_RELU ? LK_BLOCKS : 2)
#else
#define LK_FIT(act) LK_BLOCKS
#endif

/* Samples merge by their counts n, means m and sums of squared distances s: with p one of the means,
 *   mean = p + sum(n (m - p)) / N,  squares = sum(s + n (m - p)^2) - sum(n (m - p))^2 / N. */
static __device__ inline lk_sums weigh(double count, double distance, double squares) {
    const lk_sums p = {count * distance, squares + count * distance * distance};
    return p;
}

/* The last block of a group: merges the chunks of its channels and writes the results. */
template <typename T>
static __device__ void finish_statistics(const lk_cuda_norm &n, const lk_reduce_shape &r, int group,
                                         lk_scratch<T> &scratch) {
    const int block = n.shape.block, width = r.across * lk_lanes<T>::COUNT;
    const int thread = threadIdx.y * r.across + threadIdx.x;
    const int first = group * width + thread % (width / 4) * 4;
    float pivots[4] = {0};
    if (first < block) lk_load_floats(pivots, n.partial + first);
    lk_sums total;
    int channel;
    auto pair_of = [&](int chunk, float mean, float squares, int k) {
        const int64_t rest = n.shape.rows - chunk * r.chunk;
        return weigh((double)(rest < r.chunk ? rest : r.chunk), (double)mean - (double)pivots[k], (double)squares);
    };
    if (!lk_merge_chunks<T>(r, block, group, n.partial, scratch, pair_of, &channel, &total)) return;
    const bool real = channel < n.shape.channels;
    const double count = (double)n.shape.rows, step = total.a / count, squares = total.b - total.a * step;
    const double variance = squares < 0 ? 0 : squares / count; /* NaN passes */
    const double mean = (double)__ldcg(n.partial + channel) + step;
    const float inverse = (float)(1 / sqrt(variance + (double)n.eps));
    n.saved[channel] = real ? (float)mean : 0;
    n.saved[block + channel] = real ? inverse : 0;
    n.saved[2 * block + channel] = real ? n.gamma[channel] * inverse : 0;
    n.saved[3 * block + channel] = real ? n.beta[channel] : 0;
    if (!real) return;
    n.mean[channel] = (float)mean;
    n.variance[channel] = (float)variance;
}

/* The partial result of a chunk: mean and sum of squared distances. */
template <typename T>
static __device__ inline void take_statistics(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk,
                                              lk_scratch<T> &scratch) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int thread = threadIdx.y * r.across + threadIdx.x, first = (group * r.across + (int)threadIdx.x) * L;
    const int block = n.shape.block;
    const lk_row_range rows = lk_chunk_rows(n, r, chunk);
    const int64_t stride = (int64_t)r.down * block;
    const int all = (int)(rows.end - rows.begin), each = all / r.down, more = all % r.down; /* rows of a thread */
    const int count = each + ((int)threadIdx.y < more);
    float pivot[L] = {0}, sum[L] = {0}, square[L] = {0};
    auto take = [&](const lk_vector<T> &raw) {
        float v[L];
        lk_unpack<T>(v, raw);
#pragma unroll
        for (int i = 0; i < L; i++) {
            const float d = v[i] - pivot[i];
            sum[i] += d;
            square[i] = fmaf(d, d, square[i]);
        }
    };
    if (first < block && count > 0) {
        const T *x = (const T *)n.x + (rows.begin + threadIdx.y) * block + first;
        int left = count;
        lk_load<T>(pivot, x);
        for (; left >= LK_AHEAD; left -= LK_AHEAD, x += LK_AHEAD * stride) {
            lk_vector<T> raw[LK_AHEAD];
#pragma unroll
            for (int u = 0; u < LK_AHEAD; u++) raw[u] = lk_fetch<T>(x + u * stride);
#pragma unroll
            for (int u = 0; u < LK_AHEAD; u++) take(raw[u]);
        }
        for (; left > 0; left--, x += stride) take(lk_fetch<T>(x));
    }
    for (int i = 0; i < L; i++) {
        float mean = count > 0 ? sum[i] / (float)count : 0, rest = square[i] - sum[i] * mean;
        scratch.values[0][i][thread] = pivot[i] + mean;
        scratch.values[1][i][thread] = rest < 0 ? 0 : rest; /* NaN passes */
    }
    lk_sums total;
    int channel;
    auto pair_of = [&](int y, int at, int lane) {
        const int taken = each + (y < more);
        if (taken == 0) return weigh(0, 0, 0);
        const double pivot = (double)scratch.values[0][lane][at - y * r.across];
        return weigh((double)taken, (double)scratch.values[0][lane][at] - pivot, (double)scratch.values[1][lane][at]);
    };
    if (lk_merge_rows<T>(r, block, group, scratch, pair_of, &channel, &total)) {
        const double step = total.a / (double)all, squares = total.b - total.a * step;
        const int x = (channel / L) % r.across;
        float *partial = n.partial + (int64_t)chunk * 2 * block + channel;
        partial[0] = (float)((double)scratch.values[0][channel % L][x] + step);
        partial[block] = squares < 0 ? 0 : (float)squares;
    }
}

/* The values of a chunk. */
template <typename T, int ACT, bool RESIDUAL>
static __device__ inline void put_values(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk) {
    constexpr int L = lk_lanes<T>::COUNT, AHEAD = LK_AHEAD_APPLY(RESIDUAL);
    const int first = (group * r.across + (int)threadIdx.x) * L, block = n.shape.block;
    if (first >= block) return;
    float mean[L], scale[L], beta[L];
    lk_norm_channels<T>(n, first, mean, scale, beta);
    const T *x = (const T *)n.x, *residual = (const T *)n.residual;
    const lk_row_range rows = lk_chunk_rows(n, r, chunk);
    auto put = [&](int64_t row, const lk_vector<T> &raw, const lk_vector<T> &other_raw) {
        const int64_t at = row * block + first;
        const float keep = lk_norm_keep(n, row);
        float v[L], other[L] = {0};
        unsigned stopped = 0;
        lk_unpack<T>(v, raw);
        if (RESIDUAL) lk_unpack<T>(other, other_raw);
#pragma unroll
        for (int i = 0; i < L; i++) {
            const float z = lk_norm_value(v[i] - mean[i], scale[i], beta[i], keep, other[i]);
            if (z <= 0) stopped |= 1u << i;
            v[i] = lk_act_value<T>(lk_norm_act<ACT>(n), z);
            if (ACT == LK_ANY_ACT && first + i >= n.shape.channels) v[i] = 0; /* not every activation of 0 is 0 */
        }
        lk_store<T>((T *)n.y + at, v);
        if (ACT == LK_ACT_RELU && n.mask != nullptr) n.mask[at / L] = (uint8_t)stopped;
    };
    int64_t row = rows.begin + threadIdx.y;
    for (; row + (AHEAD - 1) * r.down < rows.end; row += AHEAD * r.down) {
        lk_vector<T> raw[AHEAD], other[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const int64_t at = (row + u * r.down) * block + first;
            raw[u] = lk_fetch<T>(x + at);
            if (RESIDUAL) other[u] = lk_fetch<T>(residual + at);
        }
#pragma unroll
        for (int u = 0; u < AHEAD; u++) put(row + u * r.down, raw[u], other[u]);
    }
    for (; row < rows.end; row += r.down) {
        const int64_t at = row * block + first;
        put(row, lk_fetch<T>(x + at), RESIDUAL ? lk_fetch<T>(residual + at) : lk_vector<T>());
    }
}

template <typename T, int ACT, bool RESIDUAL>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_FIT(ACT))
    measure_and_apply(lk_cuda_norm n, lk_reduce_shape r) {
    __shared__ lk_norm_memory<T> memory;
    lk_block_memory(memory);
    auto take = [&](int group, int chunk) { take_statistics<T>(n, r, group, chunk, memory.scratch); };
    auto merge = [&](int group) { finish_statistics<T>(n, r, group, memory.scratch); };
    auto put = [&](int group, int chunk) { put_values<T, ACT, RESIDUAL>(n, r, group, chunk); };
    lk_run_phases(r, false, n.counters, memory.turn, take, merge, put);
}

template <typename T, int ACT, bool RESIDUAL>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_FIT(ACT)) apply(lk_cuda_norm n, lk_reduce_shape r) {
    put_values<T, ACT, RESIDUAL>(n, r, (int)blockIdx.x, (int)blockIdx.y);
}

int lk_cuda_norm_forward(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(lk_phase_blocks(r, norm->multiprocessors, LK_BLOCKS)), block(r.across, r.down);
    if (norm->residual != nullptr) return LK_NORM_LAUNCH(measure_and_apply, true, norm, grid, block, stream, *norm, r);
    return LK_NORM_LAUNCH(measure_and_apply, false, norm, grid, block, stream, *norm, r);
}

int lk_cuda_norm_apply(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, r.chunks), block(r.across, r.down);
    if (norm->residual != nullptr) return LK_NORM_LAUNCH(apply, true, norm, grid, block, stream, *norm, r);
    return LK_NORM_LAUNCH(apply, false, norm, grid, block, stream, *norm, r);
}
