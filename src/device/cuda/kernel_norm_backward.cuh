/* Batch normalisation backward. With dz the gradient before the activation and g = keep dz, over the m values of a
 * channel:
 *   dbeta = sum g,  dgamma = inverse sum g (x - mean),  dresidual = dz,
 *   dx = scale g + slope (x - mean) + offset,  slope = -scale inverse dgamma / m,  offset = -scale dbeta / m;
 * where the statistics are constants, dx = scale g. */
#ifndef LK_DEVICE_CUDA_KERNEL_NORM_BACKWARD_CUH
#define LK_DEVICE_CUDA_KERNEL_NORM_BACKWARD_CUH

#include "device/cuda/kernel_norm.cuh"
#include "device/cuda/kernel_places.cuh"

/* Where dy comes from. */
#define LK_DY_ONE 0
#define LK_DY_TWO 1        /* the sum of two tensors */
#define LK_DY_MEAN 2       /* from the mean over each sample alone */
#define LK_DY_MEAN_TWO 3   /* the sum of a tensor and of that */
#define LK_DY_POOLED 4     /* a tensor of pooled values, from the windows that see a pixel */
#define LK_DY_POOLED_TWO 5 /* the sum of two such */
#define LK_DY_HAS_TWO(dy) ((dy) == LK_DY_TWO || (dy) == LK_DY_MEAN_TWO)
#define LK_DY_HAS_MEAN(dy) ((dy) == LK_DY_MEAN || (dy) == LK_DY_MEAN_TWO)
#define LK_DY_IS_POOLED(dy) ((dy) >= LK_DY_POOLED)

/* Vectors of each operand that a thread has under way: x, the gradient, a second one. With blocks of 256 threads,
 * LK_BLOCKS of them on a multiprocessor, that is 64 (with a second one 48) KB or more; an H100 needs about 40 KB (see
 * kernel_norm_forward.cu). Of a mean's gradient there is a row for each sample, which the cache holds: then 32 KB with
 * a tensor beside it, and 16 without, which is the last and smallest tensor of a network. Of pooled values a
 * thread has four windows, with their places 112 bytes (with two tensors 176) in all: 56 KB or more. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200 /* where the compiler needs more registers for the same, */
#define LK_AHEAD(dy) ((dy) == LK_DY_ONE ? 2 : 1)    /* and 16 KB suffice (1.8 TB/s, 170 multiprocessors) */
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
#define LK_AHEAD(dy) ((dy) == LK_DY_ONE ? 3 : LK_DY_IS_POOLED(dy) ? 1 : 2)
#else
#define LK_AHEAD(dy) ((dy) == LK_DY_ONE ? 4 : LK_DY_IS_POOLED(dy) ? 1 : 2)
#endif
#define LK_BLOCKS 2

/* What a thread knows of its channels. */
template <typename T>
struct channels {
    float mean[lk_lanes<T>::COUNT], scale[lk_lanes<T>::COUNT], beta[lk_lanes<T>::COUNT];
};

/* A vector of what arrives, as it lies in memory. */
template <typename T, int DY>
struct arrival {
    lk_vector<T> x, dy, second;
    unsigned stopped;
};

#define LK_WINDOWS 4 /* of 3 x 3, two apart, that see a pixel at most */

template <typename T>
struct pooled_arrival {
    lk_vector<T> x, dy[LK_WINDOWS], second[LK_WINDOWS];
    lk_places<lk_lanes<T>::COUNT> won[LK_WINDOWS];
    unsigned place[LK_WINDOWS]; /* of the pixel in the window, or LK_NOWHERE */
    unsigned stopped;
};
template <typename T>
struct arrival<T, LK_DY_POOLED> : pooled_arrival<T> {};
template <typename T>
struct arrival<T, LK_DY_POOLED_TWO> : pooled_arrival<T> {};

