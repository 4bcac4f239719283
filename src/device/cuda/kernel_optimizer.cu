/* Optimizer steps over slabs of float32. */
#include "device/cuda/kernel_util.cuh"

static __device__ inline float clipped(float gradient, float scale, float limit) {
    float g = gradient * scale;
    g = g > limit ? limit : g;
    return g < -limit ? -limit : g;
}

/* Source: torch.optim.SGD. */
static __global__ void step_sgd(float *params, const float *grads, float *velocity, int64_t count, lk_float_sgd s) {
    LK_GRID_LOOP(i, count) {
        const float p = params[i];
        float d = clipped(grads[i], s.scale, s.limit) + s.weight_decay * p;
        if (velocity != nullptr) {
            const float v = s.first_step ? d : s.momentum * velocity[i] + s.fresh * d;
            velocity[i] = v;
            d = s.nesterov ? d + s.momentum * v : v;
        }
        params[i] = p - s.lr * d;
    }
}

/* Source: torch.optim.Adam, AdamW. The averages move by a share of the distance: in float32, beta and 1 - beta need not
 * add to one. */
static __global__ void step_adam(float *params, const float *grads, float *mean, float *square, int64_t count,
                                 lk_float_adam s) {
    LK_GRID_LOOP(i, count) {
        const float p = params[i];
        const float g = clipped(grads[i], s.scale, s.limit) + s.decay * p;
        const float old_mean = s.first_step ? 0.0f : mean[i], old_square = s.first_step ? 0.0f : square[i];
        const float m = old_mean + s.fresh1 * (g - old_mean);
        const float v = old_square + s.fresh2 * (g * g - old_square);
        mean[i] = m;
        square[i] = v;
        params[i] = p * s.keep - s.rate * (m / (sqrtf(v) * s.correction + s.eps));
    }
}

/* Source: torch.optim.RMSprop; timm's RMSpropTF. */
static __global__ void step_rmsprop(float *params, const float *grads, float *square, float *mean, float *velocity,
                                    int64_t count, lk_float_rmsprop s) {
    LK_GRID_LOOP(i, count) {
        const float p = params[i];
        const float g = clipped(grads[i], s.scale, s.limit) + s.decay * p;
        const float old_square = s.first_step ? s.square_start : square[i];
        float v = old_square + s.fresh * (g * g - old_square);
        square[i] = v;
        if (mean != nullptr) {
            const float old_mean = s.first_step ? 0.0f : mean[i];
            const float a = old_mean + s.fresh * (g - old_mean);
            mean[i] = a;
            v = v - a * a;
            v = v > 0.0f ? v : 0.0f;
        }
        float step = g / (sqrtf(v + s.eps_inside) + s.eps_outside);
        if (velocity != nullptr) {
            step = s.momentum * (s.first_step ? 0.0f : velocity[i]) + s.gather * step;
            velocity[i] = step;
        }
        params[i] = p - s.rate * step;
    }
}

static __global__ void lerp(float *average, const float *x, int64_t count, float share) {
    LK_GRID_LOOP(i, count) {
        const float from = average[i], to = x[i];
        average[i] = share < 0.5f ? from + share * (to - from) : to - (to - from) * (1.0f - share);
    }
}

int lk_cuda_slab_sgd(cudaStream_t stream, float *params, const float *grads, float *velocity, int64_t count,
                     const lk_float_sgd *sgd) {
    return lk_launch(step_sgd, lk_grid(count), LK_CUDA_THREADS, stream, params, grads, velocity, count, *sgd);
}

int lk_cuda_slab_adam(cudaStream_t stream, float *params, const float *grads, float *mean, float *square, int64_t count,
                      const lk_float_adam *adam) {
    return lk_launch(step_adam, lk_grid(count), LK_CUDA_THREADS, stream, params, grads, mean, square, count, *adam);
}

int lk_cuda_slab_rmsprop(cudaStream_t stream, float *params, const float *grads, float *square, float *mean,
                         float *velocity, int64_t count, const lk_float_rmsprop *rmsprop) {
    return lk_launch(step_rmsprop, lk_grid(count), LK_CUDA_THREADS, stream, params, grads, square, mean, velocity,
                     count, *rmsprop);
}

int lk_cuda_slab_lerp(cudaStream_t stream, float *average, const float *x, int64_t count, float share) {
    return lk_launch(lerp, lk_grid(count), LK_CUDA_THREADS, stream, average, x, count, share);
}
