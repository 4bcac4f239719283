/* Optimizers over parameter slabs: one pass over contiguous ranges with equal hyperparameters. */
#ifndef LK_OPTIM_OPTIMIZER_H
#define LK_OPTIM_OPTIMIZER_H

#include "device/device.h"

typedef enum lk_optimizer_kind {
    LK_OPTIMIZER_SGD,
    LK_OPTIMIZER_ADAM,
    LK_OPTIMIZER_ADAMW,
    LK_OPTIMIZER_RMSPROP,
    LK_OPTIMIZER_RMSPROP_TF, /* timm's RMSpropTF: epsilon inside the root, lr inside the momentum, mean square from 1 */
    LK_OPTIMIZER_KIND_COUNT
} lk_optimizer_kind;

typedef struct lk_optimizer_config {
    lk_optimizer_kind kind;
    double weight_decay;      /* added to the gradient; ADAMW: apart from it */
    double momentum;          /* SGD, RMSPROP, RMSPROP_TF */
    double dampening;         /* SGD */
    bool nesterov;            /* SGD */
    double beta1, beta2;      /* ADAM, ADAMW */
    double alpha;             /* RMSPROP, RMSPROP_TF: of the mean square */
    double epsilon;           /* above 0; all but SGD */
    bool epsilon_inside_sqrt; /* RMSPROP */
    bool centered;            /* RMSPROP, RMSPROP_TF */
    double clip_value;        /* limit of every element of the gradient; 0: none */
} lk_optimizer_config;

/* A range of the slab with settings of its own. What lies in no range is never stepped. */
typedef struct lk_param_range {
    int64_t offset, count; /* elements */
    bool decay;            /* is weight decay applied? */
    double lr_scale;       /* factor of the learning rate */
} lk_param_range;

/* What changes from update to update. */
typedef struct lk_step {
    double lr;
    double momentum;   /* or beta1, where a schedule moves it; negative: the configuration's */
    double grad_scale; /* factor of the gradient (clipping by norm); 0: none */
    int64_t update;    /* 0 for the first */
} lk_step;

typedef struct lk_optimizer lk_optimizer;

/* Ranges are copied; neighbours with equal settings are merged. slab_count: elements of a slab.
 * The state slabs are made on the device. Owner: the caller, with lk_optimizer_free. Not Collective.
 * Errors: LK_ERR_CONFIG for settings that contradict each other (Nesterov without momentum, ...); LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_optimizer_create(lk_optimizer **out, lk_device *device, const lk_optimizer_config *config,
                                            const lk_param_range *ranges, int range_count, int64_t slab_count,
                                            lk_error *err);
void lk_optimizer_free(lk_optimizer *optimizer);

/* Steps the elements [begin, end) of the slab: several threads may step disjoint parts of one update, each on its
 * stream. */
LK_MUST_CHECK lk_status lk_optimizer_step(lk_optimizer *optimizer, lk_stream *stream, void *params, const void *grads,
                                          int64_t begin, int64_t end, const lk_step *step, lk_error *err);

/* State slabs, for checkpoints: `*count` of them (0 to 3), each slab_count elements on the device; names are static:
 * "momentum", "exp_avg", "exp_avg_sq", "square_avg", "grad_avg". Borrowed. */
void *const *lk_optimizer_get_state(const lk_optimizer *optimizer, const char *const **names, int *count);

/* How many state slabs a configuration needs. Pure. */
int lk_optimizer_state_slabs(const lk_optimizer_config *config);

/* What one setting cannot tell alone. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_optimizer_check(const lk_optimizer_config *config, lk_error *err);

#endif
