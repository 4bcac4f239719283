/* Arithmetic over parameter slabs. Elementwise, so any split between threads gives the same bits. */
#include "device/cpu/cpu_internal.h"

#define SPLIT (64 * 1024) /* elements one thread takes at a time */
#define CHUNK 4096        /* elements of a partial sum of squares */

static const lk_cpu *cpu_of(const lk_device *device) { return (const lk_cpu *)device; }

static int64_t pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }

static int64_t piece_size(int64_t count, int64_t size, int64_t i) {
    return (i + 1) * size <= count ? size : count - i * size;
}

static lk_status slab_add(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count,
                          lk_error *err) {
    (void)stream, (void)err;
    const lk_cpu *cpu = cpu_of(device);
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < pieces(count, SPLIT); i++)
        cpu->slab->add((float *)sum + i * SPLIT, (const float *)x + i * SPLIT, piece_size(count, SPLIT, i));
    return LK_OK;
}

static float *piece_of(void *slab, int64_t i) { return slab == NULL ? NULL : (float *)slab + i * SPLIT; }

static lk_status slab_sgd(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                          int64_t count, const lk_sgd *sgd, lk_error *err) {
    (void)stream, (void)err;
    const lk_cpu *cpu = cpu_of(device);
    int threads = lk_cpu_threads(cpu);
    lk_float_sgd s = lk_float_sgd_of(sgd);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < pieces(count, SPLIT); i++)
        cpu->slab->sgd(piece_of(params, i), (const float *)grads + i * SPLIT, piece_of(velocity, i),
                       piece_size(count, SPLIT, i), &s);
    return LK_OK;
}

static lk_status slab_adam(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                           void *square, int64_t count, const lk_adam *adam, lk_error *err) {
    (void)stream, (void)err;
    const lk_cpu *cpu = cpu_of(device);
    int threads = lk_cpu_threads(cpu);
    lk_float_adam s = lk_float_adam_of(adam);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < pieces(count, SPLIT); i++)
        cpu->slab->adam(piece_of(params, i), (const float *)grads + i * SPLIT, piece_of(mean, i), piece_of(square, i),
                        piece_size(count, SPLIT, i), &s);
    return LK_OK;
}

static lk_status slab_rmsprop(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                              void *mean, void *velocity, int64_t count, const lk_rmsprop *r, lk_error *err) {
    (void)stream, (void)err;
    const lk_cpu *cpu = cpu_of(device);
    int threads = lk_cpu_threads(cpu);
    lk_float_rmsprop s = lk_float_rmsprop_of(r);
    if (!r->centered) mean = NULL;
    if (r->momentum == 0) velocity = NULL;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < pieces(count, SPLIT); i++)
        cpu->slab->rmsprop(piece_of(params, i), (const float *)grads + i * SPLIT, piece_of(square, i),
                           piece_of(mean, i), piece_of(velocity, i), piece_size(count, SPLIT, i), &s);
    return LK_OK;
}

static lk_status slab_lerp(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                           double share, lk_error *err) {
    (void)stream, (void)err;
    const lk_cpu *cpu = cpu_of(device);
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < pieces(count, SPLIT); i++)
        cpu->slab->lerp(piece_of(average, i), (const float *)x + i * SPLIT, piece_size(count, SPLIT, i), (float)share);
    return LK_OK;
}

static lk_status slab_blend(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                            double momentum, double scale, lk_error *err) {
    (void)stream, (void)err;
    cpu_of(device)->slab->blend(running, fresh, count, (float)(1 - momentum), (float)(momentum * scale));
    return LK_OK;
}

static lk_status slab_sum_squares(lk_device *device, lk_stream *stream, const void *x, const int64_t *ends,
                                  int segments, double *out, lk_error *err) {
    (void)stream, (void)err;
    const lk_cpu *cpu = cpu_of(device);
    for (int s = 0; s < segments; s++) {
        int64_t begin = s == 0 ? 0 : ends[s - 1], count = ends[s] - begin;
        const float *segment = (const float *)x + begin;
        double sum = 0;
        for (int64_t i = 0; i < pieces(count, CHUNK); i++)
            sum += cpu->slab->sum_squares(segment + i * CHUNK, piece_size(count, CHUNK, i));
        out[s] = sum;
    }
    return LK_OK;
}

void lk_cpu_slab_install(lk_cpu *cpu) {
    cpu->slab = lk_cpu_slab_kernels_get();
    cpu->base.slab_add = slab_add;
    cpu->base.slab_sgd = slab_sgd;
    cpu->base.slab_adam = slab_adam;
    cpu->base.slab_rmsprop = slab_rmsprop;
    cpu->base.slab_lerp = slab_lerp;
    cpu->base.slab_blend = slab_blend;
    cpu->base.slab_sum_squares = slab_sum_squares;
}
