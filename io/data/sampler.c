#include "io/data/sampler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/data/sampler_order.h"

static lk_status check_config(const lk_sampler_config *config, int64_t count, lk_error *err) {
    int64_t batch = config->batch, microbatch = config->microbatch;
    if (batch < 1 || microbatch < 1 || batch % microbatch != 0)
        return lk_fail(err, LK_ERR_CONFIG, "batch %lld is not a multiple of microbatch %lld: choose one that is",
                       (long long)batch, (long long)microbatch);
    if (count < 1) return lk_fail(err, LK_ERR_CONFIG, "there is no sample to draw: choose a split that has some");
    if (config->draws < 0 || config->repeats < 0)
        return lk_fail(err, LK_ERR_CONFIG, "an epoch cannot have %lld draws of %lld repeats", (long long)config->draws,
                       (long long)config->repeats);
    return LK_OK;
}

static lk_status check_length(const lk_sampler *sampler, lk_error *err) {
    if (!sampler->config.drop_last || sampler->config.batch <= sampler->count) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "batch %lld is larger than the %lld samples, and drop_last would leave no update: choose a "
                   "smaller batch or drop_last: false",
                   (long long)sampler->config.batch, (long long)sampler->count);
}

/* Sorts the pool by class, keeping the order within one. */
static lk_status sort_classes(lk_sampler *sampler, const int64_t *indices, lk_error *err) {
    const lk_sampler_config *c = &sampler->config;
    int64_t *next = NULL;
    LK_RETURN_IF(LK_NEW(&sampler->class_first, c->classes + 1, "the classes of a split", err));
    LK_RETURN_IF(LK_NEW(&next, c->classes, "the classes of a split", err));
    for (int64_t i = 0; i < sampler->pool_count; i++) {
        assert(c->labels[i] >= 0 && c->labels[i] < c->classes);
        sampler->class_first[c->labels[i] + 1]++;
    }
    for (int k = 0; k < c->classes; k++) {
        sampler->class_first[k + 1] += sampler->class_first[k];
        next[k] = sampler->class_first[k];
    }
    for (int64_t i = 0; i < sampler->pool_count; i++) sampler->pool[next[c->labels[i]]++] = indices[i];
    lk_free(next);
    return LK_OK;
}

static lk_status sum_weights(lk_sampler *sampler, lk_error *err) {
    const lk_sampler_config *c = &sampler->config;
    LK_RETURN_IF(LK_NEW(&sampler->mass, c->classes + 1, "the sampler's weights", err));
    for (int k = 0; k < c->classes; k++) {
        double samples = (double)(sampler->class_first[k + 1] - sampler->class_first[k]);
        if (!(c->weights[k] >= 0))
            return lk_fail(err, LK_ERR_CONFIG, "the sampler's weight of class %d is %g: give 0 or more", k,
                           c->weights[k]);
        sampler->mass[k + 1] = sampler->mass[k] + c->weights[k] * samples;
    }
    if (sampler->mass[c->classes] > 0) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "the sampler's weights leave no sample to draw: give a class that has some a weight above 0");
}

static lk_status create_pool(lk_sampler *sampler, const int64_t *indices, lk_error *err) {
    const lk_sampler_config *c = &sampler->config;
    LK_RETURN_IF(LK_NEW(&sampler->pool, sampler->pool_count, "the samples of a split", err));
    LK_RETURN_IF(LK_NEW(&sampler->draws, sampler->draw_count, "the draws of an epoch", err));
    LK_RETURN_IF(LK_NEW(&sampler->order, sampler->count, "the order of an epoch", err));
    memcpy(sampler->pool, indices, (size_t)sampler->pool_count * sizeof *indices);
    if (c->kind == LK_SAMPLER_SHUFFLED) return LK_OK;
    LK_RETURN_IF(sort_classes(sampler, indices, err));
    if (c->kind == LK_SAMPLER_WEIGHTED) return sum_weights(sampler, err);
    int64_t most = sampler->pool_count > c->classes ? sampler->pool_count : c->classes;
    LK_RETURN_IF(LK_NEW(&sampler->ranks, most, "the order of a class", err));
    return LK_NEW(&sampler->quota, c->classes, "the shares of the classes", err);
}

lk_status lk_sampler_create(lk_sampler **out, const int64_t *indices, int64_t count, const lk_sampler_config *config,
                            lk_error *err) {
    lk_status status = LK_OK;
    lk_sampler *sampler = NULL;
    *out = NULL;
    LK_TRY(check_config(config, count, err));
    LK_TRY(LK_NEW(&sampler, 1, "the sampler", err));
    sampler->config = *config;
    sampler->seed = config->seed;
    sampler->pool_count = count;
    if (sampler->config.repeats == 0) sampler->config.repeats = 1;
    bool once = config->kind == LK_SAMPLER_SHUFFLED || config->draws == 0;
    sampler->draw_count = once ? count : config->draws;
    sampler->count = sampler->draw_count * sampler->config.repeats;
    LK_TRY(check_length(sampler, err));
    LK_TRY(create_pool(sampler, indices, err));
    sampler->config.labels = NULL;
    sampler->config.weights = NULL;
    lk_sampler_set_epoch(sampler, 0);
    *out = sampler;
    sampler = NULL;
out:
    lk_sampler_free(sampler);
    return status;
}

void lk_sampler_free(lk_sampler *sampler) {
    if (sampler == NULL) return;
    lk_free(sampler->pool);
    lk_free(sampler->class_first);
    lk_free(sampler->mass);
    lk_free(sampler->quota);
    lk_free(sampler->ranks);
    lk_free(sampler->draws);
    lk_free(sampler->order);
    lk_free(sampler);
}

int64_t lk_sampler_updates(const lk_sampler *sampler) {
    int64_t whole = sampler->count / sampler->config.batch;
    return sampler->config.drop_last || sampler->count % sampler->config.batch == 0 ? whole : whole + 1;
}

int64_t lk_sampler_window_samples(const lk_sampler *sampler, int64_t update) {
    if (update < 0 || update >= lk_sampler_updates(sampler)) return 0;
    int64_t left = sampler->count - update * sampler->config.batch;
    return left < sampler->config.batch ? left : sampler->config.batch;
}

int lk_sampler_window_leaves(const lk_sampler *sampler, int64_t update) {
    int64_t microbatch = sampler->config.microbatch;
    return (int)((lk_sampler_window_samples(sampler, update) + microbatch - 1) / microbatch);
}

void lk_sampler_leaf(const lk_sampler *sampler, int64_t update, int leaf, int64_t *first, int64_t *rows) {
    int64_t microbatch = sampler->config.microbatch, within = (int64_t)leaf * microbatch;
    int64_t left = lk_sampler_window_samples(sampler, update) - within;
    *first = update * sampler->config.batch + within;
    *rows = left < 0 ? 0 : left < microbatch ? left : microbatch;
}

static int compare_samples(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

lk_status lk_sampler_unique(const lk_sampler *sampler, int64_t count, int64_t *unique, lk_error *err) {
    int64_t *sorted = NULL;
    *unique = 0;
    LK_RETURN_IF(LK_NEW(&sorted, count, "the samples of an epoch", err));
    memcpy(sorted, sampler->order, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_samples);
    for (int64_t i = 0; i < count; i++) *unique += i == 0 || sorted[i] != sorted[i - 1];
    lk_free(sorted);
    return LK_OK;
}
