/* The order of an epoch, and its cut into windows and microbatches: a function of (seed, epoch) alone. */
#ifndef LK_IO_DATA_SAMPLER_H
#define LK_IO_DATA_SAMPLER_H

#include <stdint.h>

#include "core/error.h"

typedef struct lk_sampler {
    int64_t *pool; /* sample indices of the split */
    int64_t count;
    int64_t *order; /* this epoch's sample indices, count of them */
    uint64_t seed;
    uint32_t epoch;
    int64_t batch, microbatch;
    bool drop_last, shuffle;
} lk_sampler;

/* indices are copied. Owner: the caller, with lk_sampler_free. Errors: LK_ERR_CONFIG when batch is not a multiple of
 * microbatch or larger than count with drop_last; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_sampler_create(lk_sampler **out, const int64_t *indices, int64_t count, uint64_t seed,
                                          int64_t batch, int64_t microbatch, bool shuffle, bool drop_last,
                                          lk_error *err);
void lk_sampler_free(lk_sampler *sampler);
/* Computes the order of an epoch (0 is the first). */
void lk_sampler_set_epoch(lk_sampler *sampler, uint32_t epoch);
/* Updates per epoch. Pure. */
int64_t lk_sampler_updates(const lk_sampler *sampler);
/* Samples, and leaves (microbatches present), of update u of the epoch. Pure. */
int64_t lk_sampler_window_samples(const lk_sampler *sampler, int64_t update);
int lk_sampler_window_leaves(const lk_sampler *sampler, int64_t update);
/* Leaf j of update u: first position in the order and number of samples (0: absent). Pure. */
void lk_sampler_leaf(const lk_sampler *sampler, int64_t update, int leaf, int64_t *first, int64_t *rows);

#endif
