/* Optimizer steps over slabs, device against reference. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "modes.h"

enum { SLABS = 5, STATES = 3, STEPS = 3 }; /* parameters, gradients, state */

/* One setting; the kind is the field that has a learning rate. */
typedef struct optimizer_case {
    const char *name;
    lk_sgd sgd;
    lk_adam adam;
    lk_rmsprop rmsprop;
} optimizer_case;

static const optimizer_case CASES[] = {
    {"slab_sgd", .sgd = {.lr = 0.1, .weight_decay = 0.01}},
    {"slab_sgd with momentum", .sgd = {.lr = 0.1, .weight_decay = 0.01, .momentum = 0.9, .dampening = 0.25}},
    {"slab_sgd with Nesterov momentum", .sgd = {.lr = 0.1, .weight_decay = 0.01, .momentum = 0.9, .nesterov = true}},
    {"slab_sgd, clipped", .sgd = {.lr = 0.1, .weight_decay = 0.01, .grad_scale = 0.7, .grad_limit = 0.5}},
    {"slab_sgd with momentum, clipped",
     .sgd = {.lr = 0.1, .weight_decay = 0.01, .momentum = 0.9, .grad_scale = 0.7, .grad_limit = 0.5}},
    {"slab_adam", .adam = {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-3, .weight_decay = 0.05}},
    {"slab_adam, decoupled",
     .adam = {.lr = 0.1, .beta1 = 0.8, .beta2 = 0.999, .eps = 1e-3, .weight_decay = 0.05, .decoupled = true}},
    {"slab_adam, clipped",
     .adam = {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 0.1, .grad_scale = 0.7, .grad_limit = 0.5}},
    {"slab_rmsprop", .rmsprop = {.lr = 0.1, .alpha = 0.9, .eps = 0.01, .weight_decay = 0.05}},
    {"slab_rmsprop with momentum",
     .rmsprop = {.lr = 0.1, .alpha = 0.9, .eps = 0.01, .momentum = 0.9, .weight_decay = 0.05}},
    {"slab_rmsprop, centered",
     .rmsprop = {.lr = 0.1, .alpha = 0.9, .eps = 0.01, .centered = true, .grad_scale = 0.7, .grad_limit = 0.5}},
    {"slab_rmsprop, centered, with momentum, as TensorFlow has it", .rmsprop = {.lr = 0.1,
                                                                                .alpha = 0.9,
                                                                                .eps = 0.01,
                                                                                .momentum = 0.9,
                                                                                .centered = true,
                                                                                .eps_inside_sqrt = true,
                                                                                .lr_in_momentum = true,
                                                                                .square_start = 1}},
    {"slab_rmsprop, epsilon inside", .rmsprop = {.lr = 0.1, .alpha = 0.9, .eps = 0.1, .eps_inside_sqrt = true}},
};

/* How many state slabs the case has, and whether slab i of them is one. */
static bool has_state(const optimizer_case *c, int i) {
    if (c->sgd.lr > 0) return i == 0 && c->sgd.momentum != 0;
    if (c->adam.lr > 0) return i < 2;
    return i == 0 || (i == 1 && c->rmsprop.centered) || (i == 2 && c->rmsprop.momentum != 0);
}

static lk_status apply(lk_device *device, lk_stream *stream, const optimizer_case *c, char *const slabs[SLABS],
                       int64_t first, int64_t count, int step, lk_error *err) {
    int64_t at = first * (int64_t)lk_dtype_size(device->master);
    char *p = slabs[0] + at, *g = slabs[1] + at, *state[STATES];
    for (int i = 0; i < STATES; i++) state[i] = has_state(c, i) ? slabs[2 + i] + at : NULL;
    if (c->sgd.lr > 0) {
        lk_sgd now = c->sgd;
        now.first_step = step == 0;
        return device->slab_sgd(device, stream, p, g, state[0], count, &now, err);
    }
    if (c->adam.lr > 0) {
        lk_adam now = c->adam;
        now.step = step + 1;
        return device->slab_adam(device, stream, p, g, state[0], state[1], count, &now, err);
    }
    lk_rmsprop now = c->rmsprop;
    now.first_step = step == 0;
    return device->slab_rmsprop(device, stream, p, g, state[0], state[1], state[2], count, &now, err);
}

/* Steps from the same start on one device, whole or in parts that are gathered. out: parameters and state, count each.
 */
