#include "optim/optimizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

typedef enum state_role { STATE_MOMENTUM, STATE_MEAN, STATE_SQUARE, STATE_ROLES } state_role;

struct lk_optimizer {
    lk_device *device; /* borrowed */
    lk_optimizer_config config;
    lk_param_range *ranges; /* ascending, merged */
    int range_count;
    int64_t slab_count;
    void *state[STATE_ROLES]; /* the first state_count of them */
    const char *names[STATE_ROLES];
    int at[STATE_ROLES]; /* index into state of each role; -1: not needed */
    int state_count;
};

/* Name of a state slab; NULL where the optimizer does without. */
static const char *state_name(const lk_optimizer_config *config, state_role role) {
    bool adam = config->kind == LK_OPTIMIZER_ADAM || config->kind == LK_OPTIMIZER_ADAMW;
    switch (role) {
        case STATE_MEAN: return adam ? "exp_avg" : config->centered ? "grad_avg" : NULL;
        case STATE_SQUARE: return adam ? "exp_avg_sq" : config->kind != LK_OPTIMIZER_SGD ? "square_avg" : NULL;
        default: return !adam && config->momentum != 0 ? "momentum" : NULL;
    }
}

int lk_optimizer_state_slabs(const lk_optimizer_config *config) {
    int count = 0;
    for (state_role role = 0; role < STATE_ROLES; role++) count += state_name(config, role) != NULL;
    return count;
}

