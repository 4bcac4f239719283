/* A convolution on one pixel is a product of matrices: rows of x (samples) by rows of weights (outputs). Both passes
 * take one launch each, bias, activation and their gradients with them: the matrices of squeeze-and-excitation are some
 * ten kilobytes, and launches, not bytes or products, are the time they take. Sums have a fixed order: of a thread,
 * then of the threads. */
#include "device/cuda/kernel_act.cuh"

#define TILE 4 /* samples x outputs that a thread of the forward pass sums */
#define PAIR 2 /* rows of a result that a thread of the backward pass sums */

/* The forward pass. `lanes` threads share out the vectors of a row among them and have a tile of TILE x TILE results.
 */
struct tiles {
    int lanes, across; /* across: tiles side by side over the outputs */
    int64_t count;
};

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, 2)
    product_forward(lk_cuda_product p, tiles t, const T *x, const T *weights, const float *bias, T *y) {
    constexpr int L = lk_lanes<T>::COUNT, ROW = LK_CUDA_THREADS + 1; /* one more: no two results in one bank */
    __shared__ float totals[TILE * TILE][ROW];
    const int thread = threadIdx.x, tiles_here = LK_CUDA_THREADS / t.lanes;
    const int64_t first = (int64_t)blockIdx.x * tiles_here, tile = first + thread / t.lanes;
    float sum[TILE][TILE] = {};
    if (tile < t.count) {
        const int64_t sample = tile / t.across * TILE;
        const int output = (int)(tile % t.across) * TILE;
#pragma unroll 1 /* the tile alone fills the registers */
        for (int at = thread % t.lanes * L; at < p.in; at += t.lanes * L) {
            lk_vector<T> v[TILE], w[TILE];
#pragma unroll
            for (int i = 0; i < TILE; i++) {
                const int64_t row = sample + i < p.n ? sample + i : sample; /* a row too many is not stored */
                v[i] = lk_fetch<T>(x + row * p.in + at);
                w[i] = lk_fetch<T>(weights + (int64_t)(output + i) * p.in + at);
            }
#pragma unroll
            for (int i = 0; i < TILE; i++)
#pragma unroll
                for (int k = 0; k < TILE; k++)
#pragma unroll
                    for (int l = 0; l < L; l++)
                        sum[i][k] = fmaf(lk_float(v[i].lane[l]), lk_float(w[k].lane[l]), sum[i][k]);
        }
    }
#pragma unroll
    for (int e = 0; e < TILE * TILE; e++) totals[e][thread] = sum[e / TILE][e % TILE];
    __syncthreads();
    for (int e = thread; e < tiles_here * TILE * TILE; e += LK_CUDA_THREADS) {
        const int64_t mine = first + e / (TILE * TILE);
        const int64_t sample = mine / t.across * TILE + e / TILE % TILE;
        const int output = (int)(mine % t.across) * TILE + e % TILE;
        if (mine >= t.count || sample >= p.n) continue;
        float total = 0;
        for (int l = 0; l < t.lanes; l++) total += totals[e % (TILE * TILE)][e / (TILE * TILE) * t.lanes + l];
        const bool real = output < p.outputs;
        if (bias != nullptr && real) total += bias[output];
        const int64_t at = sample * p.out + output;
        if (p.slope != nullptr) p.slope[at] = real ? lk_act_gradient_at<T>(p.act, total, 1) : 0;
        y[at] = lk_round<T>(real ? lk_act_value<T>(p.act, total) : 0); /* not every activation of 0 is 0 */
    }
}

/* result[a, c] = sum over s < terms of factor[a, s] m[s, c]; a has `rows` values, c `columns`. The data gradient sums
 * over the outputs, the weight gradient over the samples, dy (times the activation's slope) being the factor of both.
 */
template <typename T>
struct sums {
    const T *factor, *m;
    const float *slope;     /* of each factor, in the same places; or NULL */
    T *rounded;             /* the result, or NULL: it is `exact` */
    float *exact, *factors; /* factors: sum over s of factor[a, s] for a < factor_rows, or NULL */
    int64_t rows, terms, row_stride, term_stride;
    int columns, factor_rows;
    int across, groups; /* vectors side by side in a block; groups of them */
    int64_t blocks;
};

