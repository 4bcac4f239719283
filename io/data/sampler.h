/* The order of an epoch, and its cut into windows and microbatches: a function of (seed, epoch) alone. */
#ifndef LK_IO_DATA_SAMPLER_H
#define LK_IO_DATA_SAMPLER_H

#include <stdint.h>

#include "core/error.h"

/* Which samples an epoch has; it has `draws` of them, each `repeats` times. */
typedef enum lk_sampler_kind {
    LK_SAMPLER_SHUFFLED, /* every sample once: draws is the number of samples */
    /* Every class equally often, to one draw; within a class every sample equally often, to one draw. */
    LK_SAMPLER_BALANCED,
    /* With replacement, each draw for itself, a sample as likely as its class's weight says. Source:
     * torch.utils.data.WeightedRandomSampler with weights[label]. */
    LK_SAMPLER_WEIGHTED,
    LK_SAMPLER_KIND_COUNT
} lk_sampler_kind;

typedef struct lk_sampler_config {
    uint64_t seed;
    int64_t batch, microbatch;
    bool drop_last;
    bool fixed_order; /* SHUFFLED: as the indices came */
    lk_sampler_kind kind;
    const int32_t *labels; /* of the samples, 0 .. classes - 1; BALANCED and WEIGHTED; read by create alone */
    int classes;
    const double *weights; /* classes, none negative; WEIGHTED; read by create alone */
    int64_t draws;         /* BALANCED and WEIGHTED: of an epoch; 0: the number of samples */
    /* Times that each draw comes in its window: repeated augmentation. 0 is 1. Copies do not stand side by side: a
     * window holds all its samples once, then all of them again. Source: Hoffer et al. 2020, "Augment your batch". */
    int64_t repeats;
} lk_sampler_config;

typedef struct lk_sampler {
    lk_sampler_config config; /* without labels and weights */
    int64_t *pool;            /* sample indices of the split; BALANCED, WEIGHTED: class by class */
    int64_t pool_count;
    int64_t *class_first;          /* BALANCED, WEIGHTED: classes + 1, where each class begins in the pool */
    double *mass;                  /* WEIGHTED: classes + 1, sums of weight times samples */
    int64_t *quota;                /* BALANCED: classes, scratch */
    struct lk_sampler_rank *ranks; /* BALANCED: scratch */
    int64_t *draws;                /* of this epoch, draw_count of them */
    int64_t draw_count;
    int64_t *order; /* this epoch's sample indices, count of them */
    int64_t count;  /* draws times repeats */
    uint64_t seed;
    uint32_t epoch;
} lk_sampler;

/* indices are copied. Owner: the caller, with lk_sampler_free. Errors: LK_ERR_CONFIG when batch is not a multiple of
 * microbatch or larger than the epoch with drop_last, or when no class with a sample has a weight; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_sampler_create(lk_sampler **out, const int64_t *indices, int64_t count,
                                          const lk_sampler_config *config, lk_error *err);
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
/* How many different samples stand at the first `count` positions of the order. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_sampler_unique(const lk_sampler *sampler, int64_t count, int64_t *unique, lk_error *err);

#endif