static int by_offset(const void *a, const void *b) {
    const lk_param_range *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Only ranges that touch are merged: what lies between parameters belongs to nobody and is never stepped. */
static int merge_ranges(lk_param_range *ranges, int count) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        lk_param_range *last = kept == 0 ? NULL : &ranges[kept - 1];
        if (last != NULL && last->offset + last->count == ranges[i].offset && last->decay == ranges[i].decay &&
            last->lr_scale == ranges[i].lr_scale) {
            last->count += ranges[i].count;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    return kept;
}

static lk_status check_ranges(const lk_param_range *ranges, int count, int64_t slab_count, lk_error *err) {
    int64_t end = 0;
    for (int i = 0; i < count; i++) {
        if (ranges[i].offset < end || ranges[i].count < 0 || ranges[i].count > slab_count - ranges[i].offset)
            return lk_fail(err, LK_ERR_INTERNAL,
                           "optimizer range %d (%lld elements at %lld) overlaps another or leaves the slab of %lld", i,
                           (long long)ranges[i].count, (long long)ranges[i].offset, (long long)slab_count);
        end = ranges[i].offset + ranges[i].count;
    }
    return LK_OK;
}

lk_status lk_optimizer_check(const lk_optimizer_config *config, lk_error *err) {
    bool sgd = config->kind == LK_OPTIMIZER_SGD;
    bool rmsprop = config->kind == LK_OPTIMIZER_RMSPROP || config->kind == LK_OPTIMIZER_RMSPROP_TF;
    if (!sgd && (config->nesterov || config->dampening != 0))
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.nesterov and optimizer.dampening belong to optimizer.kind=sgd: leave them out");
    if (config->nesterov && !(config->momentum > 0))
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.nesterov needs momentum: set optimizer.momentum above 0 or optimizer.nesterov=false");
    if (config->nesterov && config->dampening != 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.nesterov allows no dampening: set optimizer.dampening=0 or optimizer.nesterov=false");
    if (!rmsprop && config->centered)
        return lk_fail(err, LK_ERR_CONFIG, "optimizer.centered belongs to optimizer.kind=rmsprop and rmsprop_tf");
    if (config->kind != LK_OPTIMIZER_RMSPROP && config->epsilon_inside_sqrt)
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.epsilon_inside_sqrt belongs to optimizer.kind=rmsprop (rmsprop_tf has it so anyway)");
    /* Padding between parameters has gradient 0: without epsilon, 0 / 0. */
    if (!sgd && !(config->epsilon > 0)) return lk_fail(err, LK_ERR_CONFIG, "optimizer.epsilon must be above 0");
    return LK_OK;
}

static lk_status create_state(lk_optimizer *optimizer, lk_error *err) {
    lk_device *device = optimizer->device;
    int64_t bytes = optimizer->slab_count * (int64_t)lk_dtype_size(device->master);
    for (state_role role = 0; role < STATE_ROLES; role++) {
        const char *name = state_name(&optimizer->config, role);
        optimizer->at[role] = -1;
        if (name == NULL) continue;
        int at = optimizer->at[role] = optimizer->state_count++;
        optimizer->names[at] = name;
        LK_RETURN_IF(device->alloc(device, &optimizer->state[at], bytes, "the state of the optimizer", err));
    }
    return LK_OK;
}

lk_status lk_optimizer_create(lk_optimizer **out, lk_device *device, const lk_optimizer_config *config,
                              const lk_param_range *ranges, int range_count, int64_t slab_count, lk_error *err) {
    lk_status status = LK_OK;
    lk_optimizer *optimizer = NULL;
    *out = NULL;
    LK_RETURN_IF(lk_optimizer_check(config, err));
    LK_RETURN_IF(LK_NEW(&optimizer, 1, "an optimizer", err));
    *optimizer = (lk_optimizer){.device = device, .config = *config, .slab_count = slab_count};
    LK_TRY(LK_NEW(&optimizer->ranges, range_count, "the ranges of an optimizer", err));
    for (int i = 0; i < range_count; i++) {
        optimizer->ranges[i] = ranges[i];
        if (config->weight_decay == 0) optimizer->ranges[i].decay = false;
    }
    qsort(optimizer->ranges, (size_t)range_count, sizeof *ranges, by_offset);
    LK_TRY(check_ranges(optimizer->ranges, range_count, slab_count, err));
    optimizer->range_count = merge_ranges(optimizer->ranges, range_count);
    LK_TRY(create_state(optimizer, err));
    *out = optimizer;
    optimizer = NULL;
out:
    lk_optimizer_free(optimizer);
    return status;
}

void lk_optimizer_free(lk_optimizer *optimizer) {
    if (optimizer == NULL) return;
    for (int i = 0; i < optimizer->state_count; i++)
        if (optimizer->state[i] != NULL) optimizer->device->release(optimizer->device, optimizer->state[i]);
    lk_free(optimizer->ranges);
    lk_free(optimizer);
}

/* First range that ends behind `begin`. */
static int first_range(const lk_optimizer *optimizer, int64_t begin) {
    int low = 0, high = optimizer->range_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const lk_param_range *range = &optimizer->ranges[middle];
        if (range->offset + range->count <= begin) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* A piece of the slabs with equal settings. */
typedef struct piece {
    char *params, *state[STATE_ROLES]; /* by role; NULL: not needed */
    const char *grads;
    int64_t count;
    double lr, weight_decay;
} piece;

static lk_status step_sgd(const lk_optimizer *o, lk_stream *stream, const piece *p, const lk_step *step,
                          lk_error *err) {
    lk_sgd sgd = {.lr = p->lr,
                  .momentum = step->momentum < 0 ? o->config.momentum : step->momentum,
                  .dampening = o->config.dampening,
                  .weight_decay = p->weight_decay,
                  .grad_scale = step->grad_scale,
                  .grad_limit = o->config.clip_value,
                  .nesterov = o->config.nesterov,
                  .first_step = step->update == 0};
    return o->device->slab_sgd(o->device, stream, p->params, p->grads, p->state[STATE_MOMENTUM], p->count, &sgd, err);
}

static lk_status step_adam(const lk_optimizer *o, lk_stream *stream, const piece *p, const lk_step *step,
                           lk_error *err) {
    lk_adam adam = {.lr = p->lr,
                    .beta1 = step->momentum < 0 ? o->config.beta1 : step->momentum,
                    .beta2 = o->config.beta2,
                    .eps = o->config.epsilon,
                    .weight_decay = p->weight_decay,
                    .grad_scale = step->grad_scale,
                    .grad_limit = o->config.clip_value,
                    .decoupled = o->config.kind == LK_OPTIMIZER_ADAMW,
                    .step = step->update + 1};
    return o->device->slab_adam(o->device, stream, p->params, p->grads, p->state[STATE_MEAN], p->state[STATE_SQUARE],
                                p->count, &adam, err);
}

static lk_status step_rmsprop(const lk_optimizer *o, lk_stream *stream, const piece *p, const lk_step *step,
                              lk_error *err) {
    bool tensorflow = o->config.kind == LK_OPTIMIZER_RMSPROP_TF;
    lk_rmsprop rmsprop = {.lr = p->lr,
                          .alpha = o->config.alpha,
                          .eps = o->config.epsilon,
                          .weight_decay = p->weight_decay,
                          .momentum = step->momentum < 0 ? o->config.momentum : step->momentum,
                          .grad_scale = step->grad_scale,
                          .grad_limit = o->config.clip_value,
                          .centered = o->config.centered,
                          .eps_inside_sqrt = tensorflow || o->config.epsilon_inside_sqrt,
                          .lr_in_momentum = tensorflow,
                          .square_start = tensorflow ? 1 : 0,
                          .first_step = step->update == 0};
    return o->device->slab_rmsprop(o->device, stream, p->params, p->grads, p->state[STATE_SQUARE], p->state[STATE_MEAN],
                                   p->state[STATE_MOMENTUM], p->count, &rmsprop, err);
}

static lk_status step_piece(const lk_optimizer *o, lk_stream *stream, const piece *p, const lk_step *step,
                            lk_error *err) {
    switch (o->config.kind) {
        case LK_OPTIMIZER_ADAM:
        case LK_OPTIMIZER_ADAMW: return step_adam(o, stream, p, step, err);
        case LK_OPTIMIZER_RMSPROP:
        case LK_OPTIMIZER_RMSPROP_TF: return step_rmsprop(o, stream, p, step, err);
        default: return step_sgd(o, stream, p, step, err);
    }
}

lk_status lk_optimizer_step(lk_optimizer *optimizer, lk_stream *stream, void *params, const void *grads, int64_t begin,
                            int64_t end, const lk_step *step, lk_error *err) {
    assert(begin >= 0 && end <= optimizer->slab_count);
    int64_t size = (int64_t)lk_dtype_size(optimizer->device->master);
    for (int i = first_range(optimizer, begin); i < optimizer->range_count; i++) {
        const lk_param_range *range = &optimizer->ranges[i];
        if (range->offset >= end) break;
        int64_t from = range->offset > begin ? range->offset : begin;
        int64_t to = range->offset + range->count < end ? range->offset + range->count : end;
        piece p = {.params = (char *)params + from * size,
                   .grads = (const char *)grads + from * size,
                   .count = to - from,
                   .lr = step->lr * range->lr_scale,
                   .weight_decay = range->decay ? optimizer->config.weight_decay : 0};
        for (state_role role = 0; role < STATE_ROLES; role++)
            if (optimizer->at[role] >= 0) p.state[role] = (char *)optimizer->state[optimizer->at[role]] + from * size;
        LK_RETURN_IF(step_piece(optimizer, stream, &p, step, err));
    }
    return LK_OK;
}

void *const *lk_optimizer_get_state(const lk_optimizer *optimizer, const char *const **names, int *count) {
    *names = optimizer->names;
    *count = optimizer->state_count;
    return optimizer->state;
}
