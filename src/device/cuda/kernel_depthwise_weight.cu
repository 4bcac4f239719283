/* The weight gradient of a depthwise convolution: dw[r, s] = sum of dy[o] x[o stride + (r, s) - pad]. A thread walks
 * down strips as in the forward pass and keeps the sums of all taps; a block adds its threads' in order and stores one
 * partial result for each tap and channel, which finish_gradients adds in order. How much each sums follows from the
 * shape alone. */
#include "device/cuda/kernel_depthwise.cuh"

/* Columns of dy in a strip. 5x5 stride 1 and bfloat16: 50 sums, 20 numbers of dy, 6 loads in use and 8 under way of at
 * most 128 registers; 2 blocks of 256 threads are 16 KB under way. Instructions are those of the forward pass, bytes as
 * many: expected are 60% of the 3.0 TB/s of an H100 with 5x5, 75% with 3x3. */
template <typename T, int K>
struct strip_width {
    static const int VALUE = (K == 3 ? 8 : 4) / (int)sizeof(T);
};

#define BLOCKS_WANTED                                                                                            \
    528               /* four for each multiprocessor of an H100; part of the bits of sums: never read off a GPU \
                       */
#define ROWS_LEAST 16 /* of a thread: less is not worth the adding up */

/* Which strips a block has: `each` for every row of its threads. */
struct share {
    unsigned each;
    int chunks;
};

static share share_of(const lk_strips *s) {
    const int64_t strips = lk_ceil_div(s->count, s->down), least = lk_ceil_div(ROWS_LEAST, s->rows);
    int64_t each = lk_ceil_div(strips * s->groups, BLOCKS_WANTED);
    if (each < least) each = least < strips ? least : strips;
    return {(unsigned)each, (int)lk_ceil_div(strips, each)};
}

/* Adds the taps of one strip. */
template <typename T, int K, int S>
static __device__ inline void add_strip(const lk_cuda_depthwise &d, const lk_strip &at, const T *x, const T *dy,
                                        float (&sum)[K * K][2]) {
    constexpr int TW = strip_width<T, K>::VALUE, IN = (TW - 1) * S + K, R = (K + S - 1) / S;
    float g[R][TW][2] = {}; /* rows of dy that the row of x meets */
    const unsigned inside = lk_columns_inside<IN>(at.column * S - d.pad_left, d.w);
    const unsigned given = lk_columns_inside<TW>(at.column, d.out_w);
    const int x_row = d.w * d.block, dy_row = d.out_w * d.block;
    int row = at.begin * S - d.pad_top; /* of x: the next to be used */
    const T *from = x + ((at.image * d.h + row) * d.w + at.column * S - d.pad_left) * d.block + at.channel;
    const T *dy_from = dy + ((at.image * d.out_h + at.begin) * d.out_w + at.column) * d.block + at.channel;
    lk_pair<T> next[IN], dy_next[TW];
    lk_fetch_pairs<T, IN>(next, from, d.block, (unsigned)row < (unsigned)d.h ? inside : 0);
    lk_fetch_pairs<T, TW>(dy_next, dy_from, d.block, given);

    for (int q = at.begin;; q += R)
#pragma unroll
        for (int phase = 0; phase < R; phase++) { /* row q + phase of dy comes in */
            if (q + phase >= at.end + R - 1) return;
#pragma unroll
            for (int j = 0; j < TW; j++) lk_unpack(g[phase][j], dy_next[j]);
            dy_from += dy_row;
            lk_fetch_pairs<T, TW>(dy_next, dy_from, d.block, q + phase + 1 < at.end ? given : 0);
#pragma unroll
            for (int sub = 0; sub < S; sub++) {
                const bool there = (unsigned)row < (unsigned)d.h;
                lk_pair<T> now[IN];
                lk_copy_pairs<T, IN>(now, next);
                row++;
                from += x_row;
                lk_fetch_pairs<T, IN>(next, from, d.block, (unsigned)row < (unsigned)d.h ? inside : 0);
                float v[IN][2];
#pragma unroll
                for (int j = 0; j < IN; j++) lk_unpack(v[j], now[j]);
                if (!there) continue;
#pragma unroll
                for (int r = sub; r < K; r += S)
#pragma unroll
                    for (int s = 0; s < K; s++)
#pragma unroll
                        for (int j = 0; j < TW; j++)
#pragma unroll
                            for (int i = 0; i < 2; i++)
                                sum[r * K + s][i] =
                                    fmaf(g[(phase + R - r / S) % R][j][i], v[j * S + s][i], sum[r * K + s][i]);
            }
        }
}

