/* The window's parts, shared by its own files. */
#ifndef LK_TRAIN_WINDOW_INTERNAL_H
#define LK_TRAIN_WINDOW_INTERNAL_H

#include "train/ahead.h"
#include "train/buckets.h"
#include "train/gradient_tree.h"
#include "train/window.h"

/* What one leaf reports to all ranks, beside its BatchNorm statistics. */
typedef struct lk_leaf_record {
    double loss_sum;
    int64_t samples, correct;
    uint64_t sample_sum;
} lk_leaf_record;

/* Scratch of one worker. */
typedef struct lk_window_worker {
    lk_exchange_member member;
    lk_leaf_group group; /* of which the member is the context */
    int counted;         /* the leaf whose forward pass this worker's lane still holds; -1: none */
    int *params_left;    /* per bucket: parameters whose gradient of this leaf is not complete */
    double *logits, *losses;
    void *outputs;     /* both as the device has them, in its host_alloc */
    lk_event *fetched; /* outputs have come */
} lk_window_worker;

/* A microbatch in memory of its own. */
typedef struct lk_kept_microbatch {
    lk_microbatch batch;
    int32_t *partner;
    float *pixel_share, *label_share;
} lk_kept_microbatch;

/* What an F1 term over the window needs before any backward pass; all NULL without one. */
typedef struct lk_window_counts {
    lk_kept_microbatch *kept; /* of the share */
    double *mine, *all;       /* soft counts of the leaves, 3 K each: of the share, of all ranks */
    bool hold;                /* each lane has one leaf at most, and keeps what its forward pass left */
} lk_window_counts;

struct lk_window {
    lk_network *network;
    lk_lanes *lanes;
    lk_comm *comm;
    lk_loader *loader;
    lk_ahead *ahead; /* of the only lane of a device without host memory; else NULL */
    lk_span share;
    int chain; /* microbatches of a leaf of the reduction */
    int64_t microbatch;
    const lk_loss_config *loss; /* the network's own */
    const lk_dataset *dataset;
    lk_window_counts counts;
    int group;             /* leaves that normalise together */
    lk_exchange *exchange; /* of their statistics; NULL: each alone */
    lk_buckets buckets;
    bool *cuts; /* by parameter: the last of its bucket; NULL: one rank */
    lk_gradient_tree tree;
    lk_reducer *reducer;
    lk_window_worker *workers;
    int64_t leaf_bytes; /* record and statistics of one leaf */
    char *mine, *all;   /* leaf_bytes for each leaf of the share, of all ranks; the device's host_alloc */
    void *stats;        /* device memory: the statistics of each leaf of the share, then of all leaves */
    double first_forward;
    /* The window that runs. */
    const lk_sampler *sampler;
    int64_t update;
    int present;
    int64_t window_samples;
    double weight_scale;    /* lk_run.weight_scale */
    double loss_scale;      /* factor of the loss whose gradients are computed; stays from window to window */
    int round_first;        /* first leaf of the round that runs */
    bool buckets_may_leave; /* no boundary comes before the reduction any more */
    int taken;              /* buckets handed to the reducer */
};

/* Bytes of one leaf's BatchNorm statistics. */
int64_t lk_window_stats_bytes(const lk_window *window);

/* window_leaf.c, lk_lane_work whose context is the window: one leaf, forward, record, backward. Which leaf it is, the
 * loader says: any lane may run any leaf of the round; leaves that were counted are run again in order. */
LK_MUST_CHECK lk_status lk_window_run_leaf(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err);
/* A leaf forward alone: keeps the microbatch and counts it. */
LK_MUST_CHECK lk_status lk_window_count_leaf(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err);

/* window_counts.c: must all leaves be counted before the first goes backward? */
bool lk_window_counts_first(const lk_window *window);
LK_MUST_CHECK lk_status lk_window_counts_create(lk_window *window, lk_error *err);
void lk_window_counts_free(lk_window *window);
/* Copies a microbatch of the share. Any worker, each its own. */
void lk_window_keep(lk_window *window, const lk_microbatch *batch);
/* Counts a leaf of the share from its logits: classes numbers a row. Any worker, each its own. */
void lk_window_count(lk_window *window, const lk_microbatch *batch, const double *logits);
/* Adds the leaves' counts of all ranks in tree order: counts.all then begins with those of the window. Collective. */
LK_MUST_CHECK lk_status lk_window_add_counts(lk_window *window, lk_error *err);

/* Hands complete buckets to the reducer and makes progress. Only the thread that owns the communicator. */
LK_MUST_CHECK lk_status lk_window_drive_reducer(lk_window *window, lk_error *err);

/* window_stats.c: gathers records and statistics of all leaves, and adds up the records. Collective. */
LK_MUST_CHECK lk_status lk_window_gather_leaves(lk_window *window, lk_window_result *result, lk_error *err);

#endif
