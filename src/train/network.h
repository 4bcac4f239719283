/* The network of a run: its graph compiled for full microbatches, tails and evaluation, over one set of slabs. */
#ifndef LK_TRAIN_NETWORK_H
#define LK_TRAIN_NETWORK_H

#include "nn/model.h"
#include "nn/plan.h"

typedef enum lk_network_mode {
    LK_NETWORK_TRAIN,
    LK_NETWORK_TAIL, /* the smaller last microbatch of an epoch; no plan where none is needed */
    LK_NETWORK_EVALUATE,
    LK_NETWORK_MODES
} lk_network_mode;

typedef struct lk_network_config {
    const char *model;
    lk_model_spec spec;
    const lk_loss_config *loss; /* copied */
    lk_dtype compute;
    lk_recompute recompute;
    int group;                                     /* leaves that BatchNorm normalises together; 0 or 1: each alone */
    int64_t microbatch, tail_rows, evaluate_batch; /* samples; tail_rows 0: no tail */
    bool average;                                  /* keep a moving average of parameters and statistics */
    const char *freeze;                            /* names of parameters that are not trained: lk_graph_freeze */
    bool freeze_batchnorm;
    const lk_choices *choices; /* lk_plan_options */
    uint64_t seed;             /* of the initialisation */
    int threads;               /* that share the initialisation */
} lk_network_config;

/* A part of a slab. Unit: elements. */
typedef struct lk_slab_run {
    int64_t begin, end;
} lk_slab_run;

typedef struct lk_network {
    lk_device *device; /* borrowed */
    lk_graph *graph;
    lk_plan *plans[LK_NETWORK_MODES];
    void *derived[LK_NETWORK_MODES]; /* device memory */
    bool stale[LK_NETWORK_MODES];    /* derived parameters are older than the parameters */
    void *params, *stats;            /* device memory, totals.slab_count and totals.stats_count elements */
    /* What is evaluated, saved as the model and exported: params and stats themselves, or their moving average in
     * memory of its own. */
    void *eval_params, *eval_stats;
    lk_plan_totals totals; /* of the training plan */
    int64_t trained;       /* parameters that are trained */
    /* Where they lie, with the padding and with layers that are frozen whole between them, whose gradients are never
     * written and stay zero; the whole slab where nothing is frozen. In a slab of gradients, what lies elsewhere may
     * mean nothing. */
    lk_slab_run *runs;
    int run_count;
    int64_t arena_bytes; /* enough for any of the plans */
} lk_network;

/* Builds, compiles and initialises. Not Collective. Owner: the caller, with lk_network_free.
 * Errors: those of lk_model_build and lk_plan_create. */
LK_MUST_CHECK lk_status lk_network_create(lk_network **out, lk_device *device, const lk_network_config *config,
                                          lk_error *err);
void lk_network_free(lk_network *network);

/* The settings of the graph's loss. Borrowed. */
const lk_loss_config *lk_network_loss(const lk_network *network);

/* Is a moving average kept? Pure. */
bool lk_network_averages(const lk_network *network);
/* The average becomes what parameters and statistics are; nothing where none is kept. Blocking. */
LK_MUST_CHECK lk_status lk_network_restart_average(lk_network *network, lk_error *err);

/* What the device chose for all passes, as text (lk_choices_write). Owner of *text: the caller, with lk_free. Errors:
 * LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_network_choices(const lk_network *network, char **text, lk_error *err);
/* lk_plan_declined of all plans. */
const char *lk_network_declined(const lk_network *network);

/* Says that the parameters changed. */
void lk_network_touch(lk_network *network);
/* Rewrites a mode's derived parameters if they are stale. */
LK_MUST_CHECK lk_status lk_network_refresh(lk_network *network, lk_network_mode mode, lk_stream *stream, lk_error *err);

/* XXH3-128 over all parameters and running statistics in state_dict layout and the master dtype, then over those of the
 * moving average where one is kept. */
LK_MUST_CHECK lk_status lk_network_hash(const lk_network *network, uint64_t hash[2], lk_error *err);

#endif
