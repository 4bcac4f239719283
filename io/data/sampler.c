#include "io/data/sampler.h"

#include <string.h>

#include "core/memory.h"
#include "core/random.h"

lk_status lk_sampler_create(lk_sampler **out, const int64_t *indices, int64_t count, uint64_t seed, int64_t batch,
                            int64_t microbatch, bool shuffle, bool drop_last, lk_error *err) {
    lk_status status = LK_OK;
    lk_sampler *sampler = NULL;
    *out = NULL;
    if (batch < 1 || microbatch < 1 || batch % microbatch != 0)
        return lk_fail(err, LK_ERR_CONFIG, "batch %lld is not a multiple of microbatch %lld: choose one that is",
                       (long long)batch, (long long)microbatch);
    if (count < 1) return lk_fail(err, LK_ERR_CONFIG, "there is no sample to draw: choose a split that has some");
    if (drop_last && batch > count)
        return lk_fail(err, LK_ERR_CONFIG,
                       "batch %lld is larger than the %lld samples, and drop_last would leave no update: choose a "
                       "smaller batch or drop_last: false",
                       (long long)batch, (long long)count);
    LK_TRY(LK_NEW(&sampler, 1, "the sampler", err));
    LK_TRY(LK_NEW(&sampler->pool, count, "the samples of a split", err));
    LK_TRY(LK_NEW(&sampler->order, count, "the order of an epoch", err));
    memcpy(sampler->pool, indices, (size_t)count * sizeof *indices);
    sampler->count = count;
    sampler->seed = seed;
    sampler->batch = batch;
    sampler->microbatch = microbatch;
    sampler->shuffle = shuffle;
    sampler->drop_last = drop_last;
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
    lk_free(sampler->order);
    lk_free(sampler);
}

void lk_sampler_set_epoch(lk_sampler *sampler, uint32_t epoch) {
    sampler->epoch = epoch;
    if (!sampler->shuffle) {
        memcpy(sampler->order, sampler->pool, (size_t)sampler->count * sizeof *sampler->order);
        return;
    }
    lk_random_key key = {sampler->seed, epoch, LK_RANDOM_SHUFFLE};
    lk_random_permutation(&key, sampler->count, sampler->order);
    for (int64_t i = 0; i < sampler->count; i++) sampler->order[i] = sampler->pool[sampler->order[i]];
}

int64_t lk_sampler_updates(const lk_sampler *sampler) {
    int64_t whole = sampler->count / sampler->batch;
    return sampler->drop_last || sampler->count % sampler->batch == 0 ? whole : whole + 1;
}

int64_t lk_sampler_window_samples(const lk_sampler *sampler, int64_t update) {
    if (update < 0 || update >= lk_sampler_updates(sampler)) return 0;
    int64_t left = sampler->count - update * sampler->batch;
    return left < sampler->batch ? left : sampler->batch;
}

int lk_sampler_window_leaves(const lk_sampler *sampler, int64_t update) {
    return (int)((lk_sampler_window_samples(sampler, update) + sampler->microbatch - 1) / sampler->microbatch);
}

void lk_sampler_leaf(const lk_sampler *sampler, int64_t update, int leaf, int64_t *first, int64_t *rows) {
    int64_t within = (int64_t)leaf * sampler->microbatch;
    int64_t left = lk_sampler_window_samples(sampler, update) - within;
    *first = update * sampler->batch + within;
    *rows = left < 0 ? 0 : left < sampler->microbatch ? left : sampler->microbatch;
}
