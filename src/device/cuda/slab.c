/* slab_* of lk_device. */
#include "device/cuda/cuda_internal.h"

static lk_status slab_add(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count,
                          lk_error *err) {
    (void)device;
    if (count == 0) return LK_OK;
    return lk_cuda_check(lk_cuda_slab_add(stream->cuda, sum, x, count), "slab_add", err);
}

static lk_status slab_sgd(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                          int64_t count, const lk_sgd *sgd, lk_error *err) {
    (void)device;
    if (sgd->momentum != 0 && velocity == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "slab_sgd on device cuda has momentum but no momentum buffer");
    lk_cuda_task task = {.kind = LK_CUDA_SGD,
                         .count = count,
                         .to = params,
                         .from = grads,
                         .state = {sgd->momentum != 0 ? velocity : NULL},
                         .sgd = lk_float_sgd_of(sgd)};
    return lk_cuda_task_submit(stream, &task, err);
}

static lk_status slab_adam(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                           void *square, int64_t count, const lk_adam *adam, lk_error *err) {
    (void)device;
    lk_cuda_task task = {.kind = LK_CUDA_ADAM,
                         .count = count,
                         .to = params,
                         .from = grads,
                         .state = {mean, square},
                         .adam = lk_float_adam_of(adam)};
    return lk_cuda_task_submit(stream, &task, err);
}

static lk_status slab_rmsprop(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                              void *mean, void *velocity, int64_t count, const lk_rmsprop *r, lk_error *err) {
    (void)device;
    if ((r->centered && mean == NULL) || (r->momentum != 0 && velocity == NULL))
        return lk_fail(err, LK_ERR_INTERNAL, "slab_rmsprop on device cuda lacks a buffer for mean or momentum");
    lk_cuda_task task = {.kind = LK_CUDA_RMSPROP,
                         .count = count,
                         .to = params,
                         .from = grads,
                         .state = {square, r->centered ? mean : NULL, r->momentum != 0 ? velocity : NULL},
                         .rmsprop = lk_float_rmsprop_of(r)};
    return lk_cuda_task_submit(stream, &task, err);
}

static lk_status slab_lerp(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                           double share, lk_error *err) {
    (void)device;
    lk_cuda_task task = {.kind = LK_CUDA_LERP, .count = count, .to = average, .from = x, .take = (float)share};
    return lk_cuda_task_submit(stream, &task, err);
}

static lk_status slab_blend(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                            double momentum, double scale, lk_error *err) {
    (void)device;
    lk_cuda_task task = {.kind = LK_CUDA_BLEND,
                         .count = count,
                         .to = running,
                         .from = fresh,
                         .keep = (float)(1 - momentum),
                         .take = (float)(momentum * scale)};
    return lk_cuda_task_submit(stream, &task, err);
}

/* Sums of all chunks in one launch and one copy; the host adds them, in order. */
static lk_status slab_sum_squares(lk_device *device, lk_stream *stream, const void *x, const int64_t *ends,
                                  int segments, double *out, lk_error *err) {
    (void)device;
    lk_status status = LK_OK;
    lk_cuda_segments s = {.count = segments};
    if (segments < 1 || segments > LK_CUDA_SEGMENTS)
        return lk_fail(err, LK_ERR_INTERNAL, "slab_sum_squares takes 1 to %d segments, not %d", LK_CUDA_SEGMENTS,
                       segments);
    for (int i = 0; i < segments; i++) {
        int64_t chunks = (ends[i] - s.begin[i] + LK_CUDA_CHUNK - 1) / LK_CUDA_CHUNK;
        if (chunks < 0 || chunks > INT32_MAX - s.chunk[i])
            return lk_fail(err, LK_ERR_INTERNAL, "slab_sum_squares was given segments that are none");
        s.begin[i + 1] = ends[i];
        s.chunk[i + 1] = s.chunk[i] + (int)chunks;
        out[i] = 0;
    }
    for (int first = 0, segment = 0; first < s.chunk[segments]; first += LK_CUDA_SUMS) {
        int count = s.chunk[segments] - first < LK_CUDA_SUMS ? s.chunk[segments] - first : LK_CUDA_SUMS;
        LK_CUDA(lk_cuda_slab_squares(stream->cuda, x, &s, first, count, stream->sums));
        LK_CUDA(cudaMemcpyAsync(stream->host_sums, stream->sums, (size_t)count * sizeof(double), cudaMemcpyDeviceToHost,
                                stream->cuda));
        LK_CUDA(cudaStreamSynchronize(stream->cuda));
        for (int i = 0; i < count; i++) {
            while (s.chunk[segment + 1] <= first + i) segment++;
            out[segment] += stream->host_sums[i];
        }
    }
out:
    return status;
}

void lk_cuda_slab_install(lk_device *device) {
    device->slab_add = slab_add;
    device->slab_sgd = slab_sgd;
    device->slab_adam = slab_adam;
    device->slab_rmsprop = slab_rmsprop;
    device->slab_lerp = slab_lerp;
    device->slab_blend = slab_blend;
    device->slab_sum_squares = slab_sum_squares;
}
