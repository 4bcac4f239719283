/* Depthwise convolution forward, and its data gradient with stride 1, which is the same with flipped weights. Of the
 * rows of the output that a row of the input touches, the oldest is then complete and is stored. */
#include "device/cuda/kernel_depthwise.cuh"

/* Columns of a strip. What a thread holds is weights, rows of sums, one row of the input in use and the next under way:
 * 5x5 stride 1 and bfloat16, 50 + 20 + 6 + 6 registers of 128, 3x3 18 + 24 + 6 + 6 of 102. 16 warps (3x3: 20) are then
 * on a multiprocessor of 64, with 6 loads of 128 bytes under way each: 12 KB (15 KB), of which an H100 hides its 600
 * ns. Of what a row costs, 5x5 multiplies 100 of 165 instructions, 3x3 72 of 150: for 4 bytes of bfloat16 that is 20 or
 * 9 instructions a thread, and 132 multiprocessors issue 29 T/s. Expected are 60% of 3.0 TB/s with 5x5, which
 * instructions bound, and 80% with 3x3. */
template <typename T, int K>
struct strip_width {
    static const int VALUE = (K == 3 ? 8 : 4) / (int)sizeof(T);
};

struct walk {
    int block, h, w, out_h, out_w, pad_top, pad_left, x_row, y_row; /* elements of a row */
    bool flipped;
};

template <typename T, int K, int S>
static __global__ void __launch_bounds__(LK_STRIP_BLOCK, LK_STRIP_BLOCKS(K))
    depthwise_forward(walk d, lk_strips strips, const T *x, const float *weights, T *y) {
    constexpr int TW = strip_width<T, K>::VALUE, IN = (TW - 1) * S + K;
    constexpr int R = (K + S - 1) / S; /* rows of the output under way */
    const unsigned index = blockIdx.x / (unsigned)strips.groups * (unsigned)strips.down + threadIdx.y;
    if (index >= strips.count) return;
    const lk_strip at = lk_strip_of(strips, index, d.out_h);
    if (at.channel >= d.block) return;

    float w[K * K][2], sum[R][TW][2] = {};
    lk_load_taps<K * K>(w, weights, d.block, at.channel, d.flipped);
    const unsigned inside = lk_columns_inside<IN>(at.column * S - d.pad_left, d.w);
    int row = at.begin * S - d.pad_top; /* of x: the next to be used */
    const T *from = x + ((at.image * d.h + row) * d.w + at.column * S - d.pad_left) * d.block + at.channel;
    T *to = y + ((at.image * d.out_h + at.begin) * d.out_w + at.column) * d.block + at.channel;
    lk_pair<T> next[IN];
    lk_fetch_pairs<T, IN>(next, from, d.block, (unsigned)row < (unsigned)d.h ? inside : 0);

    for (int q = at.begin;; q += R)
#pragma unroll
        for (int phase = 0; phase < R; phase++) { /* output row q + phase comes under way; constants pick registers */
            if (q + phase >= at.end + R - 1) return;
#pragma unroll
            for (int j = 0; j < TW; j++) sum[phase][j][0] = sum[phase][j][1] = 0;
#pragma unroll
            for (int sub = 0; sub < S; sub++) {
                const bool there = (unsigned)row < (unsigned)d.h;
                lk_pair<T> now[IN];
                lk_copy_pairs<T, IN>(now, next);
                row++;
                from += d.x_row;
                lk_fetch_pairs<T, IN>(next, from, d.block, (unsigned)row < (unsigned)d.h ? inside : 0);
                float v[IN][2];
#pragma unroll
                for (int j = 0; j < IN; j++) lk_unpack(v[j], now[j]);
                if (there)
#pragma unroll
                    for (int r = sub; r < K; r += S)
#pragma unroll
                        for (int j = 0; j < TW; j++)
#pragma unroll
                            for (int s = 0; s < K; s++)
#pragma unroll
                                for (int i = 0; i < 2; i++) {
                                    float &total = sum[(phase + R - r / S) % R][j][i];
                                    total = fmaf(v[j * S + s][i], w[r * K + s][i], total);
                                }
                if (sub != 0 || q + phase - (R - 1) < at.begin) continue;
#pragma unroll
                for (int j = 0; j < TW; j++)
                    if (at.column + j < d.out_w) lk_store_pair(to + j * d.block, sum[(phase + 1) % R][j]);
                to += d.y_row;
            }
        }
}

template <typename T, int K, int S>
static int run(cudaStream_t stream, const lk_cuda_depthwise *d, const walk &walk, const void *x, const float *weights,
               void *y) {
    lk_strips s = lk_strips_of(d, walk.out_h, walk.out_w, strip_width<T, K>::VALUE, LK_STRIP_BLOCK);
    dim3 grid((unsigned)(lk_ceil_div(s.count, s.down) * s.groups)), block(s.across, s.down);
    return lk_launch(depthwise_forward<T, K, S>, grid, block, stream, walk, s, (const T *)x, weights, (T *)y);
}

template <typename T>
static int run_forward(cudaStream_t stream, const lk_cuda_depthwise *d, const void *x, const float *weights, void *y) {
    walk walk = {
        d->block, d->h, d->w, d->out_h, d->out_w, d->pad_top, d->pad_left, d->w * d->block, d->out_w * d->block, false};
    if (d->kernel == 3)
        return d->stride == 1 ? run<T, 3, 1>(stream, d, walk, x, weights, y)
                              : run<T, 3, 2>(stream, d, walk, x, weights, y);
    return d->stride == 1 ? run<T, 5, 1>(stream, d, walk, x, weights, y) : run<T, 5, 2>(stream, d, walk, x, weights, y);
}

template <typename T>
static int run_data(cudaStream_t stream, const lk_cuda_depthwise *d, const void *dy, const float *weights, void *dx) {
    const int top = d->kernel - 1 - d->pad_top, left = d->kernel - 1 - d->pad_left;
    walk walk = {d->block, d->out_h, d->out_w, d->h, d->w, top, left, d->out_w * d->block, d->w * d->block, true};
    if (d->kernel == 3) return run<T, 3, 1>(stream, d, walk, dy, weights, dx);
    return run<T, 5, 1>(stream, d, walk, dy, weights, dx);
}

int lk_cuda_depthwise_forward(cudaStream_t stream, const lk_cuda_depthwise *d, const void *x, const float *weights,
                              void *y) {
    return LK_BY_TYPE(d->type, run_forward, stream, d, x, weights, y);
}

int lk_cuda_depthwise_data(cudaStream_t stream, const lk_cuda_depthwise *d, const void *dy, const float *weights,
                           void *dx) {
    if (d->stride == 2) return lk_cuda_depthwise_data_strided(stream, d, dy, weights, dx);
    return LK_BY_TYPE(d->type, run_data, stream, d, dy, weights, dx);
}
