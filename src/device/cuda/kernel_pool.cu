/* Maximum pooling with the winner's place kept. A thread takes a vector of channels of one pixel, a row of blocks a row
 * of pixels. The backward pass gathers, so that nothing is added in an order of chance. With the window of 3 x 3 and
 * stride 2 all that a thread reads is under way at once, 9 vectors of 16 bytes forward, 4 backward, or 8 and their
 * places: in 96 registers or less 2 blocks of 256 threads are 32 KB or more on a multiprocessor, and what neighbours
 * read comes from the cache. Expected are 75% of the 3.0 TB/s of an H100. */
#include "device/cuda/kernel_places.cuh"

/* K: side of the window known when the kernel is compiled, or 0. NaN is larger than everything, the last of them wins;
 * of other equal values the first. */
template <typename T, int K>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, 2)
    maxpool_forward(lk_cuda_pool p, const T *x, T *y, uint8_t *index) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int kernel = K > 0 ? K : p.kernel, vectors = p.block / L;
    const int item = (int)(blockIdx.x * blockDim.x + threadIdx.x), channel = item % vectors * L, ox = item / vectors;
    if (ox >= p.out_w) return;
    const unsigned rows = (unsigned)p.n * (unsigned)p.out_h;
    for (unsigned row = blockIdx.y; row < rows; row += gridDim.y) {
        const int top = (int)(row % (unsigned)p.out_h) * p.stride - p.pad, left = ox * p.stride - p.pad;
        const T *image = x + (int64_t)(row / (unsigned)p.out_h) * p.h * p.w * p.block + channel;
        const int first_y = top < 0 ? -top : 0, first_x = left < 0 ? -left : 0;
        auto fetch = [&](int k) { /* where the window sticks out, some pixel of the image */
                                  const int wanted_y = top + k / kernel, wanted_x = left + k % kernel;
                                  const int iy = wanted_y < 0 ? 0 : wanted_y < p.h ? wanted_y : p.h - 1;
                                  const int ix = wanted_x < 0 ? 0 : wanted_x < p.w ? wanted_x : p.w - 1;
                                  return lk_fetch<T>(image + ((int64_t)iy * p.w + ix) * p.block);
        };
        float best[L];
        unsigned place[L];
        auto take = [&](int k, const lk_vector<T> &raw) {
            const int iy = top + k / kernel, ix = left + k % kernel;
            const bool inside = (unsigned)iy < (unsigned)p.h && (unsigned)ix < (unsigned)p.w;
#pragma unroll
            for (int i = 0; i < L; i++) {
                const float v = lk_float(raw.lane[i]);
                const bool wins = inside && (v > best[i] || v != v);
                best[i] = wins ? v : best[i];
                place[i] = wins ? (unsigned)k : place[i];
            }
        };
        lk_unpack<T>(best, fetch(first_y * kernel + first_x));
        for (int i = 0; i < L; i++) place[i] = (unsigned)(first_y * kernel + first_x);
        if constexpr (K > 0) {
            lk_vector<T> v[K * K];
#pragma unroll
            for (int k = 0; k < K * K; k++) v[k] = fetch(k);
#pragma unroll
            for (int k = 0; k < K * K; k++) take(k, v[k]);
        } else {
            for (int k = 0; k < kernel * kernel; k++) take(k, fetch(k));
        }
        const int64_t to = ((int64_t)row * p.out_w + ox) * p.block + channel;
        lk_store<T>(y + to, best);
        if (index == nullptr) continue;
        lk_store_places<L>(index + to, place);
    }
}

/* K, S: window and stride known when the kernel is compiled, at most 2 windows seeing a pixel in each direction; or 0.
 */
