#include "optim/optimizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

struct lk_optimizer {
    lk_device *device; /* borrowed */
    lk_optimizer_config config;
    lk_param_range *ranges; /* ascending, merged; decay: is weight decay applied? */
    int range_count;
    int64_t slab_count;
    void *velocity; /* NULL without momentum */
};

static int by_offset(const void *a, const void *b) {
    const lk_param_range *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Only ranges that touch are merged: what lies between parameters belongs to nobody and is never stepped. */
static int merge_ranges(lk_param_range *ranges, int count) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        lk_param_range *last = kept == 0 ? NULL : &ranges[kept - 1];
        if (last != NULL && last->offset + last->count == ranges[i].offset && last->decay == ranges[i].decay) {
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

static lk_status check_config(const lk_optimizer_config *config, lk_error *err) {
    if (config->nesterov && !(config->momentum > 0))
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.nesterov needs momentum: set optimizer.momentum above 0 or optimizer.nesterov=false");
    if (config->nesterov && config->dampening != 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "optimizer.nesterov allows no dampening: set optimizer.dampening=0 or optimizer.nesterov=false");
    return LK_OK;
}

lk_status lk_optimizer_create(lk_optimizer **out, lk_device *device, const lk_optimizer_config *config,
                              const lk_param_range *ranges, int range_count, int64_t slab_count, lk_error *err) {
    lk_status status = LK_OK;
    lk_optimizer *optimizer = NULL;
    *out = NULL;
    LK_RETURN_IF(check_config(config, err));
    LK_RETURN_IF(LK_NEW(&optimizer, 1, "an optimizer", err));
    *optimizer = (lk_optimizer){.device = device, .config = *config, .slab_count = slab_count};
    LK_TRY(LK_NEW(&optimizer->ranges, range_count, "the ranges of an optimizer", err));
    for (int i = 0; i < range_count; i++) {
        optimizer->ranges[i] = ranges[i];
        optimizer->ranges[i].decay = config->weight_decay != 0 && (ranges[i].decay || config->decay_norm_and_bias);
    }
    qsort(optimizer->ranges, (size_t)range_count, sizeof *ranges, by_offset);
    LK_TRY(check_ranges(optimizer->ranges, range_count, slab_count, err));
    optimizer->range_count = merge_ranges(optimizer->ranges, range_count);
    if (config->momentum != 0) {
        int64_t bytes = slab_count * (int64_t)lk_dtype_size(device->master);
        LK_TRY(device->alloc(device, &optimizer->velocity, bytes, "the momentum of the optimizer", err));
    }
    *out = optimizer;
    optimizer = NULL;
out:
    lk_optimizer_free(optimizer);
    return status;
}

void lk_optimizer_free(lk_optimizer *optimizer) {
    if (optimizer == NULL) return;
    if (optimizer->velocity != NULL) optimizer->device->release(optimizer->device, optimizer->velocity);
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

lk_status lk_optimizer_step(lk_optimizer *optimizer, lk_stream *stream, void *params, const void *grads, int64_t begin,
                            int64_t end, const lk_step *step, lk_error *err) {
    assert(begin >= 0 && end <= optimizer->slab_count);
    const lk_optimizer_config *config = &optimizer->config;
    lk_device *device = optimizer->device;
    int64_t size = (int64_t)lk_dtype_size(device->master);
    lk_sgd sgd = {.lr = step->lr,
                  .momentum = step->momentum < 0 ? config->momentum : step->momentum,
                  .dampening = config->dampening,
                  .nesterov = config->nesterov,
                  .first_step = step->update == 0};
    for (int i = first_range(optimizer, begin); i < optimizer->range_count; i++) {
        const lk_param_range *range = &optimizer->ranges[i];
        int64_t from = range->offset > begin ? range->offset : begin;
        int64_t to = range->offset + range->count < end ? range->offset + range->count : end;
        if (range->offset >= end) break;
        sgd.weight_decay = range->decay ? config->weight_decay : 0;
        char *velocity = optimizer->velocity == NULL ? NULL : (char *)optimizer->velocity + from * size;
        LK_RETURN_IF(device->slab_sgd(device, stream, (char *)params + from * size, (const char *)grads + from * size,
                                      velocity, to - from, &sgd, err));
    }
    return LK_OK;
}

void *const *lk_optimizer_get_state(const lk_optimizer *optimizer, const char *const **names, int *count) {
    static const char *const state_names[] = {"momentum"};
    *names = state_names;
    *count = optimizer->velocity == NULL ? 0 : 1;
    return &optimizer->velocity;
}
