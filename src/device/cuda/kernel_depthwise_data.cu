/* The data gradient of a depthwise convolution with stride 2. With X = x + pad, the place of a pixel in the padded
 * input, and o that of a pixel of dy: dx[X] = sum of w[X - 2 o] dy[o]. Rows and columns are taken in pairs that begin
 * at an even X, so that which taps meet is known when the kernel is compiled. */
#include "device/cuda/kernel_depthwise.cuh"

/* Columns of dx in a strip. 5x5 and bfloat16: 50 weights, 24 sums, 3 loads in use and 3 under way of at most 128
 * registers, 3x3 18 + 32 + 3 + 3 of 102. Stores are most of the bytes, 4 of each thread for 0.75 loaded: they wait for
 * nobody, and expected are 80% of the 3.0 TB/s of an H100. */
template <typename T, int K>
struct strip_width {
    static const int VALUE = K == 3 && sizeof(T) == 2 ? 4 : 2;
};

template <typename T, int K>
static __global__ void __launch_bounds__(LK_STRIP_BLOCK, LK_STRIP_BLOCKS(K))
    depthwise_data(lk_cuda_depthwise d, lk_strips strips, const T *dy, const float *weights, T *dx) {
    constexpr int TW = strip_width<T, K>::VALUE, R = (K + 1) / 2; /* R pairs of rows under way */
    constexpr int IN = R - 1 + TW / 2;                            /* columns of dy */
    const unsigned index = blockIdx.x / (unsigned)strips.groups * (unsigned)strips.down + threadIdx.y;
    if (index >= strips.count) return;
    const int first_pair = d.pad_top / 2, pairs = (d.h + d.pad_top + 1) / 2 - first_pair;
    const lk_strip at = lk_strip_of(strips, index, pairs);
    if (at.channel >= d.block) return;

    float w[K * K][2], sum[R][2][TW][2] = {};
    lk_load_taps<K * K>(w, weights, d.block, at.channel, false);
    const int column = at.column + d.pad_left / 2 * 2; /* X */
    const int left = column / 2 - (R - 1);
    const unsigned inside = lk_columns_inside<IN>(left, d.out_w);
    const unsigned stored = lk_columns_inside<TW>(column - d.pad_left, d.w);
    const int dy_row = d.out_w * d.block, dx_row = d.w * d.block;
    const int begin = first_pair + at.begin, end = first_pair + at.end;
    int row = begin - (R - 1); /* of dy: the next to be used */
    const T *from = dy + ((at.image * d.out_h + row) * d.out_w + left) * d.block + at.channel;
    T *to = dx + ((at.image * d.h + 2 * begin - d.pad_top) * d.w + column - d.pad_left) * d.block + at.channel;
    lk_pair<T> next[IN];
    lk_fetch_pairs<T, IN>(next, from, d.block, (unsigned)row < (unsigned)d.out_h ? inside : 0);

    for (int q = row;; q += R)
#pragma unroll
        for (int phase = 0; phase < R;
             phase++) { /* pair q + phase is completed, the one R - 1 further comes under way */
            if (q + phase >= end) return;
            const bool there = (unsigned)row < (unsigned)d.out_h;
            lk_pair<T> now[IN];
            lk_copy_pairs<T, IN>(now, next);
            row++;
            from += dy_row;
            lk_fetch_pairs<T, IN>(next, from, d.block, (unsigned)row < (unsigned)d.out_h ? inside : 0);
            float v[IN][2];
#pragma unroll
            for (int j = 0; j < IN; j++) lk_unpack(v[j], now[j]);
#pragma unroll
            for (int j = 0; j < 2 * TW; j++)
                sum[(phase + R - 1) % R][j / TW][j % TW][0] = sum[(phase + R - 1) % R][j / TW][j % TW][1] = 0;
            if (there)
#pragma unroll
                for (int r = 0; r < K; r++)
#pragma unroll
                    for (int j = 0; j < TW; j++)
#pragma unroll
                        for (int s = j % 2; s < K; s += 2)
#pragma unroll
                            for (int i = 0; i < 2; i++) {
                                float &total = sum[(phase + r / 2) % R][r % 2][j][i];
                                total = fmaf(v[R - 1 + (j - s) / 2][i], w[r * K + s][i], total);
                            }
            if (q + phase < begin) continue;
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const bool inside_dx = (unsigned)(2 * (q + phase) + e - d.pad_top) < (unsigned)d.h;
#pragma unroll
                for (int j = 0; j < TW; j++)
                    if (inside_dx && (stored & 1u << j) != 0) lk_store_pair(to + j * d.block, sum[phase][e][j]);
                to += dx_row;
            }
        }
}

template <typename T, int K>
static int run(cudaStream_t stream, const lk_cuda_depthwise *d, const void *dy, const float *weights, void *dx) {
    const int rows = (d->h + d->pad_top + 1) / 2 - d->pad_top / 2, columns = d->w + d->pad_left % 2;
    lk_strips s = lk_strips_of(d, rows, columns, strip_width<T, K>::VALUE, LK_STRIP_BLOCK);
    dim3 grid((unsigned)(lk_ceil_div(s.count, s.down) * s.groups)), block(s.across, s.down);
    return lk_launch(depthwise_data<T, K>, grid, block, stream, *d, s, (const T *)dy, weights, (T *)dx);
}

template <typename T>
static int run_kernel(cudaStream_t stream, const lk_cuda_depthwise *d, const void *dy, const float *weights, void *dx) {
    return d->kernel == 3 ? run<T, 3>(stream, d, dy, weights, dx) : run<T, 5>(stream, d, dy, weights, dx);
}

int lk_cuda_depthwise_data_strided(cudaStream_t stream, const lk_cuda_depthwise *d, const void *dy,
                                   const float *weights, void *dx) {
    return LK_BY_TYPE(d->type, run_kernel, stream, d, dy, weights, dx);
}
