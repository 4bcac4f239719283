/* Batch normalisation backward. With dz the gradient before the activation and g = keep dz, over the m values of a
 * channel:
 *   dbeta = sum g,  dgamma = inverse sum g (x - mean),  dresidual = dz,
 *   dx = scale g + slope (x - mean) + offset,  slope = -scale inverse dgamma / m,  offset = -scale dbeta / m. */
#include "device/cuda/kernel_norm.cuh"

/* Blocks that a multiprocessor holds at once. Two are 512 threads with three vectors of 16 bytes under way each, 24 KB;
 * an H100 needs 15 KB a multiprocessor to keep its memory busy (3.35 TB/s, 600 ns, 132 of them). */
#define LK_BLOCKS 2

/* What a thread knows of its channels. */
template <typename T>
struct channels {
    float mean[lk_lanes<T>::COUNT], scale[lk_lanes<T>::COUNT], beta[lk_lanes<T>::COUNT];
};

/* dz at one vector. With a mask it says what RELU stopped; else what went into the activation is computed again. */
template <typename T>
static __device__ inline void load_dz(const lk_cuda_norm &n, int64_t at, const channels<T> &c,
                                      const float (&x)[lk_lanes<T>::COUNT], float keep,
                                      float (&dz)[lk_lanes<T>::COUNT]) {
    constexpr int L = lk_lanes<T>::COUNT;
    lk_load_dy<T>(dz, (const T *)n.dy[0], (const T *)n.dy[1], at);
    if (n.act == LK_ACT_NONE) return;
    if (n.mask != nullptr) {
        const unsigned stopped = n.mask[at / L];
#pragma unroll
        for (int i = 0; i < L; i++)
            if ((stopped >> i & 1u) != 0) dz[i] = 0;
        return;
    }
    float residual[L] = {0};
    if (n.residual != nullptr) lk_load<T>(residual, (const T *)n.residual + at);
#pragma unroll
    for (int i = 0; i < L; i++) {
        const float z = lk_norm_value(x[i], c.mean[i], c.scale[i], c.beta[i], keep, residual[i]);
        dz[i] = lk_act_gradient(n.act, n.invertible ? lk_act_value(n.act, z) : z, dz[i]);
    }
}

static __device__ inline float keep_of(const lk_cuda_norm &n, int64_t row) {
    return n.keep != nullptr ? n.keep[row / n.area] : 1;
}

