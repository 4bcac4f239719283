/* The statistics of batch normalisation, taken in one pass over x: a thread sums distances from the first value it
 * sees, so that a large mean costs no digits, and threads and chunks merge as Chan, Golub and LeVeque 1983 merge
 * samples, in double. A thread's error is at most LK_ROWS_PER_THREAD roundings of a sum that its own values bound. */
#ifndef LK_DEVICE_CUDA_KERNEL_NORM_STATISTICS_CUH
#define LK_DEVICE_CUDA_KERNEL_NORM_STATISTICS_CUH

#include "device/cuda/kernel_norm.cuh"

#define LK_AHEAD_STATISTICS 8 /* vectors of x that a thread has under way */

/* Samples merge by their counts n, means m and sums of squared distances s: with p one of the means,
 *   mean = p + sum(n (m - p)) / N,  squares = sum(s + n (m - p)^2) - sum(n (m - p))^2 / N. */
static __device__ inline lk_sums lk_weigh(double count, double distance, double squares) {
    const lk_sums p = {count * distance, squares + count * distance * distance};
    return p;
}

/* The last block of a group: merges the chunks of its channels and writes the results. */
template <typename T>
static __device__ void lk_finish_statistics(const lk_cuda_norm &n, const lk_reduce_shape &r, int group,
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
        return lk_weigh((double)(rest < r.chunk ? rest : r.chunk), (double)mean - (double)pivots[k], (double)squares);
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
static __device__ inline void lk_take_statistics(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk,
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
        for (; left >= LK_AHEAD_STATISTICS; left -= LK_AHEAD_STATISTICS, x += LK_AHEAD_STATISTICS * stride) {
            lk_vector<T> raw[LK_AHEAD_STATISTICS];
#pragma unroll
            for (int u = 0; u < LK_AHEAD_STATISTICS; u++) raw[u] = lk_fetch<T>(x + u * stride);
#pragma unroll
            for (int u = 0; u < LK_AHEAD_STATISTICS; u++) take(raw[u]);
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
        if (taken == 0) return lk_weigh(0, 0, 0);
        const double pivot = (double)scratch.values[0][lane][at - y * r.across];
        return lk_weigh((double)taken, (double)scratch.values[0][lane][at] - pivot,
                        (double)scratch.values[1][lane][at]);
    };
    if (lk_merge_rows<T>(r, block, group, scratch, pair_of, &channel, &total)) {
        const double step = total.a / (double)all, squares = total.b - total.a * step;
        const int x = (channel / L) % r.across;
        float *partial = n.partial + (int64_t)chunk * 2 * block + channel;
        partial[0] = (float)((double)scratch.values[0][channel % L][x] + step);
        partial[block] = squares < 0 ? 0 : (float)squares;
    }
}

#endif