/* The windows that see the pixel `row`: oy 2 <= y + 1 < oy 2 + 3, and x alike. */
template <typename T, bool TWO>
static __device__ inline void fetch_windows(const lk_cuda_norm &n, unsigned row, int first, pooled_arrival<T> &a) {
    const int x = (int)(row % (unsigned)n.w) + 1, y = (int)(row / (unsigned)n.w % (unsigned)n.h) + 1;
    const int64_t image = row / ((unsigned)n.w * (unsigned)n.h);
    const int out_w = (n.w + 1) / 2, out_h = (n.h + 1) / 2, top = (y - 1) / 2, left = (x - 1) / 2;
#pragma unroll
    for (int k = 0; k < LK_WINDOWS; k++) {
        const int oy = top + k / 2, ox = left + k % 2, down = y - 2 * oy, right = x - 2 * ox;
        const bool sees = oy < out_h && ox < out_w && down >= 0 && right >= 0;
        const int at_y = oy < out_h ? oy : out_h - 1, at_x = ox < out_w ? ox : out_w - 1;
        const int64_t from = ((image * out_h + at_y) * out_w + at_x) * n.shape.block + first;
        a.dy[k] = lk_fetch<T>((const T *)n.dy[0] + from);
        if (TWO) a.second[k] = lk_fetch<T>((const T *)n.dy[1] + from);
        a.won[k] = lk_load_places<lk_lanes<T>::COUNT>(n.index + from);
        a.place[k] = sees ? (unsigned)(down * 3 + right) : LK_NOWHERE;
    }
}

template <typename T, int ACT, int DY>
static __device__ inline arrival<T, DY> fetch(const lk_cuda_norm &n, int64_t row, int first) {
    const int64_t at = row * n.shape.block + first;
    arrival<T, DY> a;
    a.x = lk_fetch<T>((const T *)n.x + at);
    if constexpr (LK_DY_IS_POOLED(DY)) {
        fetch_windows<T, DY == LK_DY_POOLED_TWO>(n, (unsigned)row, first, a);
    } else {
        if (DY != LK_DY_MEAN) a.dy = lk_fetch<T>((const T *)n.dy[0] + at);
        if (DY == LK_DY_TWO) a.second = lk_fetch<T>((const T *)n.dy[1] + at);
        if (LK_DY_HAS_MEAN(DY)) {
            const int64_t sample = (unsigned)row / (unsigned)n.area;
            (DY == LK_DY_MEAN ? a.dy : a.second) = lk_fetch<T>((const T *)n.mean_dy + sample * n.shape.block + first);
        }
    }
    a.stopped = ACT == LK_ACT_RELU && n.mask != nullptr ? n.mask[at / lk_lanes<T>::COUNT] : 0;
    return a;
}

/* visit(row, what arrives there) for every `step`th row from `row` on. What arrives at a place is fetched before it is
 * visited: dresidual, which a visit may write, may be dy[0]. */
template <typename T, int ACT, int DY, typename F>
static __device__ inline void walk(const lk_cuda_norm &n, int first, int64_t row, int64_t end, int step, F &visit) {
    constexpr int AHEAD = LK_AHEAD(DY);
    for (; row + (AHEAD - 1) * step < end; row += AHEAD * step) {
        arrival<T, DY> a[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++) a[u] = fetch<T, ACT, DY>(n, row + u * step, first);
#pragma unroll
        for (int u = 0; u < AHEAD; u++) visit(row + u * step, a[u]);
    }
    if constexpr (AHEAD > 1)
        for (; row < end; row += step) visit(row, fetch<T, ACT, DY>(n, row, first));
}

