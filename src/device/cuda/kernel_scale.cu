/* A tensor times one number for each sample and channel. Backward, a block takes one sample and a group of channels, so
 * that the gradient of the gate is a sum within it; the long sums of a thread are taken in parts. */
#include "device/cuda/kernel_reduce.cuh"

template <typename T>
static __device__ inline void load_gate(const lk_cuda_scale &s, int64_t sample, int first,
                                        float (&gate)[lk_lanes<T>::COUNT]) {
    for (int i = 0; i < lk_lanes<T>::COUNT; i++) gate[i] = 0;
    if (first < s.gate_block) lk_load<T>(gate, (const T *)s.gate + sample * s.gate_block + first);
}

template <typename T>
static __global__ void scale_forward(lk_cuda_scale s, int64_t vectors) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int across = s.shape.block / L;
    LK_GRID_LOOP(at, vectors) {
        float v[L], gate[L];
        lk_load<T>(v, (const T *)s.x + at * L);
        load_gate<T>(s, at / across / s.area, (int)(at % across) * L, gate);
        for (int i = 0; i < L; i++) v[i] *= gate[i];
        lk_store<T>((T *)s.y + at * L, v);
    }
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS) scale_backward(lk_cuda_scale s, lk_reduce_shape r) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float totals[L][LK_CUDA_THREADS];
    const int thread = threadIdx.y * r.across + threadIdx.x, first = ((int)blockIdx.x * r.across + threadIdx.x) * L;
    const int64_t sample = blockIdx.y;
    float total[L] = {0}, part[L] = {0}, gate[L];
    load_gate<T>(s, sample, first, gate);
    int count = 0;
    for (int64_t row = threadIdx.y; row < s.area && first < s.shape.block; row += r.down) {
        const int64_t at = (sample * s.area + row) * s.shape.block + first;
        float v[L], g[L];
        lk_load<T>(v, (const T *)s.x + at);
        lk_load_dy<T>(g, (const T *)s.dy[0], (const T *)s.dy[1], at);
        for (int i = 0; i < L; i++) {
            part[i] = fmaf(g[i], v[i], part[i]);
            g[i] *= gate[i];
        }
        if (s.dx != nullptr) lk_store<T>((T *)s.dx + at, g);
        if (++count % LK_ROWS_PER_THREAD != 0) continue;
        for (int i = 0; i < L; i++) {
            total[i] += part[i];
            part[i] = 0;
        }
    }
    for (int i = 0; i < L; i++) totals[i][thread] = total[i] + part[i];
    for (int half = lk_first_half(r.down); half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half && (int)threadIdx.y + half < r.down)
            for (int i = 0; i < L; i++) totals[i][thread] += totals[i][thread + half * r.across];
    }
    if (threadIdx.y != 0 || s.dgate == nullptr || first >= s.gate_block) return;
    for (int i = 0; i < L; i++) total[i] = first < s.shape.block ? totals[i][thread] : 0;
    lk_store<T>((T *)s.dgate + sample * s.gate_block + first, total);
}

int lk_cuda_scale_forward(cudaStream_t stream, const lk_cuda_scale *s) {
    int64_t vectors = s->shape.rows * s->shape.block / lk_cuda_lanes(s->shape.type);
    if (s->shape.type == LK_CUDA_BF16)
        return lk_launch(scale_forward<lk_bf16>, lk_grid(vectors), LK_CUDA_THREADS, stream, *s, vectors);
    return lk_launch(scale_forward<float>, lk_grid(vectors), LK_CUDA_THREADS, stream, *s, vectors);
}

int lk_cuda_scale_backward(cudaStream_t stream, const lk_cuda_scale *s) {
    lk_cuda_rows widest = s->shape; /* the gate may have more padding than x */
    if (s->gate_block > widest.block) widest.block = s->gate_block;
    lk_reduce_shape r = lk_reduce_shape_of(&widest);
    dim3 grid(r.groups, (unsigned)(s->shape.rows / s->area)), block(r.across, r.down);
    if (s->shape.type == LK_CUDA_BF16) return lk_launch(scale_backward<lk_bf16>, grid, block, stream, *s, r);
    return lk_launch(scale_backward<float>, grid, block, stream, *s, r);
}
