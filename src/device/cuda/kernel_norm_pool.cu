/* Batch normalisation with activation and maximum pooling in windows of 3 x 3, two apart, as one: what lies between
 * them is nowhere. Forward, a thread has the 9 vectors of a window under way, 16 bytes each: 2 blocks of 256 threads
 * are 72 KB on a multiprocessor, and what neighbours read comes from the cache. */
#include "device/cuda/kernel_norm_backward.cuh"
#include "device/cuda/kernel_norm_statistics.cuh"

#define SIDE 3

/* A part of the pooled values, as many parts as x has chunks. NaN is larger than everything, the last of them wins; of
 * other equal values the first. */
template <typename T, int ACT>
static __device__ inline void put_pooled(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = (group * r.across + (int)threadIdx.x) * L, block = n.shape.block;
    if (first >= block) return;
    float mean[L], scale[L], beta[L];
    lk_norm_channels<T>(n, first, mean, scale, beta);
    const unsigned out_w = (unsigned)(n.w + 1) / 2, out_h = (unsigned)(n.h + 1) / 2;
    const unsigned rows = (unsigned)(n.shape.rows / n.area) * out_h * out_w, chunks = (unsigned)r.chunks;
    const unsigned each = (rows + chunks - 1) / chunks, begin = (unsigned)chunk * each;
    const unsigned end = begin + each < rows ? begin + each : rows;
    for (unsigned row = begin + threadIdx.y; row < end; row += (unsigned)r.down) {
        const int left = (int)(row % out_w) * 2 - 1, top = (int)(row / out_w % out_h) * 2 - 1;
        const T *image = (const T *)n.x + (int64_t)(row / (out_w * out_h)) * n.area * block + first;
        lk_vector<T> v[SIDE * SIDE];
#pragma unroll
        for (int k = 0; k < SIDE * SIDE; k++) { /* where the window sticks out, some pixel of the image */
            const int y = top + k / SIDE, x = left + k % SIDE;
            const int at_y = y < 0 ? 0 : y < n.h ? y : n.h - 1, at_x = x < 0 ? 0 : x < n.w ? x : n.w - 1;
            v[k] = lk_fetch<T>(image + ((int64_t)at_y * n.w + at_x) * block);
        }
        const int start = (top < 0 ? SIDE : 0) + (left < 0 ? 1 : 0);
        float best[L] = {0};
        unsigned place[L] = {0};
#pragma unroll
        for (int k = 0; k < SIDE * SIDE; k++) {
            const bool inside =
                (unsigned)(top + k / SIDE) < (unsigned)n.h && (unsigned)(left + k % SIDE) < (unsigned)n.w;
#pragma unroll
            for (int i = 0; i < L; i++) {
                const float z = lk_norm_value(lk_float(v[k].lane[i]) - mean[i], scale[i], beta[i], 1, 0);
                const float value = lk_act_value<T>(lk_norm_act<ACT>(n), z);
                const bool wins = inside && (k == start || value > best[i] || value != value);
                best[i] = wins ? value : best[i];
                place[i] = wins ? (unsigned)k : place[i];
            }
        }
        if (ACT == LK_ANY_ACT) /* not every activation of 0 is 0 */
            for (int i = 0; i < L; i++) best[i] = first + i < n.shape.channels ? best[i] : 0;
        const int64_t to = (int64_t)row * block + first;
        lk_store<T>((T *)n.y + to, best);
        if (n.index != nullptr) lk_store_places<L>(n.index + to, place);
    }
}

template <typename T, int ACT, bool>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_BLOCKS)
    measure_and_pool(lk_cuda_norm n, lk_reduce_shape r) {
    __shared__ lk_norm_memory<T> memory;
    lk_block_memory(memory);
    auto take = [&](int group, int chunk) { lk_take_statistics<T>(n, r, group, chunk, memory.scratch); };
    auto merge = [&](int group) { lk_finish_statistics<T>(n, r, group, memory.scratch); };
    auto put = [&](int group, int chunk) { put_pooled<T, ACT>(n, r, group, chunk); };
    lk_run_phases(r, false, n.counters, memory.turn, take, merge, put);
}

int lk_cuda_norm_forward_pooled(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(lk_phase_blocks(r, norm->multiprocessors, LK_BLOCKS)), block(r.across, r.down);
    return LK_NORM_LAUNCH(measure_and_pool, false, norm, grid, block, stream, *norm, r);
}

int lk_cuda_norm_backward_pooled(cudaStream_t stream, const lk_cuda_norm *norm) {
    if (norm->dy[1] != nullptr) return lk_norm_backward_launch<LK_DY_POOLED_TWO>(stream, norm);
    return lk_norm_backward_launch<LK_DY_POOLED>(stream, norm);
}