/* What arrives at one vector of the output, in float. */
template <typename T, int DY>
static __device__ inline void take_dy(const lk_cuda_norm &n, const arrival<T, DY> &a, float (&dy)[lk_lanes<T>::COUNT]) {
    constexpr int L = lk_lanes<T>::COUNT;
    if constexpr (LK_DY_IS_POOLED(DY)) {
#pragma unroll
        for (int i = 0; i < L; i++) {
            dy[i] = 0;
#pragma unroll
            for (int k = 0; k < LK_WINDOWS; k++) {
                float g = lk_float(a.dy[k].lane[i]);
                if (DY == LK_DY_POOLED_TWO) g += lk_float(a.second[k].lane[i]);
                if (lk_place_of<L>(a.won[k], i) == a.place[k]) dy[i] += g;
            }
        }
    } else {
        const float share = LK_DY_HAS_MEAN(DY) ? 1 / (float)n.area : 1;
        lk_unpack<T>(dy, a.dy);
        if (DY == LK_DY_MEAN) {
#pragma unroll
            for (int i = 0; i < L; i++) dy[i] *= share;
        }
        if (LK_DY_HAS_TWO(DY)) {
            float second[L];
            lk_unpack<T>(second, a.second);
#pragma unroll
            for (int i = 0; i < L; i++) dy[i] = fmaf(second[i], share, dy[i]);
        }
    }
}

/* dz and x - mean of one vector. With a mask it says what RELU stopped; else what went into the activation is computed
 * again. */
template <typename T, int ACT, int DY>
static __device__ inline void take_dz(const lk_cuda_norm &n, int64_t at, const arrival<T, DY> &a, const channels<T> &c,
                                      float keep, float (&distance)[lk_lanes<T>::COUNT],
                                      float (&dz)[lk_lanes<T>::COUNT]) {
    constexpr int L = lk_lanes<T>::COUNT;
    float residual[L] = {0};
    lk_unpack<T>(distance, a.x);
    take_dy<T, DY>(n, a, dz);
    if (ACT != LK_ACT_NONE && n.residual != nullptr) lk_load<T>(residual, (const T *)n.residual + at);
    const lk_act act = lk_norm_act<ACT>(n);
    const bool masked = ACT == LK_ACT_RELU && n.mask != nullptr;
#pragma unroll
    for (int i = 0; i < L; i++) {
        distance[i] -= c.mean[i];
        if (masked) {
            if ((a.stopped >> i & 1u) != 0) dz[i] = 0;
        } else if (ACT != LK_ACT_NONE) {
            const float z = lk_norm_value(distance[i], c.scale[i], c.beta[i], keep, residual[i]);
            dz[i] = lk_act_gradient_at<T>(act, z, dz[i]);
        }
    }
}

template <typename T>
static __device__ void finish_sums(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, lk_scratch<T> &scratch) {
    const int block = n.shape.block;
    int channel;
    lk_sums total;
    auto pair_of = [](int, float sum, float dot, int) {
        const lk_sums p = {(double)sum, (double)dot};
        return p;
    };
    if (!lk_merge_chunks<T>(r, block, group, n.partial, scratch, pair_of, &channel, &total)) return;
    if (n.terms != nullptr) n.terms[channel] = n.terms[block + channel] = 0;
    if (channel >= n.shape.channels) return;
    const bool given = n.saved == nullptr;
    const double inverse = given ? (double)(float)(1 / sqrt((double)n.variance[channel] + (double)n.eps))
                                 : (double)n.saved[block + channel];
    const double dgamma = total.b * inverse;
    if (n.dgamma != nullptr) {
        n.dgamma[channel] = (float)dgamma;
        n.dbeta[channel] = (float)total.a;
    }
    if (n.terms == nullptr) return;
    const double count = (double)n.shape.rows, scale = n.saved[2 * block + channel];
    n.terms[channel] = (float)(-scale * inverse * dgamma / count);
    n.terms[block + channel] = (float)(-scale * total.a / count);
}

