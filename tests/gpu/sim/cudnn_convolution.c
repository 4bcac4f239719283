/* The three passes of a convolution: operands as floats, float sums, rounded once where they are stored. */
#include <stdlib.h>
#include <string.h>

#include "cudnn_sim.h"

/* One tensor as floats in the order n, h, w, c. */
typedef struct dense {
    float *values;
    int64_t n, c, h, w;
} dense;

static dense dense_new(const sim_tensor *t) {
    dense d = {NULL, t->dims[0], t->dims[1], t->dims[2], t->dims[3]};
    d.values = calloc((size_t)(d.n * d.c * d.h * d.w), sizeof *d.values);
    if (d.values == NULL) sim_fault("out of host memory");
    return d;
}

static float *pixel(const dense *d, int64_t n, int64_t y, int64_t x) {
    return d->values + ((n * d->h + y) * d->w + x) * d->c;
}

/* What an engine makes of an operand. */
static float operand(sim_engine engine, float v) {
    if (engine == SIM_DOWN) return sim_widen(SIM_F16, sim_narrow(SIM_F16, v));
    return engine == SIM_SHORT ? sim_tf32(v) : v;
}

static void transfer(const sim_tensor *t, dense *d, void *data, bool store, sim_engine engine) {
    sim_type type = t->type == CUDNN_DATA_BFLOAT16 ? SIM_BF16 : t->type == CUDNN_DATA_HALF ? SIM_F16 : SIM_F32;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t y = 0; y < d->h; y++)
            for (int64_t x = 0; x < d->w; x++) {
                size_t size = sim_type_size(t->type); /* channels lie side by side: cudnn_rules.c */
                int64_t first = n * t->strides[0] + y * t->strides[2] + x * t->strides[3];
                sim_touch((char *)data + first * (int64_t)size, (size_t)d->c * size, store);
                for (int64_t c = 0; c < d->c; c++) {
                    int64_t at = first + c * t->strides[1];
                    float *v = pixel(d, n, y, x) + c;
                    if (store)
                        sim_store(type, data, at, *v);
                    else
                        *v = operand(engine, sim_load(type, data, at));
                }
            }
}

/* One output pixel under one element of the kernel: the operands' channels of all groups. */
static void meet(const sim_convolution *c, const dense *weight, float *x, float *y, int64_t r, int64_t s) {
    int64_t in = weight->c, out = weight->n / c->groups;
    for (int64_t k = 0; k < weight->n; k++) {
        float *w = pixel(weight, k, r, s), *from = x + k / out * in, sum = 0;
        switch (c->pass) {
            case SIM_FORWARD:
                for (int64_t i = 0; i < in; i++) sum += w[i] * from[i];
                y[k] += sum;
                break;
            case SIM_DATA:
                for (int64_t i = 0; i < in; i++) from[i] += w[i] * y[k];
                break;
            case SIM_WEIGHT:
                for (int64_t i = 0; i < in; i++) w[i] += from[i] * y[k];
                break;
        }
    }
}

/* back: pixels and elements of the kernel from the last to the first. */
static void convolve(const sim_convolution *c, const dense *x, const dense *weight, const dense *y, bool back) {
    const int64_t pixels = y->n * y->h * y->w, area = weight->h * weight->w;
    for (int64_t i = 0; i < pixels; i++)
        for (int64_t k = 0; k < area; k++) {
            int64_t at = back ? pixels - 1 - i : i, tap = back ? area - 1 - k : k;
            int64_t n = at / (y->h * y->w), oy = at / y->w % y->h, ox = at % y->w, r = tap / weight->w,
                    s = tap % weight->w;
            int64_t iy = oy * c->strides[0] - c->pads[0] + r * c->dilations[0];
            int64_t ix = ox * c->strides[1] - c->pads[1] + s * c->dilations[1];
            if (iy < 0 || iy >= x->h || ix < 0 || ix >= x->w) continue;
            meet(c, weight, pixel(x, n, iy, ix), pixel(y, n, oy, ox), r, s);
        }
}

/* What a planted fault makes of a convolution. */
static sim_convolution with_faults(const sim_convolution *c) {
    sim_convolution changed = *c;
    for (int i = 0; i < 2; i++) {
        if (sim_planted("stride")) changed.strides[i] = c->strides[i] == 1 ? 2 : 1;
        if (sim_planted("padding")) changed.pads[i] = c->pads[i] == 0 ? 1 : 0;
    }
    return changed;
}

void sim_convolution_run(const sim_convolution *c, sim_config config, void *const operands[3]) {
    sim_engine engine = config.engine;
    const sim_tensor *tensors[3] = {&c->x, &c->weight, &c->y};
    int result = c->pass == SIM_FORWARD ? 2 : c->pass == SIM_DATA ? 0 : 1;
    dense parts[3];
    for (int i = 0; i < 3; i++) {
        parts[i] = dense_new(tensors[i]);
        if (i != result) transfer(tensors[i], &parts[i], operands[i], false, engine);
    }
    sim_convolution done = with_faults(c);
    convolve(&done, &parts[0], &parts[1], &parts[2], config.knob == SIM_KNOB_BACK);
    if (engine == SIM_CHANCE) parts[result].values[0] *= 1 + 1e-3f * (float)(sim_random() % 7);
    bool unwritten = c->pass == SIM_WEIGHT && c->weight.type != CUDNN_DATA_FLOAT && sim_planted("workspace");
    if (!unwritten) transfer(tensors[result], &parts[result], operands[result], true, engine);
    for (int i = 0; i < 3; i++) free(parts[i].values);
}
