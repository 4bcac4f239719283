/* Batch normalisation forward. */
#include "device/cuda/kernel_norm_statistics.cuh"

/* Vectors of 16 bytes that a thread has under way: 8 of x for the statistics; for the values 4 of x, or 2 and as many
 * of a residual. With blocks of 256 threads, LK_BLOCKS of them on a multiprocessor, that is 96 KB and 48 KB; an H100
 * needs about 40 KB to keep its memory busy (3.35 TB/s, 1.5 us under load, 132 multiprocessors). */
#define LK_AHEAD_APPLY(residual) ((residual) ? 2 : 4)
#define LK_BLOCKS 3
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 /* where the compiler needs more registers for the same */
#define LK_FIT(act) ((act) == LK_ACT_NONE || (act) == LK_ACT_RELU ? LK_BLOCKS : 2)
#else
#define LK_FIT(act) LK_BLOCKS
#endif

/* The values of a chunk. */
template <typename T, int ACT, bool RESIDUAL>
static __device__ inline void put_values(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk) {
    constexpr int L = lk_lanes<T>::COUNT, AHEAD = LK_AHEAD_APPLY(RESIDUAL);
    const int first = (group * r.across + (int)threadIdx.x) * L, block = n.shape.block;
    if (first >= block) return;
    float mean[L], scale[L], beta[L];
    lk_norm_channels<T>(n, first, mean, scale, beta);
    const T *x = (const T *)n.x, *residual = (const T *)n.residual;
    const lk_row_range rows = lk_chunk_rows(n, r, chunk);
    auto put = [&](int64_t row, const lk_vector<T> &raw, const lk_vector<T> &other_raw) {
        const int64_t at = row * block + first;
        const float keep = lk_norm_keep(n, row);
        float v[L], other[L] = {0};
        unsigned stopped = 0;
        lk_unpack<T>(v, raw);
        if (RESIDUAL) lk_unpack<T>(other, other_raw);
#pragma unroll
        for (int i = 0; i < L; i++) {
            const float z = lk_norm_value(v[i] - mean[i], scale[i], beta[i], keep, other[i]);
            if (z <= 0) stopped |= 1u << i;
            v[i] = lk_act_value<T>(lk_norm_act<ACT>(n), z);
            if (ACT == LK_ANY_ACT && first + i >= n.shape.channels) v[i] = 0; /* not every activation of 0 is 0 */
        }
        lk_store<T>((T *)n.y + at, v);
        if (ACT == LK_ACT_RELU && n.mask != nullptr) n.mask[at / L] = (uint8_t)stopped;
    };
    int64_t row = rows.begin + threadIdx.y;
    for (; row + (AHEAD - 1) * r.down < rows.end; row += AHEAD * r.down) {
        lk_vector<T> raw[AHEAD], other[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const int64_t at = (row + u * r.down) * block + first;
            raw[u] = lk_fetch<T>(x + at);
            if (RESIDUAL) other[u] = lk_fetch<T>(residual + at);
        }
#pragma unroll
        for (int u = 0; u < AHEAD; u++) put(row + u * r.down, raw[u], other[u]);
    }
    for (; row < rows.end; row += r.down) {
        const int64_t at = row * block + first;
        put(row, lk_fetch<T>(x + at), RESIDUAL ? lk_fetch<T>(residual + at) : lk_vector<T>());
    }
}

template <typename T, int ACT, bool RESIDUAL>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_FIT(ACT))
    measure_and_apply(lk_cuda_norm n, lk_reduce_shape r) {
    __shared__ lk_norm_memory<T> memory;
    lk_block_memory(memory);
    auto take = [&](int group, int chunk) { lk_take_statistics<T>(n, r, group, chunk, memory.scratch); };
    auto merge = [&](int group) { lk_finish_statistics<T>(n, r, group, memory.scratch); };
    auto put = [&](int group, int chunk) { put_values<T, ACT, RESIDUAL>(n, r, group, chunk); };
    lk_run_phases(r, false, n.counters, memory.turn, take, merge, put);
}

template <typename T, int ACT, bool RESIDUAL>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_FIT(ACT)) apply(lk_cuda_norm n, lk_reduce_shape r) {
    put_values<T, ACT, RESIDUAL>(n, r, (int)blockIdx.x, (int)blockIdx.y);
}

int lk_cuda_norm_forward(cudaStream_t stream, const lk_cuda_norm *norm) {
    if (norm->h > 0) return lk_cuda_norm_forward_pooled(stream, norm);
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(lk_phase_blocks(r, norm->multiprocessors, LK_BLOCKS)), block(r.across, r.down);
    if (norm->residual != nullptr) return LK_NORM_LAUNCH(measure_and_apply, true, norm, grid, block, stream, *norm, r);
    return LK_NORM_LAUNCH(measure_and_apply, false, norm, grid, block, stream, *norm, r);
}

int lk_cuda_norm_apply(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, r.chunks), block(r.across, r.down);
    if (norm->residual != nullptr) return LK_NORM_LAUNCH(apply, true, norm, grid, block, stream, *norm, r);
    return LK_NORM_LAUNCH(apply, false, norm, grid, block, stream, *norm, r);
}
