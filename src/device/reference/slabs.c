/* Arithmetic over parameter slabs. */
#include "device/reference/internal.h"

#define CHUNK 4096 /* elements per partial sum: part of the result's definition */

lk_status lk_reference_slab_add(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count,
                                lk_error *err) {
    (void)device, (void)stream, (void)err;
    double *s = sum;
    const double *v = x;
    for (int64_t i = 0; i < count; i++) s[i] += v[i];
    return LK_OK;
}

lk_status lk_reference_slab_blend(lk_device *device, lk_stream *stream, void *running, const void *fresh, int64_t count,
                                  double momentum, double scale, lk_error *err) {
    (void)device, (void)stream, (void)err;
    double *r = running;
    const double *f = fresh;
    for (int64_t i = 0; i < count; i++) r[i] = (1 - momentum) * r[i] + momentum * (f[i] * scale);
    return LK_OK;
}

lk_status lk_reference_slab_sum_squares(lk_device *device, lk_stream *stream, const void *x, const int64_t *ends,
                                        int segments, double *out, lk_error *err) {
    (void)device, (void)stream, (void)err;
    const double *v = x;
    for (int s = 0; s < segments; s++) {
        out[s] = 0;
        for (int64_t first = s == 0 ? 0 : ends[s - 1]; first < ends[s]; first += CHUNK) {
            int64_t end = first + CHUNK < ends[s] ? first + CHUNK : ends[s];
            double sum = 0;
            for (int64_t i = first; i < end; i++) sum += v[i] * v[i];
            out[s] += sum;
        }
    }
    return LK_OK;
}
