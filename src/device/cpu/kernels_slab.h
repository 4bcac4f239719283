/* Loops over float32 slabs, included once per instruction set with LK_S(name) set. Eight lanes, then the rest. */

static void LK_S(add)(float *sum, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) sum[i] += x[i];
}

static void LK_S(sgd_plain)(float *params, const float *grads, int64_t count, const lk_cpu_sgd *s) {
    float lr = s->lr, decay = s->weight_decay;
    for (int64_t i = 0; i < count; i++) params[i] -= lr * (grads[i] + decay * params[i]);
}

static void LK_S(sgd)(float *restrict params, const float *restrict grads, float *restrict velocity, int64_t count,
                      const lk_cpu_sgd *s) {
    if (velocity == NULL) {
        LK_S(sgd_plain)(params, grads, count, s);
        return;
    }
    float lr = s->lr, decay = s->weight_decay, momentum = s->momentum, fresh = s->fresh;
    float ahead = s->nesterov ? s->momentum : 1.0f, now = s->nesterov ? 1.0f : 0.0f;
    if (s->first_step) {
        for (int64_t i = 0; i < count; i++) velocity[i] = grads[i] + decay * params[i];
        for (int64_t i = 0; i < count; i++)
            params[i] -= lr * (now * velocity[i] + ahead * velocity[i]); /* the velocity is the gradient here */
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        float g = grads[i] + decay * params[i];
        float v = momentum * velocity[i] + fresh * g;
        velocity[i] = v;
        params[i] -= lr * (now * g + ahead * v);
    }
}

static void LK_S(blend)(float *running, const float *fresh, int64_t count, float keep, float add) {
    for (int64_t i = 0; i < count; i++) running[i] = keep * running[i] + add * fresh[i];
}

static double LK_S(sum_squares)(const float *x, int64_t count) {
    v8d sum = {0};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        v8d v = __builtin_convertvector(v8_load_f32(x + i), v8d);
        sum += v * v;
    }
    double rest = 0;
    for (; i < count; i++) rest += (double)x[i] * (double)x[i];
    return (((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]))) + rest;
}

#undef LK_S
