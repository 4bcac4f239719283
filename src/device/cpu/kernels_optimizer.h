/* Optimizer steps over float32 slabs, included once per instruction set with LK_S(name) set. Square root and division
 * are rounded alike everywhere, so all instruction sets give the same bits. */
#include <math.h>

LK_INLINE float LK_S(clipped)(float gradient, float scale, float limit) {
    float g = gradient * scale;
    g = g > limit ? limit : g;
    return g < -limit ? -limit : g;
}

static void LK_S(sgd_plain)(float *restrict params, const float *restrict grads, int64_t count, const lk_float_sgd *s) {
    float lr = s->lr, decay = s->weight_decay, scale = s->scale, limit = s->limit;
    for (int64_t i = 0; i < count; i++) params[i] -= lr * (LK_S(clipped)(grads[i], scale, limit) + decay * params[i]);
}

static void LK_S(sgd)(float *restrict params, const float *restrict grads, float *restrict velocity, int64_t count,
                      const lk_float_sgd *s) {
    if (velocity == NULL) {
        LK_S(sgd_plain)(params, grads, count, s);
        return;
    }
    float lr = s->lr, decay = s->weight_decay, momentum = s->momentum, fresh = s->fresh;
    float scale = s->scale, limit = s->limit;
    float ahead = s->nesterov ? s->momentum : 1.0f, now = s->nesterov ? 1.0f : 0.0f;
    if (s->first_step) {
        for (int64_t i = 0; i < count; i++) velocity[i] = LK_S(clipped)(grads[i], scale, limit) + decay * params[i];
        for (int64_t i = 0; i < count; i++)
            params[i] -= lr * (now * velocity[i] + ahead * velocity[i]); /* the velocity is the gradient here */
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float g = LK_S(clipped)(grads[i], scale, limit) + decay * params[i];
        float v = momentum * velocity[i] + fresh * g;
        velocity[i] = v;
        params[i] -= lr * (now * g + ahead * v);
    }
}

/* The averages move by a share of the distance: in float32, beta and 1 - beta need not add to one. */
static void LK_S(adam)(float *restrict params, const float *restrict grads, float *restrict mean,
                       float *restrict square, int64_t count, const lk_float_adam *s) {
    const lk_float_adam a = *s;
    if (a.first_step) {
        memset(mean, 0, (size_t)count * sizeof *mean);
        memset(square, 0, (size_t)count * sizeof *square);
    }
    for (int64_t i = 0; i < count; i++) {
        float p = params[i], g = LK_S(clipped)(grads[i], a.scale, a.limit) + a.decay * p;
        float m = mean[i] + a.fresh1 * (g - mean[i]);
        float v = square[i] + a.fresh2 * (g * g - square[i]);
        mean[i] = m;
        square[i] = v;
        params[i] = p * a.keep - a.rate * (m / (sqrtf(v) * a.correction + a.eps));
    }
}

/* One loop for each choice, which the compiler makes from constants. */
LK_INLINE void LK_S(rmsprop_loop)(float *restrict params, const float *restrict grads, float *restrict square,
                                  float *restrict mean, float *restrict velocity, int64_t count, lk_float_rmsprop s,
                                  bool centered, bool momentum) {
    for (int64_t i = 0; i < count; i++) {
        float p = params[i], g = LK_S(clipped)(grads[i], s.scale, s.limit) + s.decay * p;
        float v = square[i] + s.fresh * (g * g - square[i]);
        square[i] = v;
        if (centered) {
            float a = mean[i] + s.fresh * (g - mean[i]);
            mean[i] = a;
            v = v - a * a;
            v = v > 0.0f ? v : 0.0f;
        }
        float step = g / (sqrtf(v + s.eps_inside) + s.eps_outside);
        if (momentum) {
            step = s.momentum * velocity[i] + s.gather * step;
            velocity[i] = step;
        }
        params[i] = p - s.rate * step;
    }
}

static void LK_S(rmsprop)(float *params, const float *grads, float *square, float *mean, float *velocity, int64_t count,
                          const lk_float_rmsprop *s) {
    if (s->first_step) {
        for (int64_t i = 0; i < count; i++) square[i] = s->square_start;
        if (mean != NULL) memset(mean, 0, (size_t)count * sizeof *mean);
        if (velocity != NULL) memset(velocity, 0, (size_t)count * sizeof *velocity);
    }
    if (mean != NULL && velocity != NULL)
        LK_S(rmsprop_loop)(params, grads, square, mean, velocity, count, *s, true, true);
    else if (mean != NULL)
        LK_S(rmsprop_loop)(params, grads, square, mean, velocity, count, *s, true, false);
    else if (velocity != NULL)
        LK_S(rmsprop_loop)(params, grads, square, mean, velocity, count, *s, false, true);
    else
        LK_S(rmsprop_loop)(params, grads, square, mean, velocity, count, *s, false, false);
}

static void LK_S(lerp)(float *restrict average, const float *restrict x, int64_t count, float share) {
    if (share < 0.5f) {
        for (int64_t i = 0; i < count; i++) average[i] += share * (x[i] - average[i]);
    } else {
        float rest = 1.0f - share;
        for (int64_t i = 0; i < count; i++) average[i] = x[i] - (x[i] - average[i]) * rest;
    }
}
