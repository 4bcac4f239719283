/* Kernels that treat each element alone: activation and addition, dropout, images to the network's type. */
#include "device/cuda/kernel_act.cuh"
#include "device/cuda/kernel_random.cuh"

template <typename T>
static __global__ void add_forward(lk_cuda_add a, int64_t vectors) {
    constexpr int L = lk_lanes<T>::COUNT;
    LK_GRID_LOOP(at, vectors) {
        const int first = (int)(at % (a.shape.block / L)) * L;
        float v[L], other[L] = {0};
        lk_load<T>(v, (const T *)a.x + at * L);
        if (a.residual != nullptr) lk_load<T>(other, (const T *)a.residual + at * L);
        for (int i = 0; i < L; i++) {
            v[i] = lk_act_value<T>(a.act, v[i] + other[i]);
            if (first + i >= a.shape.channels) v[i] = 0; /* not every activation of 0 is 0 */
        }
        lk_store<T>((T *)a.y + at * L, v);
    }
}

template <typename T>
static __global__ void add_backward(lk_cuda_add a, int64_t vectors) {
    constexpr int L = lk_lanes<T>::COUNT;
    LK_GRID_LOOP(at, vectors) {
        float g[L], v[L], other[L] = {0};
        lk_load_dy<T>(g, (const T *)a.dy[0], (const T *)a.dy[1], at * L);
        if (a.act != LK_ACT_NONE) {
            lk_load<T>(v, (const T *)(a.from_y ? a.y : a.x) + at * L);
            if (!a.from_y && a.residual != nullptr) lk_load<T>(other, (const T *)a.residual + at * L);
            for (int i = 0; i < L; i++) {
                g[i] = a.from_y ? lk_act_gradient<T>(a.act, v[i], g[i])
                                : lk_act_gradient_at<T>(a.act, v[i] + other[i], g[i]);
            }
        }
        if (a.dx != nullptr) lk_store<T>((T *)a.dx + at * L, g);
        if (a.dresidual != nullptr) lk_store<T>((T *)a.dresidual + at * L, g);
    }
}

/* An element's place among those of its sample is counted in NCHW order, whatever the layout. */
template <typename T>
static __global__ void dropout(lk_cuda_dropout d, const T *x0, const T *x1, T *y) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int vectors = d.shape.block / L;
    const lk_cuda_draws draws = *d.draws;
    LK_GRID_LOOP(at, d.shape.rows * vectors) {
        const int first = (int)(at % vectors) * L;
        const int64_t row = at / vectors, sample = row / d.area, pixel = row % d.area;
        const uint64_t base = (draws.first_position + (uint64_t)sample) * (uint64_t)(d.shape.channels * d.area);
        float v[L];
        lk_load_dy<T>(v, x0, x1, at * L);
        for (int i = 0; i < L; i++) {
            const uint64_t index = base + (uint64_t)((first + i) * d.area + pixel);
            const bool drop = d.rate > 0 && (double)lk_random_unit(draws.seed, draws.epoch, index, d.layer) < d.rate;
            v[i] *= drop ? 0 : d.kept;
            if (first + i >= d.shape.channels) v[i] = 0;
        }
        lk_store<T>(y + at * L, v);
    }
}

static __device__ inline float normalised(const lk_cuda_images &images, const uint8_t *x, int64_t pixel, int channel) {
    return ((float)x[pixel * images.channels + channel] / 255.0f - images.mean[channel]) / images.std[channel];
}

/* A pixel is at most 4 channels: the first vector holds them all, the others are padding. */
template <typename T>
static __global__ void normalise(lk_cuda_images images, T *y) {
    constexpr int L = lk_lanes<T>::COUNT;
    const int vectors = images.block / L;
    const uint8_t *x = images.source->pixels;
    const bool mixed = images.source->mixed != 0;
    LK_GRID_LOOP(i, images.pixels * vectors) {
        const int64_t pixel = i / vectors, image = pixel / images.area;
        const int64_t other = mixed ? images.partner[image] * images.area + pixel % images.area : pixel;
        const float share = mixed ? images.share[image] : 1;
        float v[L];
#pragma unroll
        for (int k = 0; k < L; k++) {
            v[k] = 0;
            if (i % vectors != 0 || k >= images.channels || k >= 4) continue;
            v[k] = normalised(images, x, pixel, k);
            if (mixed) v[k] = share * v[k] + (1 - share) * normalised(images, x, other, k);
        }
        lk_store<T>(y + i * L, v);
    }
}

static int64_t vectors_of(const lk_cuda_rows *shape) { return shape->rows * shape->block / lk_cuda_lanes(shape->type); }

int lk_cuda_add_forward(cudaStream_t stream, const lk_cuda_add *add) {
    int64_t vectors = vectors_of(&add->shape);
    return LK_LAUNCH_BY_TYPE(add->shape.type, add_forward, lk_grid(vectors), LK_CUDA_THREADS, stream, *add, vectors);
}

int lk_cuda_add_backward(cudaStream_t stream, const lk_cuda_add *add) {
    int64_t vectors = vectors_of(&add->shape);
    return LK_LAUNCH_BY_TYPE(add->shape.type, add_backward, lk_grid(vectors), LK_CUDA_THREADS, stream, *add, vectors);
}

template <typename T>
static int launch_dropout(cudaStream_t stream, const lk_cuda_dropout *d, const void *const x[2], void *y) {
    return lk_launch(dropout<T>, lk_grid(vectors_of(&d->shape)), LK_CUDA_THREADS, stream, *d, (const T *)x[0],
                     (const T *)x[1], (T *)y);
}

int lk_cuda_dropout_run(cudaStream_t stream, const lk_cuda_dropout *d, const void *const x[2], void *y) {
    return LK_BY_TYPE(d->shape.type, launch_dropout, stream, d, x, y);
}

template <typename T>
static int launch_normalise(dim3 grid, cudaStream_t stream, const lk_cuda_images *images, void *y) {
    return lk_launch(normalise<T>, grid, LK_CUDA_THREADS, stream, *images, (T *)y);
}

int lk_cuda_input(cudaStream_t stream, lk_cuda_type type, const lk_cuda_images *images, void *y) {
    dim3 grid = lk_grid(images->pixels * images->block / lk_cuda_lanes(type));
    return LK_BY_TYPE(type, launch_normalise, grid, stream, images, y);
}