template <typename T>
static __device__ void finish_sums(const lk_cuda_norm &n, const lk_reduce_shape &r) {
    __shared__ double sums[LK_CUDA_THREADS], dots[LK_CUDA_THREADS];
    const int width = r.across * lk_lanes<T>::COUNT, split = LK_CUDA_THREADS / width;
    const int thread = threadIdx.y * r.across + threadIdx.x, part = thread / width, block = n.shape.block;
    const int channel = (int)blockIdx.x * width + thread % width;
    const int each = (r.chunks + split - 1) / split;
    double sum = 0, dot = 0;
    for (int i = part * each; i < (part + 1) * each && i < r.chunks && channel < block; i++) {
        sum += (double)__ldcg(n.partial + (int64_t)i * 2 * block + channel);
        dot += (double)__ldcg(n.partial + (int64_t)i * 2 * block + block + channel);
    }
    sums[thread] = sum;
    dots[thread] = dot;
    __syncthreads();
    if (part != 0 || channel >= block) return;
    for (int i = 1; i < split; i++) {
        sum += sums[i * width + thread];
        dot += dots[i * width + thread];
    }
    n.terms[channel] = n.terms[block + channel] = 0;
    if (channel >= n.shape.channels) return;
    const double inverse = n.saved[block + channel], count = (double)n.shape.rows;
    const double scale = (double)(n.gamma[channel] * n.saved[block + channel]), dgamma = dot * inverse;
    n.dgamma[channel] = (float)dgamma;
    n.dbeta[channel] = (float)sum;
    n.terms[channel] = (float)(-scale * inverse * dgamma / count);
    n.terms[block + channel] = (float)(-scale * sum / count);
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_BLOCKS) sums(lk_cuda_norm n, lk_reduce_shape r) {
    constexpr int L = lk_lanes<T>::COUNT;
    __shared__ float totals[L][LK_CUDA_THREADS], dots[L][LK_CUDA_THREADS];
    const int thread = threadIdx.y * r.across + threadIdx.x, first = ((int)blockIdx.x * r.across + threadIdx.x) * L;
    const int64_t begin = blockIdx.y * r.chunk;
    const int64_t end = begin + r.chunk < n.shape.rows ? begin + r.chunk : n.shape.rows;
    float total[L] = {0}, dot[L] = {0};
    if (first < n.shape.block) {
        channels<T> c;
        lk_norm_channels<T>(n, first, c.mean, c.scale, c.beta);
        for (int64_t row = begin + threadIdx.y; row < end; row += r.down) {
            const float keep = keep_of(n, row);
            float v[L], g[L];
            lk_load<T>(v, (const T *)n.x + row * n.shape.block + first);
            load_dz<T>(n, row * n.shape.block + first, c, v, keep, g);
#pragma unroll
            for (int i = 0; i < L; i++) {
                g[i] *= keep;
                total[i] += g[i];
                dot[i] = fmaf(g[i], v[i] - c.mean[i], dot[i]);
            }
        }
    }
    for (int i = 0; i < L; i++) {
        totals[i][thread] = total[i];
        dots[i][thread] = dot[i];
    }
    for (int half = r.down / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.y < half)
            for (int i = 0; i < L; i++) {
                totals[i][thread] += totals[i][thread + half * r.across];
                dots[i][thread] += dots[i][thread + half * r.across];
            }
    }
    if (threadIdx.y == 0 && first < n.shape.block) {
        float *partial = n.partial + (int64_t)blockIdx.y * 2 * n.shape.block + first;
        for (int i = 0; i < L; i++) {
            partial[i] = totals[i][thread];
            partial[n.shape.block + i] = dots[i][thread];
        }
    }
    if (lk_last_to_arrive(n.counters)) finish_sums<T>(n, r);
}

template <typename T>
static __global__ void __launch_bounds__(LK_CUDA_THREADS, LK_BLOCKS) gradient(lk_cuda_norm n, lk_reduce_shape r) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int first = ((int)blockIdx.x * r.across + threadIdx.x) * L, block = n.shape.block;
    if (first >= block) return;
    channels<T> c;
    lk_norm_channels<T>(n, first, c.mean, c.scale, c.beta);
    for (int64_t row = blockIdx.y * (int64_t)r.down + threadIdx.y; row < n.shape.rows;
         row += (int64_t)gridDim.y * r.down) {
        const int64_t at = row * block + first;
        const float keep = keep_of(n, row);
        float v[L], g[L];
        lk_load<T>(v, (const T *)n.x + at);
        load_dz<T>(n, at, c, v, keep, g); /* before dresidual is written: it may be dy[0] */
        if (n.dresidual != nullptr) lk_store<T>((T *)n.dresidual + at, g);
        if (n.dx == nullptr) continue;
#pragma unroll
        for (int i = 0; i < L; i++) {
            const float slope = n.terms[first + i], offset = n.terms[block + first + i];
            g[i] = fmaf(c.scale[i], keep * g[i], fmaf(slope, v[i] - c.mean[i], offset));
        }
        lk_store<T>((T *)n.dx + at, g);
    }
}

int lk_cuda_norm_sums(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, r.chunks), block(r.across, r.down);
    if (norm->shape.type == LK_CUDA_BF16) return lk_launch(sums<lk_bf16>, grid, block, stream, *norm, r);
    return lk_launch(sums<float>, grid, block, stream, *norm, r);
}

int lk_cuda_norm_gradient(cudaStream_t stream, const lk_cuda_norm *norm) {
    lk_reduce_shape r = lk_reduce_shape_of(&norm->shape);
    dim3 grid(r.groups, lk_row_blocks(norm->shape.rows, &r)), block(r.across, r.down);
    if (norm->shape.type == LK_CUDA_BF16) return lk_launch(gradient<lk_bf16>, grid, block, stream, *norm, r);
    return lk_launch(gradient<float>, grid, block, stream, *norm, r);
}
