/* Optimizer steps over slabs, in the order of operations of their sources. */
#include <math.h>

#include "device/reference/internal.h"

static double clipped(double gradient, double scale, double limit) {
    double g = scale == 0 ? gradient : gradient * scale;
    return limit == 0 ? g : g > limit ? limit : g < -limit ? -limit : g;
}

static double lerp(double from, double to, double share) {
    return share < 0.5 ? from + share * (to - from) : to - (to - from) * (1 - share);
}

lk_status lk_reference_slab_sgd(lk_device *device, lk_stream *stream, void *params, const void *grads, void *velocity,
                                int64_t count, const lk_sgd *sgd, lk_error *err) {
    (void)device, (void)stream;
    if (sgd->momentum != 0 && velocity == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "slab_sgd on device reference has momentum but no momentum buffer");
    double *p = params, *v = velocity;
    const double *g = grads;
    for (int64_t i = 0; i < count; i++) {
        double d = clipped(g[i], sgd->grad_scale, sgd->grad_limit) + sgd->weight_decay * p[i];
        if (sgd->momentum != 0) {
            v[i] = sgd->first_step ? d : sgd->momentum * v[i] + (1 - sgd->dampening) * d;
            d = sgd->nesterov ? d + sgd->momentum * v[i] : v[i];
        }
        p[i] -= sgd->lr * d;
    }
    return LK_OK;
}

lk_status lk_reference_slab_adam(lk_device *device, lk_stream *stream, void *params, const void *grads, void *mean,
                                 void *square, int64_t count, const lk_adam *adam, lk_error *err) {
    (void)device, (void)stream, (void)err;
    double *p = params, *m = mean, *v = square;
    const double *g = grads;
    double correction1 = 1 - pow(adam->beta1, (double)adam->step);
    double correction2 = sqrt(1 - pow(adam->beta2, (double)adam->step));
    for (int64_t i = 0; i < count; i++) {
        double d = clipped(g[i], adam->grad_scale, adam->grad_limit);
        if (adam->step == 1) m[i] = v[i] = 0;
        if (adam->decoupled)
            p[i] *= 1 - adam->lr * adam->weight_decay;
        else
            d += adam->weight_decay * p[i];
        m[i] = lerp(m[i], d, 1 - adam->beta1);
        v[i] = adam->beta2 * v[i] + (1 - adam->beta2) * d * d;
        p[i] -= adam->lr / correction1 * m[i] / (sqrt(v[i]) / correction2 + adam->eps);
    }
    return LK_OK;
}

lk_status lk_reference_slab_rmsprop(lk_device *device, lk_stream *stream, void *params, const void *grads, void *square,
                                    void *mean, void *velocity, int64_t count, const lk_rmsprop *r, lk_error *err) {
    (void)device, (void)stream;
    if ((r->centered && mean == NULL) || (r->momentum != 0 && velocity == NULL))
        return lk_fail(err, LK_ERR_INTERNAL, "slab_rmsprop on device reference lacks a buffer for mean or momentum");
    double *p = params, *v = square, *a = mean, *b = velocity;
    const double *g = grads;
    for (int64_t i = 0; i < count; i++) {
        double d = clipped(g[i], r->grad_scale, r->grad_limit) + r->weight_decay * p[i];
        if (r->first_step) {
            v[i] = r->square_start;
            if (r->centered) a[i] = 0;
            if (r->momentum != 0) b[i] = 0;
        }
        v[i] = r->alpha * v[i] + (1 - r->alpha) * d * d;
        double variance = v[i];
        if (r->centered) {
            a[i] = lerp(a[i], d, 1 - r->alpha);
            variance = fmax(variance - a[i] * a[i], 0);
        }
        double root = r->eps_inside_sqrt ? sqrt(variance + r->eps) : sqrt(variance) + r->eps;
        if (r->momentum != 0) {
            b[i] = r->momentum * b[i] + (r->lr_in_momentum ? r->lr : 1) * d / root;
            p[i] -= (r->lr_in_momentum ? 1 : r->lr) * b[i];
        } else {
            p[i] -= r->lr * d / root;
        }
    }
    return LK_OK;
}

lk_status lk_reference_slab_lerp(lk_device *device, lk_stream *stream, void *average, const void *x, int64_t count,
                                 double share, lk_error *err) {
    (void)device, (void)stream, (void)err;
    double *a = average;
    const double *v = x;
    for (int64_t i = 0; i < count; i++) a[i] = lerp(a[i], v[i], share);
    return LK_OK;
}
