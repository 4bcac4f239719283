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
    lk_float_sgd s = lk_float_sgd_of(sgd);
    if (sgd->momentum != 0 && velocity == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "slab_sgd on device cuda has momentum but no momentum buffer");
    if (count == 0) return LK_OK;
    return lk_cuda_check(lk_cuda_slab_sgd(stream->cuda, params, grads, sgd->momentum != 0 ? velocity : NULL, count, &s),
                         "slab_sgd", err);
}

static lk_status slab_adam(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                           void *square, int64_t count, const lk_adam *adam, lk_error *err) {
    (void)device;
    lk_float_adam s = lk_float_adam_of(adam);
    if (count == 0) return LK_OK;
    return lk_cuda_check(lk_cuda_slab_adam(stream->cuda, params, grads, mean, square, count, &s), "slab_adam", err);
}

static lk_status slab_rmsprop(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                              void *mean, void *velocity, int64_t count, const lk_rmsprop *r, lk_error *err) {
    (void)device;
    lk_float_rmsprop s = lk_float_rmsprop_of(r);
    if ((r->centered && mean == NULL) || (r->momentum != 0 && velocity == NULL))
        return lk_fail(err, LK_ERR_INTERNAL, "slab_rmsprop on device cuda lacks a buffer for mean or momentum");
    if (count == 0) return LK_OK;
    return lk_cuda_check(lk_cuda_slab_rmsprop(stream->cuda, params, grads, square, r->centered ? mean : NULL,
                                              r->momentum != 0 ? velocity : NULL, count, &s),
                         "slab_rmsprop", err);
}

static lk_status slab_lerp(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                           double share, lk_error *err) {
    (void)device;
    if (count == 0) return LK_OK;
    return lk_cuda_check(lk_cuda_slab_lerp(stream->cuda, average, x, count, (float)share), "slab_lerp", err);
}

static lk_status slab_blend(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                            double momentum, double scale, lk_error *err) {
    (void)device;
    if (count == 0) return LK_OK;
    return lk_cuda_check(
        lk_cuda_slab_blend(stream->cuda, running, fresh, count, (float)(1 - momentum), (float)(momentum * scale)),
        "slab_blend", err);
}

static lk_status slab_sum_squares(lk_device *device, lk_stream *stream, const void *x, int64_t count, double *out,
                                  lk_error *err) {
    (void)device;
    lk_status status = LK_OK;
    double total = 0;
    const int64_t most = (int64_t)LK_CUDA_SUMS * LK_CUDA_CHUNK;
    for (int64_t first = 0; first < count; first += most) {
        int64_t part = count - first < most ? count - first : most;
        int64_t chunks = (part + LK_CUDA_CHUNK - 1) / LK_CUDA_CHUNK;
        LK_CUDA(lk_cuda_slab_squares(stream->cuda, (const float *)x + first, part, stream->sums));
        LK_CUDA(cudaMemcpyAsync(stream->host_sums, stream->sums, (size_t)chunks * sizeof(double),
                                cudaMemcpyDeviceToHost, stream->cuda));
        LK_CUDA(cudaStreamSynchronize(stream->cuda));
        for (int64_t i = 0; i < chunks; i++) total += stream->host_sums[i];
    }
    *out = total;
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
