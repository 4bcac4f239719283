/* Loops over float32 slabs, included once per instruction set with LK_S(name) set. Eight lanes, then the rest. */

static void LK_S(add)(float *sum, const float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) sum[i] += x[i];
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