template <typename T, int K, int S, bool TWO_DY>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, 2)
    maxpool_backward(lk_cuda_pool p, const T *dy0, const T *dy1, const uint8_t *index, T *dx) {
    constexpr int L = lk_lanes<T>::COUNT, MOST = 2;
    const int kernel = K > 0 ? K : p.kernel, stride = S > 0 ? S : p.stride, vectors = p.block / L;
    const int item = (int)(blockIdx.x * blockDim.x + threadIdx.x), channel = item % vectors * L, x = item / vectors;
    if (x >= p.w) return;
    const unsigned rows = (unsigned)p.n * (unsigned)p.h;
    for (unsigned row = blockIdx.y; row < rows; row += gridDim.y) {
        const int iy = (int)(row % (unsigned)p.h) + p.pad, ix = x + p.pad;
        /* Windows that see this pixel: oy stride <= iy < oy stride + kernel. */
        const int top = iy < kernel ? 0 : (iy - kernel) / stride + 1;
        const int left = ix < kernel ? 0 : (ix - kernel) / stride + 1;
        const int64_t image = (int64_t)(row / (unsigned)p.h) * p.out_h;
        struct window {
            lk_vector<T> dy[TWO_DY ? 2 : 1];
            lk_places<L> place;
        };
        auto fetch = [&](int wanted_y, int wanted_x) {
            const int oy = wanted_y < p.out_h ? wanted_y : p.out_h - 1,
                      ox = wanted_x < p.out_w ? wanted_x : p.out_w - 1;
            const int64_t from = ((image + oy) * p.out_w + ox) * p.block + channel;
            window w;
            w.dy[0] = lk_fetch<T>(dy0 + from);
            if (TWO_DY) w.dy[TWO_DY] = lk_fetch<T>(dy1 + from);
            w.place = lk_load_places<L>(index + from);
            return w;
        };
        float sum[L] = {0};
        auto add = [&](int oy, int ox, const window &w) {
            const int y = iy - oy * stride, left_of = ix - ox * stride;
            const bool sees = oy < p.out_h && ox < p.out_w && y >= 0 && left_of >= 0;
            const unsigned here = sees ? (unsigned)(y * kernel + left_of) : LK_NOWHERE;
#pragma unroll
            for (int i = 0; i < L; i++) {
                float g = lk_float(w.dy[0].lane[i]);
                if (TWO_DY) g += lk_float(w.dy[TWO_DY].lane[i]);
                if (lk_place_of<L>(w.place, i) == here) sum[i] += g;
            }
        };
        if constexpr (K > 0) {
            window w[MOST * MOST];
#pragma unroll
            for (int k = 0; k < MOST * MOST; k++) w[k] = fetch(top + k / MOST, left + k % MOST);
#pragma unroll
            for (int k = 0; k < MOST * MOST; k++) add(top + k / MOST, left + k % MOST, w[k]);
        } else {
            for (int oy = top; oy < p.out_h && oy * stride <= iy; oy++)
                for (int ox = left; ox < p.out_w && ox * stride <= ix; ox++) add(oy, ox, fetch(oy, ox));
        }
        lk_store<T>(dx + ((int64_t)row * p.w + x) * p.block + channel, sum);
    }
}

/* A row of blocks for each row of pixels. */
static dim3 grid_of(const lk_cuda_pool *p, int h, int w) {
    const int64_t rows = p->n * h, items = (int64_t)w * p->block / lk_cuda_lanes(p->type);
    return dim3((unsigned)lk_ceil_div(items, LK_CUDA_THREADS), (unsigned)(rows < 65535 ? rows : 65535));
}

template <typename T>
static int run_forward(cudaStream_t stream, const lk_cuda_pool *p, const void *x, void *y, uint8_t *index) {
    auto kernel = p->kernel == 3 ? maxpool_forward<T, 3> : maxpool_forward<T, 0>;
    return lk_launch(kernel, grid_of(p, p->out_h, p->out_w), dim3(LK_CUDA_THREADS), stream, *p, (const T *)x, (T *)y,
                     index);
}

template <typename T>
static int run_backward(cudaStream_t stream, const lk_cuda_pool *p, const void *const dy[2], const uint8_t *index,
                        void *dx) {
    const bool common = p->kernel == 3 && p->stride == 2, two = dy[1] != nullptr;
    auto kernel = common ? (two ? maxpool_backward<T, 3, 2, true> : maxpool_backward<T, 3, 2, false>)
                         : (two ? maxpool_backward<T, 0, 0, true> : maxpool_backward<T, 0, 0, false>);
    return lk_launch(kernel, grid_of(p, p->h, p->w), dim3(LK_CUDA_THREADS), stream, *p, (const T *)dy[0],
                     (const T *)dy[1], index, (T *)dx);
}

int lk_cuda_maxpool_forward(cudaStream_t stream, const lk_cuda_pool *p, const void *x, void *y, uint8_t *index) {
    return LK_BY_TYPE(p->type, run_forward, stream, p, x, y, index);
}

int lk_cuda_maxpool_backward(cudaStream_t stream, const lk_cuda_pool *p, const void *const dy[2], const uint8_t *index,
                             void *dx) {
    return LK_BY_TYPE(p->type, run_backward, stream, p, dy, index, dx);
}
