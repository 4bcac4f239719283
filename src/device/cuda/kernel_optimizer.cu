/* Elementwise work over slabs of float32: optimizer steps, averages, copies in 16-bit types. One task a launch, or many
 * side by side: the arithmetic of an element is the same. */
#include "device/cuda/kernel_util.cuh"

static __device__ inline float clipped(float gradient, float scale, float limit) {
    float g = gradient * scale;
    g = g > limit ? limit : g;
    return g < -limit ? -limit : g;
}

/* Source: torch.optim.SGD. */
static __device__ inline void step_sgd(const lk_cuda_task &t, int64_t i) {
    const lk_float_sgd &s = t.sgd;
    float *params = (float *)t.to, *velocity = t.state[0];
    const float p = params[i];
    float d = clipped(t.from[i], s.scale, s.limit) + s.weight_decay * p;
    if (velocity != nullptr) {
        const float v = s.first_step ? d : s.momentum * velocity[i] + s.fresh * d;
        velocity[i] = v;
        d = s.nesterov ? d + s.momentum * v : v;
    }
    params[i] = p - s.lr * d;
}

/* Source: torch.optim.Adam, AdamW. The averages move by a share of the distance: in float32, beta and 1 - beta need not
 * add to one. */
static __device__ inline void step_adam(const lk_cuda_task &t, int64_t i) {
    const lk_float_adam &s = t.adam;
    float *params = (float *)t.to, *mean = t.state[0], *square = t.state[1];
    const float p = params[i];
    const float g = clipped(t.from[i], s.scale, s.limit) + s.decay * p;
    const float old_mean = s.first_step ? 0.0f : mean[i], old_square = s.first_step ? 0.0f : square[i];
    const float m = old_mean + s.fresh1 * (g - old_mean);
    const float v = old_square + s.fresh2 * (g * g - old_square);
    mean[i] = m;
    square[i] = v;
    params[i] = p * s.keep - s.rate * (m / (sqrtf(v) * s.correction + s.eps));
}

/* Source: torch.optim.RMSprop; timm's RMSpropTF. */
static __device__ inline void step_rmsprop(const lk_cuda_task &t, int64_t i) {
    const lk_float_rmsprop &s = t.rmsprop;
    float *params = (float *)t.to, *square = t.state[0], *mean = t.state[1], *velocity = t.state[2];
    const float p = params[i];
    const float g = clipped(t.from[i], s.scale, s.limit) + s.decay * p;
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

static __device__ inline void lerp(const lk_cuda_task &t, int64_t i) {
    float *average = (float *)t.to;
    const float from = average[i], to = t.from[i], share = t.take;
    average[i] = share < 0.5f ? from + share * (to - from) : to - (to - from) * (1.0f - share);
}

static __device__ inline void blend(const lk_cuda_task &t, int64_t i) {
    float *running = (float *)t.to;
    running[i] = t.keep * running[i] + t.take * t.from[i];
}

template <typename T>
static __device__ inline void copy_as(const lk_cuda_task &t, int64_t i) {
    ((T *)t.to)[i] = lk_round<T>(t.from[i]);
}

/* Elements begin, begin + stride, ... below end. */
static __device__ inline void work(const lk_cuda_task &t, int64_t begin, int64_t end, int64_t stride) {
    switch (t.kind) {
        case LK_CUDA_SGD:
            for (int64_t i = begin; i < end; i += stride) step_sgd(t, i);
            break;
        case LK_CUDA_ADAM:
            for (int64_t i = begin; i < end; i += stride) step_adam(t, i);
            break;
        case LK_CUDA_RMSPROP:
            for (int64_t i = begin; i < end; i += stride) step_rmsprop(t, i);
            break;
        case LK_CUDA_LERP:
            for (int64_t i = begin; i < end; i += stride) lerp(t, i);
            break;
        case LK_CUDA_BLEND:
            for (int64_t i = begin; i < end; i += stride) blend(t, i);
            break;
        case LK_CUDA_TO_BF16:
            for (int64_t i = begin; i < end; i += stride) copy_as<lk_bf16>(t, i);
            break;
        case LK_CUDA_TO_F16:
            for (int64_t i = begin; i < end; i += stride) copy_as<lk_f16>(t, i);
            break;
    }
}

static __global__ void run_task(lk_cuda_task task) {
    work(task, (int64_t)blockIdx.x * blockDim.x + threadIdx.x, task.count, (int64_t)gridDim.x * blockDim.x);
}

/* All threads look for the block's task at once: a table of hundreds costs one or two reads each. */
static __global__ void run_tasks(const lk_cuda_task *tasks, int count) {
    __shared__ int found;
    const int block = (int)blockIdx.x;
    for (int i = threadIdx.x; i < count; i += LK_CUDA_THREADS)
        if (tasks[i].first_block <= block && (i + 1 == count || tasks[i + 1].first_block > block)) found = i;
    __syncthreads();
    const lk_cuda_task task = tasks[found];
    const int64_t begin = (int64_t)(block - task.first_block) * LK_CUDA_TASK_CHUNK, end = begin + LK_CUDA_TASK_CHUNK;
    work(task, begin + threadIdx.x, end < task.count ? end : task.count, LK_CUDA_THREADS);
}

int lk_cuda_task_run(cudaStream_t stream, const lk_cuda_task *task) {
    return lk_launch(run_task, lk_grid(task->count), LK_CUDA_THREADS, stream, *task);
}

int lk_cuda_tasks_run(cudaStream_t stream, const lk_cuda_task *tasks, int count, int blocks) {
    return lk_launch(run_tasks, dim3((unsigned)blocks), LK_CUDA_THREADS, stream, tasks, count);
}