template <typename T, int K, int S>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, 2)
    depthwise_weight(lk_cuda_depthwise d, lk_strips strips, share share, const T *x, const T *dy, float *partial) {
    __shared__ float totals[K][2][LK_CUDA_THREADS];
    const int chunk = (int)(blockIdx.x / (unsigned)strips.groups), thread = threadIdx.y * strips.across + threadIdx.x;
    const unsigned begin = (unsigned)(chunk * strips.down) * share.each;
    float sum[K * K][2] = {};
    for (unsigned k = 0; k < share.each; k++) {
        const unsigned index = begin + k * (unsigned)strips.down + threadIdx.y;
        if (index >= strips.count) break;
        const lk_strip at = lk_strip_of(strips, index, d.out_h);
        if (at.channel < d.block) add_strip<T, K, S>(d, at, x, dy, sum);
    }
    const int channel = ((int)(blockIdx.x % (unsigned)strips.groups) * strips.across + (int)threadIdx.x) * 2;
    float *to = partial + (int64_t)chunk * K * K * d.block + channel;
#pragma unroll
    for (int r = 0; r < K; r++) {
        __syncthreads();
#pragma unroll
        for (int s = 0; s < K; s++)
            for (int i = 0; i < 2; i++) totals[s][i][thread] = sum[r * K + s][i];
        __syncthreads();
        for (int s = threadIdx.y; s < K && channel < d.block; s += strips.down) {
            float total[2] = {0};
            for (int k = 0; k < strips.down; k++)
                for (int i = 0; i < 2; i++) total[i] += totals[s][i][k * strips.across + threadIdx.x];
            lk_store_pair(to + (r * K + s) * d.block, total);
        }
    }
}

template <typename T>
static lk_strips strips_in(const lk_cuda_depthwise *d) {
    const int width = d->kernel == 3 ? strip_width<T, 3>::VALUE : strip_width<T, 5>::VALUE;
    return lk_strips_of(d, d->out_h, d->out_w, width, LK_CUDA_THREADS);
}

static lk_strips strips_of(const lk_cuda_depthwise *d) { return LK_BY_TYPE(d->type, strips_in, d); }

template <typename T, int K, int S>
static int run(cudaStream_t stream, const lk_cuda_depthwise *d, const void *x, const void *dy, float *partial) {
    const lk_strips s = strips_of(d);
    const share parts = share_of(&s);
    dim3 grid((unsigned)(parts.chunks * s.groups)), block(s.across, s.down);
    return lk_launch(depthwise_weight<T, K, S>, grid, block, stream, *d, s, parts, (const T *)x, (const T *)dy,
                     partial);
}

template <typename T>
static int run_shape(cudaStream_t stream, const lk_cuda_depthwise *d, const void *x, const void *dy, float *partial) {
    if (d->kernel == 3)
        return d->stride == 1 ? run<T, 3, 1>(stream, d, x, dy, partial) : run<T, 3, 2>(stream, d, x, dy, partial);
    return d->stride == 1 ? run<T, 5, 1>(stream, d, x, dy, partial) : run<T, 5, 2>(stream, d, x, dy, partial);
}

int lk_cuda_depthwise_chunks(const lk_cuda_depthwise *d) {
    const lk_strips s = strips_of(d);
    return share_of(&s).chunks;
}

int lk_cuda_depthwise_weight(cudaStream_t stream, const lk_cuda_depthwise *d, const void *x, const void *dy,
                             float *partial) {
    return LK_BY_TYPE(d->type, run_shape, stream, d, x, dy, partial);
}
