/* Maximum pooling with the winner's place kept. A thread takes a vector of channels of one pixel. The backward pass
 * gathers, so that nothing is added in an order of chance. */
#include "device/cuda/kernel_util.cuh"

/* NaN is larger than everything; the first of equal values wins. */
template <typename T>
static __global__ void maxpool_forward(lk_cuda_pool p, const T *x, T *y, uint8_t *index) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int vectors = p.block / L;
    LK_GRID_LOOP(at, p.n * p.out_h * p.out_w * vectors) {
        const int channel = (int)(at % vectors) * L;
        const int64_t pixel = at / vectors, image = pixel / (p.out_h * p.out_w);
        const int oy = (int)(pixel / p.out_w % p.out_h), ox = (int)(pixel % p.out_w);
        float best[L] = {0};
        unsigned place[L];
        for (int i = 0; i < L; i++) place[i] = 255;
        for (int k = 0; k < p.kernel * p.kernel; k++) {
            const int iy = oy * p.stride - p.pad + k / p.kernel, ix = ox * p.stride - p.pad + k % p.kernel;
            if (iy < 0 || iy >= p.h || ix < 0 || ix >= p.w) continue;
            float v[L];
            lk_load<T>(v, x + ((image * p.h + iy) * p.w + ix) * p.block + channel);
#pragma unroll
            for (int i = 0; i < L; i++) {
                if (place[i] != 255 && !(v[i] > best[i]) && v[i] == v[i]) continue;
                best[i] = v[i];
                place[i] = (unsigned)k;
            }
        }
        lk_store<T>(y + at * L, best);
        if (index == nullptr) continue;
#pragma unroll
        for (int i = 0; i < L; i++) index[at * L + i] = (uint8_t)place[i];
    }
}

template <typename T>
static __global__ void maxpool_backward(lk_cuda_pool p, const T *dy0, const T *dy1, const uint8_t *index, T *dx) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int vectors = p.block / L;
    LK_GRID_LOOP(at, p.n * p.h * p.w * vectors) {
        const int channel = (int)(at % vectors) * L;
        const int64_t pixel = at / vectors, image = pixel / (p.h * p.w);
        const int iy = (int)(pixel / p.w % p.h) + p.pad, ix = (int)(pixel % p.w) + p.pad;
        /* Windows that see this pixel: oy stride <= iy < oy stride + kernel. */
        const int top = iy < p.kernel ? 0 : (iy - p.kernel) / p.stride + 1;
        const int left = ix < p.kernel ? 0 : (ix - p.kernel) / p.stride + 1;
        float sum[L] = {0};
        for (int oy = top; oy < p.out_h && oy * p.stride <= iy; oy++)
            for (int ox = left; ox < p.out_w && ox * p.stride <= ix; ox++) {
                const int place = (iy - oy * p.stride) * p.kernel + ix - ox * p.stride;
                const int64_t from = ((image * p.out_h + oy) * p.out_w + ox) * p.block + channel;
                float g[L];
                lk_load_dy<T>(g, dy0, dy1, from);
#pragma unroll
                for (int i = 0; i < L; i++)
                    if (index[from + i] == place) sum[i] += g[i];
            }
        lk_store<T>(dx + at * L, sum);
    }
}

int lk_cuda_maxpool_forward(cudaStream_t stream, const lk_cuda_pool *p, const void *x, void *y, uint8_t *index) {
    dim3 grid = lk_grid(p->n * p->out_h * p->out_w * p->block / lk_cuda_lanes(p->type));
    if (p->type == LK_CUDA_BF16)
        return lk_launch(maxpool_forward<lk_bf16>, grid, LK_CUDA_THREADS, stream, *p, (const lk_bf16 *)x, (lk_bf16 *)y,
                         index);
    return lk_launch(maxpool_forward<float>, grid, LK_CUDA_THREADS, stream, *p, (const float *)x, (float *)y, index);
}

int lk_cuda_maxpool_backward(cudaStream_t stream, const lk_cuda_pool *p, const void *const dy[2], const uint8_t *index,
                             void *dx) {
    dim3 grid = lk_grid(p->n * p->h * p->w * p->block / lk_cuda_lanes(p->type));
    if (p->type == LK_CUDA_BF16)
        return lk_launch(maxpool_backward<lk_bf16>, grid, LK_CUDA_THREADS, stream, *p, (const lk_bf16 *)dy[0],
                         (const lk_bf16 *)dy[1], index, (lk_bf16 *)dx);
    return lk_launch(maxpool_backward<float>, grid, LK_CUDA_THREADS, stream, *p, (const float *)dy[0],
                     (const float *)dy[1], index, (float *)dx);
}
