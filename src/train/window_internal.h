/* The window's parts, shared by its own files. */
#ifndef LK_TRAIN_WINDOW_INTERNAL_H
#define LK_TRAIN_WINDOW_INTERNAL_H

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
    int *params_left; /* per bucket: parameters whose gradient of this leaf is not complete */
    double *logits, *losses;
} lk_window_worker;

struct lk_window {
    lk_network *network;
    lk_lanes *lanes;
    lk_comm *comm;
    lk_loader *loader;
    lk_span share;
    int64_t microbatch;
    lk_buckets buckets;
    lk_gradient_tree tree;
    lk_reducer *reducer;
    lk_window_worker *workers;
    int64_t leaf_bytes; /* record and statistics of one leaf */
    char *mine, *all;   /* leaf_bytes for each leaf of the share, of all ranks */
    void *stats;        /* device memory: the statistics of each leaf of the share */
    double first_forward;
    /* The window that runs. */
    const lk_sampler *sampler;
    int64_t update;
    int present;
    int64_t window_samples;
    bool buckets_may_leave; /* no boundary comes before the reduction any more */
    int taken;              /* buckets handed to the reducer */
};

/* Bytes of one leaf's BatchNorm statistics. */
int64_t lk_window_stats_bytes(const lk_window *window);

/* window_leaf.c, an lk_lane_work whose context is the window: one leaf, forward, record, backward. Which leaf it is,
 * the loader says: any lane may run any leaf of the round. */
LK_MUST_CHECK lk_status lk_window_run_leaf(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err);

/* Hands complete buckets to the reducer and makes progress. Only the thread that owns the communicator. */
LK_MUST_CHECK lk_status lk_window_drive_reducer(lk_window *window, lk_error *err);

/* window_stats.c: gathers records and statistics of all leaves and applies them in leaf order. Collective. */
LK_MUST_CHECK lk_status lk_window_finish_statistics(lk_window *window, lk_window_result *result, lk_error *err);

#endif