template <typename T>
static __device__ void sum_rows(const sums<T> &p, int64_t block, float (*totals)[LK_CUDA_THREADS]) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int thread = threadIdx.x, down = LK_CUDA_THREADS / p.across, group = (int)(block % p.groups);
    const int y = thread / p.across, first = (group * p.across + thread % p.across) * L;
    const int64_t row = block / p.groups * PAIR;
    const T *factor = p.factor + row * p.row_stride;
    const float *slope = p.slope != nullptr ? p.slope + row * p.row_stride : nullptr;
    const int64_t other = row + 1 < p.rows ? p.row_stride : 0; /* a row too many is not stored */
    float sum[PAIR][L] = {}, factors[PAIR] = {};
    if (y < down && first < p.columns) {
#pragma unroll 4
        for (int64_t s = y; s < p.terms; s += down) {
            const lk_vector<T> m = lk_fetch<T>(p.m + s * p.columns + first);
            float f[PAIR] = {lk_float(factor[s * p.term_stride]), lk_float(factor[s * p.term_stride + other])};
            if (slope != nullptr) {
                f[0] *= slope[s * p.term_stride];
                f[1] *= slope[s * p.term_stride + other];
            }
#pragma unroll
            for (int a = 0; a < PAIR; a++) {
                factors[a] += f[a];
#pragma unroll
                for (int l = 0; l < L; l++) sum[a][l] = fmaf(f[a], lk_float(m.lane[l]), sum[a][l]);
            }
        }
    }
#pragma unroll
    for (int e = 0; e < PAIR * L; e++) totals[e][thread] = sum[e / L][e % L];
    __syncthreads();
    for (int e = thread; e < PAIR * p.across * L; e += LK_CUDA_THREADS) {
        const int a = e / (p.across * L), c = e % (p.across * L), column = group * p.across * L + c;
        if (row + a >= p.rows || column >= p.columns) continue;
        float total = 0;
        for (int k = 0; k < down; k++) total += totals[a * L + c % L][k * p.across + c / L];
        if (p.rounded != nullptr)
            p.rounded[(row + a) * p.columns + column] = lk_round<T>(total);
        else
            p.exact[(row + a) * p.columns + column] = total;
    }
    if (p.factors == nullptr || group != 0) return; /* the whole block */
    __syncthreads();
    for (int a = 0; a < PAIR; a++) totals[a][thread] = factors[a];
    __syncthreads();
    if (thread >= PAIR || row + thread >= p.factor_rows) return;
    float total = 0;
    for (int k = 0; k < down; k++) total += totals[thread][k * p.across];
    p.factors[row + thread] = total;
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, 2) product_backward(sums<T> weight, sums<T> data) {
    __shared__ float totals[PAIR * lk_lanes<T>::COUNT][LK_CUDA_THREADS];
    if (blockIdx.x < weight.blocks)
        sum_rows<T>(weight, blockIdx.x, totals);
    else
        sum_rows<T>(data, blockIdx.x - weight.blocks, totals);
}

template <typename T>
static void set_shape(sums<T> *s, int64_t rows, int64_t terms, int columns) {
    const int vectors = columns / lk_lanes<T>::COUNT;
    s->rows = rows;
    s->terms = terms;
    s->columns = columns;
    s->groups = (vectors + 31) / 32;
    s->across = (vectors + s->groups - 1) / s->groups;
    s->blocks = lk_ceil_div(rows, PAIR) * s->groups;
}

template <typename T>
static int run_forward(cudaStream_t stream, const lk_cuda_product *p, const void *x, const void *weights,
                       const float *bias, void *y) {
    tiles t = {1, p->out / TILE, lk_ceil_div(p->n, TILE) * (p->out / TILE)};
    while (t.lanes < 32 && t.lanes * lk_lanes<T>::COUNT < p->in) t.lanes *= 2;
    dim3 grid((unsigned)lk_ceil_div(t.count, LK_CUDA_THREADS / t.lanes));
    return lk_launch(product_forward<T>, grid, dim3(LK_CUDA_THREADS), stream, *p, t, (const T *)x, (const T *)weights,
                     bias, (T *)y);
}

template <typename T>
static int run_backward(cudaStream_t stream, const lk_cuda_product *p, const void *x, const void *weights,
                        const void *dy, void *dx, float *dweights, float *dbias) {
    sums<T> weight = {}, data = {};
    if (dweights != nullptr) set_shape<T>(&weight, p->out, p->n, p->in);
    weight.factor = data.factor = (const T *)dy;
    weight.slope = data.slope = p->slope;
    weight.row_stride = data.term_stride = 1;
    weight.term_stride = data.row_stride = p->out;
    weight.m = (const T *)x;
    weight.exact = dweights;
    weight.factors = dbias;
    weight.factor_rows = p->outputs;
    if (dx != nullptr) set_shape<T>(&data, p->n, p->out, p->in);
    data.m = (const T *)weights;
    data.rounded = (T *)dx;
    dim3 grid((unsigned)(weight.blocks + data.blocks));
    return lk_launch(product_backward<T>, grid, dim3(LK_CUDA_THREADS), stream, weight, data);
}

int lk_cuda_product_forward(cudaStream_t stream, const lk_cuda_product *p, const void *x, const void *weights,
                            const float *bias, void *y) {
    return LK_BY_TYPE(p->type, run_forward, stream, p, x, weights, bias, y);
}

int lk_cuda_product_backward(cudaStream_t stream, const lk_cuda_product *p, const void *x, const void *weights,
                             const void *dy, void *dx, float *dweights, float *dbias) {
    return LK_BY_TYPE(p->type, run_backward, stream, p, x, weights, dy, dx, dweights, dbias);
}