/* The partial sums of a chunk: of g and of g (x - mean). */
template <typename T, int ACT, int DY>
static __device__ inline void take_sums(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk,
                                        lk_scratch<T> &scratch) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int thread = threadIdx.y * r.across + threadIdx.x, first = (group * r.across + (int)threadIdx.x) * L;
    const int block = n.shape.block;
    const lk_row_range rows = lk_chunk_rows(n, r, chunk);
    float total[L] = {0}, dot[L] = {0};
    if (first < block) {
        channels<T> c;
        lk_norm_channels<T>(n, first, c.mean, c.scale, c.beta);
        auto add = [&](int64_t row, const arrival<T, DY> &a) {
            const float keep = lk_norm_keep(n, row);
            float distance[L], g[L];
            take_dz<T, ACT, DY>(n, row * block + first, a, c, keep, distance, g);
#pragma unroll
            for (int i = 0; i < L; i++) {
                g[i] *= keep;
                total[i] += g[i];
                dot[i] = fmaf(g[i], distance[i], dot[i]);
            }
        };
        walk<T, ACT, DY>(n, first, rows.begin + threadIdx.y, rows.end, r.down, add);
    }
    for (int i = 0; i < L; i++) {
        scratch.values[0][i][thread] = total[i];
        scratch.values[1][i][thread] = dot[i];
    }
    lk_sums pair;
    int channel;
    auto pair_of = [&](int, int at, int lane) {
        const lk_sums p = {(double)scratch.values[0][lane][at], (double)scratch.values[1][lane][at]};
        return p;
    };
    if (lk_merge_rows<T>(r, block, group, scratch, pair_of, &channel, &pair)) {
        float *partial = n.partial + (int64_t)chunk * 2 * block + channel;
        partial[0] = (float)pair.a;
        partial[block] = (float)pair.b;
    }
}

/* dx and dresidual of a chunk. */
template <typename T, int ACT, int DY>
static __device__ inline void put_gradient(const lk_cuda_norm &n, const lk_reduce_shape &r, int group, int chunk) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = (group * r.across + (int)threadIdx.x) * L, block = n.shape.block;
    if (first >= block) return;
    const lk_row_range rows = lk_chunk_rows(n, r, chunk);
    channels<T> c;
    const bool moving = n.terms != nullptr;
    float slope[L] = {0}, offset[L] = {0};
    lk_norm_channels<T>(n, first, c.mean, c.scale, c.beta);
    if (moving) {
        lk_load_floats(slope, n.terms + first);
        lk_load_floats(offset, n.terms + block + first);
    }
    auto put = [&](int64_t row, const arrival<T, DY> &a) {
        const int64_t at = row * block + first;
        const float keep = lk_norm_keep(n, row);
        float distance[L], g[L];
        take_dz<T, ACT, DY>(n, at, a, c, keep, distance, g);
        if (n.dresidual != nullptr) lk_store<T>((T *)n.dresidual + at, g);
        if (n.dx == nullptr) return;
#pragma unroll
        for (int i = 0; i < L; i++) /* x need not have been kept where it does not move the statistics */
            g[i] = fmaf(c.scale[i], keep * g[i], moving ? fmaf(slope[i], distance[i], offset[i]) : 0);
        lk_store<T>((T *)n.dx + at, g);
    };
    walk<T, ACT, DY>(n, first, rows.begin + threadIdx.y, rows.end, r.down, put);
}

template <typename T, int ACT, int DY>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_BLOCKS)
    sums_and_gradient(lk_cuda_norm n, lk_reduce_shape r) {
    __shared__ lk_norm_memory<T> memory;
    lk_block_memory(memory);
    auto take = [&](int group, int chunk) { take_sums<T, ACT, DY>(n, r, group, chunk, memory.scratch); };
    auto merge = [&](int group) { finish_sums<T>(n, r, group, memory.scratch); };
    auto put = [&](int group, int chunk) { put_gradient<T, ACT, DY>(n, r, group, chunk); };
    lk_run_phases(r, n.dx == nullptr && n.dresidual == nullptr, n.counters, memory.turn, take, merge, put);
}

/* Launches sums_and_gradient. */
template <int DY>
static int lk_norm_backward_launch(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(lk_phase_blocks(r, norm->multiprocessors, LK_BLOCKS)), block(r.across, r.down);
    return LK_NORM_LAUNCH(sums_and_gradient, DY, norm, grid, block, stream, *norm, r);
}

#endif
