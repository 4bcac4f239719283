/* A tensor times one number for each sample and channel. A block takes one sample and a group of channels, so that the
 * gate is read once and its gradient is a sum within the block. A thread has 4 vectors of 16 bytes of each operand
 * under way; with 4 blocks of 256 threads or more on a multiprocessor that is 64 KB, more than the 40 KB that keep the
 * memory of an H100 busy: expected are 85% of its 3.0 TB/s or more. */
#include "device/cuda/kernel_plane.cuh"

#define AHEAD 4

template <typename T>
static __device__ inline void load_gate(const lk_cuda_scale &s, int64_t sample, int first,
                                        float (&gate)[lk_lanes<T>::COUNT]) {
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) gate[i] = 0;
    if (first < s.gate_block) lk_load<T>(gate, (const T *)s.gate + sample * s.gate_block + first);
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) scale_forward(lk_cuda_scale s, lk_plane_shape p) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = ((int)blockIdx.x * p.across + threadIdx.x) * L;
    if (first >= p.block) return;
    for (int64_t image = blockIdx.y; image < p.images; image += gridDim.y) {
        const int64_t at = image * p.area * p.block + first;
        float gate[L];
        load_gate<T>(s, image, first, gate);
        auto fetch = [&](int row) { return lk_fetch<T>((const T *)s.x + at + (int64_t)row * p.block); };
        auto multiply = [&](const lk_vector<T> &x, int row) {
            float v[L];
            lk_unpack<T>(v, x);
#pragma unroll
            for (int i = 0; i < L; i++) v[i] *= gate[i];
            lk_store<T>((T *)s.y + at + (int64_t)row * p.block, v);
        };
        lk_each_row<AHEAD>(threadIdx.y, p.down, lk_plane_rows(p), fetch, multiply);
    }
}

/* What is read of one vector: x and the gradients that arrive. */
template <typename T, bool TWO_DY>
struct operands {
    lk_vector<T> x, dy[TWO_DY ? 2 : 1];
};

template <typename T, bool TWO_DY>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) scale_backward(lk_cuda_scale s, lk_plane_shape p) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float totals[L][LK_CUDA_THREADS];
    const int thread = threadIdx.y * p.across + threadIdx.x;
    const int first = ((int)blockIdx.x * p.across + threadIdx.x) * L;
    for (int64_t image = blockIdx.y; image < p.images; image += gridDim.y) {
        const int64_t at = image * p.area * p.block + first;
        float sum[L] = {0}, gate[L];
        load_gate<T>(s, image, first, gate);
        auto fetch = [&](int row) {
            const int64_t from = at + (int64_t)row * p.block;
            operands<T, TWO_DY> v;
            v.x = lk_fetch<T>((const T *)s.x + from);
            for (int k = 0; k < 1 + TWO_DY; k++) v.dy[k] = lk_fetch<T>((const T *)s.dy[k] + from);
            return v;
        };
        auto pass = [&](const operands<T, TWO_DY> &v, int row) {
            float x[L], g[L];
            lk_unpack<T>(x, v.x);
            lk_unpack<T>(g, v.dy[0]);
#pragma unroll
            for (int i = 0; i < L; i++) {
                if (TWO_DY) g[i] += lk_float(v.dy[TWO_DY].lane[i]);
                sum[i] = fmaf(g[i], x[i], sum[i]);
                g[i] *= gate[i];
            }
            if (s.dx != nullptr) lk_store<T>((T *)s.dx + at + (int64_t)row * p.block, g);
        };
        if (first < p.block) lk_each_row<AHEAD>(threadIdx.y, p.down, lk_plane_rows(p), fetch, pass);
        if (s.dgate == nullptr) continue;
        lk_plane_sum<L>(p, totals, sum);
        if (threadIdx.y != 0 || first >= s.gate_block) continue;
        for (int i = 0; i < L; i++) sum[i] = totals[i][thread];
        lk_store<T>((T *)s.dgate + image * s.gate_block + first, sum);
    }
}

static lk_plane_shape planes_of(const lk_cuda_scale *s, int block) {
    lk_plane_shape p = lk_plane_shape_of(s->shape.rows / s->area, s->area, block, s->shape.type);
    p.block = s->shape.block;
    return p;
}

int lk_cuda_scale_forward(cudaStream_t stream, const lk_cuda_scale *s) {
    lk_plane_shape p = planes_of(s, s->shape.block);
    dim3 grid = lk_plane_grid(p), block(p.across, p.down);
    return LK_LAUNCH_BY_TYPE(s->shape.type, scale_forward, grid, block, stream, *s, p);
}

template <typename T>
static int run_backward(cudaStream_t stream, const lk_cuda_scale *s) {
    /* The gate may have more padding than x. */
    lk_plane_shape p = planes_of(s, s->gate_block > s->shape.block ? s->gate_block : s->shape.block);
    dim3 grid = lk_plane_grid(p), block(p.across, p.down);
    if (s->dy[1] != nullptr) return lk_launch(scale_backward<T, true>, grid, block, stream, *s, p);
    return lk_launch(scale_backward<T, false>, grid, block, stream, *s, p);
}

int lk_cuda_scale_backward(cudaStream_t stream, const lk_cuda_scale *s) {
    return LK_BY_TYPE(s->shape.type, run_backward, stream, s);
}
