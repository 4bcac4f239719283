/* Optimizers over parameter slabs: one pass over contiguous ranges with equal hyperparameters. */
#ifndef LK_OPTIM_OPTIMIZER_H
#define LK_OPTIM_OPTIMIZER_H

#include "device/device.h"

typedef struct lk_optimizer_config {
    double momentum, dampening, weight_decay;
    bool nesterov;
    bool decay_norm_and_bias; /* false: no weight decay on BatchNorm parameters and biases */
} lk_optimizer_config;

/* A range of the slab that decays or does not. */
typedef struct lk_param_range {
    int64_t offset, count; /* elements */
    bool decay;
} lk_param_range;

/* What changes from update to update. */
typedef struct lk_step {
    double lr;
    double momentum; /* or beta1, where a schedule moves it; negative: the configuration's */
    int64_t update;  /* 0 for the first */
} lk_step;

typedef struct lk_optimizer lk_optimizer;

/* Ranges are copied; neighbours with equal settings are merged. slab_count: elements of a slab.
 * The momentum slab is made on the device. Owner: the caller, with lk_optimizer_free. Not Collective.
 * Errors: LK_ERR_CONFIG for Nesterov without momentum (or with dampening); LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_optimizer_create(lk_optimizer **out, lk_device *device, const lk_optimizer_config *config,
                                            const lk_param_range *ranges, int range_count, int64_t slab_count,
                                            lk_error *err);
void lk_optimizer_free(lk_optimizer *optimizer);

/* Steps the elements [begin, end) of the slab: several threads may step disjoint parts of one update, each on its
 * stream. */
LK_MUST_CHECK lk_status lk_optimizer_step(lk_optimizer *optimizer, lk_stream *stream, void *params, const void *grads,
                                          int64_t begin, int64_t end, const lk_step *step, lk_error *err);

/* State slabs, for checkpoints: `*count` of them (momentum: 0 or 1), each slab_count elements on the device; names are
 * static ("momentum"). Borrowed. */
void *const *lk_optimizer_get_state(const lk_optimizer *optimizer, const char *const **names, int *count);

#endif