static lk_status steps(lk_device *device, lk_dtype values_as, const optimizer_case *c, int64_t count, int64_t split,
                       double *out, lk_error *err) {
    size_t size = lk_dtype_size(device->master), bytes = (size_t)count * size;
    char *slabs[SLABS] = {0}, *host = NULL;
    lk_stream *stream = NULL;
    lk_random_key key = {.seed = 5, .purpose = LK_RANDOM_INIT};
    lk_status status = LK_OK;
    LK_TRY(lk_alloc((void **)&host, bytes, 1, "a slab", err));
    LK_TRY(device->stream_create(device, &stream, err));
    for (uint32_t s = 0; s < SLABS; s++) {
        LK_TRY(device->alloc(device, (void **)&slabs[s], (int64_t)bytes, "a slab", err));
        /* Fresh state is not to be read at the first step. */
        for (int64_t i = 0; i < count; i++)
            op_put(device->master, host, i, s >= 2 ? NAN : op_round(values_as, lk_random_normal(&key, (uint64_t)i, s)));
        LK_TRY(device->upload(device, slabs[s], host, (int64_t)bytes, err));
    }
    for (int step = 0; step < STEPS; step++) {
        if (split < count) device->gather_open(device, stream);
        LK_TRY(apply(device, stream, c, slabs, 0, split, step, err));
        LK_TRY(apply(device, stream, c, slabs, split, count - split, step, err));
        if (split < count) LK_TRY(device->gather_close(device, stream, err));
    }
    LK_TRY(device->synchronize(device, stream, err));
    for (int s = 0; s < 1 + STATES; s++) {
        if (s > 0 && !has_state(c, s - 1)) continue;
        LK_TRY(device->download(device, host, slabs[s == 0 ? 0 : 1 + s], (int64_t)bytes, err));
        for (int64_t i = 0; i < count; i++) out[s * count + i] = op_get(device->master, host, i);
    }
out:
    for (int s = 0; s < SLABS; s++)
        if (slabs[s] != NULL) device->release(device, slabs[s]);
    if (stream != NULL) device->stream_free(device, stream);
    lk_free(host);
    return status;
}

static lk_status check_case(op_context *context, const optimizer_case *c, int64_t count, lk_error *err) {
    /* Some roundings of sums of a few terms near 1 in three steps, and of a square root and a division. */
    double *seen = NULL, *parts = NULL, *want = NULL, tolerance = context->device->master == LK_F64 ? 1e-14 : 2e-6;
    lk_status status = LK_OK;
    lk_dtype master = context->device->master;
    LK_TRY(LK_NEW(&seen, (1 + STATES) * count, "a slab", err));
    LK_TRY(LK_NEW(&parts, (1 + STATES) * count, "a slab", err));
    LK_TRY(LK_NEW(&want, (1 + STATES) * count, "a slab", err));
    LK_TRY(steps(context->device, master, c, count, count, seen, err));
    LK_TRY(steps(context->device, master, c, count, count / 3, parts, err));
    LK_TRY(steps(context->reference, master, c, count, count, want, err));
    for (int64_t i = 0; i < (1 + STATES) * count; i++) {
        if (!(fabs(seen[i] - want[i]) <= tolerance * (1 + fabs(want[i]))))
            LK_TRY(lk_fail(err, LK_ERR_NUMERIC, "%s gives %.9g where the reference has %.9g (slab %d)", c->name,
                           seen[i], want[i], (int)(i / count)));
        if (seen[i] != parts[i])
            LK_TRY(
                lk_fail(err, LK_ERR_NUMERIC, "%s gives %.9g whole and %.9g in two parts", c->name, seen[i], parts[i]));
    }
out:
    lk_free(seen), lk_free(parts), lk_free(want);
    return status;
}

/* A gradient that stays what it is has no variance: its rounding below zero must not become NaN. */
static lk_status check_no_variance(op_context *context, lk_error *err) {
    enum { COUNT = 64, LONG = 300 };
    lk_device *device = context->device;
    char host[COUNT * 8], *slabs[SLABS] = {0};
    lk_stream *stream = NULL;
    lk_rmsprop r = {.lr = 0.01, .alpha = 0.9, .eps = 1e-8, .centered = true};
    lk_status status = LK_OK;
    LK_TRY(device->stream_create(device, &stream, err));
    for (int s = 0; s < SLABS; s++) {
        LK_TRY(device->alloc(device, (void **)&slabs[s], sizeof host, "a slab", err));
        for (int i = 0; i < COUNT; i++) op_put(device->master, host, i, s == 1 ? 0.1 + i / 7.0 : 0);
        LK_TRY(device->upload(device, slabs[s], host, COUNT * (int64_t)lk_dtype_size(device->master), err));
    }
    for (int step = 0; step < LONG; step++) {
        r.first_step = step == 0;
        LK_TRY(device->slab_rmsprop(device, stream, slabs[0], slabs[1], slabs[2], slabs[3], NULL, COUNT, &r, err));
    }
    LK_TRY(device->synchronize(device, stream, err));
    LK_TRY(device->download(device, host, slabs[0], COUNT * (int64_t)lk_dtype_size(device->master), err));
    for (int i = 0; i < COUNT; i++)
        if (!isfinite(op_get(device->master, host, i)))
            LK_TRY(lk_fail(err, LK_ERR_NUMERIC, "slab_rmsprop, centered, gives NaN for a constant gradient"));
out:
    for (int s = 0; s < SLABS; s++)
        if (slabs[s] != NULL) device->release(device, slabs[s]);
    if (stream != NULL) device->stream_free(device, stream);
    return status;
}

lk_status op_check_optimizers(op_context *context, lk_error *err) {
    const int64_t counts[] = {1, 7, 4096, 10001};
    for (int i = 0; i < 4; i++)
        for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++)
            LK_RETURN_IF(check_case(context, &CASES[k], counts[i], err));
    return check_no_variance(context, err);
}
