/* One update's gradients: the leaves of the fixed tree run on lanes, are summed in tree order bucket by bucket, and
 * reduced over the ranks while backward still runs. */
#ifndef LK_TRAIN_WINDOW_H
#define LK_TRAIN_WINDOW_H

#include "core/tree.h"
#include "dist/reducer.h"
#include "io/data/loader.h"
#include "io/data/sampler.h"
#include "train/exchange.h"
#include "train/lanes.h"
#include "train/loss.h"

typedef struct lk_window lk_window;

typedef struct lk_window_config {
    int leaves;              /* m */
    int chain;               /* microbatches whose gradients are added from left to right, before the tree; divides m */
    int64_t microbatch;      /* most samples of a leaf */
    int64_t bucket_elements; /* least size of a reduction bucket */
    lk_device_comm *device_comm; /* borrowed; NULL: host memory, or one rank */
    bool ring;                   /* lk_reducer_config.ring */
    bool graphs;                 /* lk_lanes_cut */
    int group;                   /* leaves that BatchNorm normalises together; 0 or 1: each alone */
    const lk_dataset *dataset;   /* borrowed, for the labels of a window's samples */
} lk_window_config;

/* What an update adds to the epoch's sums: equal on all ranks. */
typedef struct lk_window_result {
    int64_t samples, correct;
    double loss_sum;     /* in leaf order */
    uint64_t sample_sum; /* sum of a hash of each sample's index: any order */
    bool stop;           /* some rank was asked to stop */
} lk_window_result;

/* Tells whether this rank was asked to stop. */
typedef bool (*lk_stop_requested)(void *context);

/* network, lanes, comm and loader are borrowed until lk_window_free. Collective. Owner: the caller, with
 * lk_window_free. */
LK_MUST_CHECK lk_status lk_window_create(lk_window **out, lk_network *network, lk_lanes *lanes, lk_comm *comm,
                                         lk_loader *loader, const lk_window_config *config, lk_error *err);
void lk_window_free(lk_window *window);

/* Makes the memory that gradients travel from and to known to the communicator of devices, once the window is there on
 * all ranks. Collective. Errors: LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_window_enlist(lk_window *window, lk_error *err);

/* Queues this rank's leaves of an update at the loader. Not Collective. */
LK_MUST_CHECK lk_status lk_window_prefetch(lk_window *window, const lk_sampler *sampler, int64_t update,
                                           const lk_augment *augment, lk_error *err);

/* The factor of the loss whose gradients the windows from now on compute, a power of two; 1 at first. The losses that
 * they give are without it. */
void lk_window_set_loss_scale(lk_window *window, double scale);

/* Runs the leaves of an update that was prefetched, and the reduction. Afterwards lk_window_gradients is the sum over
 * all ranks. Collective. Errors: LK_STOPPED when the window was abandoned (nothing
 * has changed); otherwise the worst error of any rank, on all. */
LK_MUST_CHECK lk_status lk_window_run(lk_window *window, const lk_sampler *sampler, int64_t update,
                                      lk_stop_requested stop, void *stop_context, lk_window_result *result,
                                      lk_error *err);

/* Moves BatchNorm's running statistics by those of the window that ran last, in leaf order. Once for each window whose
 * update is made. Not Collective. */
LK_MUST_CHECK lk_status lk_window_apply_statistics(lk_window *window, lk_error *err);

/* The gradient slab; device memory, borrowed, valid until the next lk_window_run. */
const void *lk_window_gradients(const lk_window *window);
/* Slabs held; reductions done so far (updates times buckets). */
int lk_window_slabs(const lk_window *window);
/* Buckets of one reduction. */
int lk_window_buckets(const lk_window *window);
void lk_window_reductions(const lk_window *window, lk_reducer_stats *stats);

/* lk_clock_seconds() when the first leaf was decoded and its forward pass began; 0 before. */
double lk_window_first_forward(const lk_window *window);

/* The hash whose sum over an epoch proves that every sample came once. Pure. */
uint64_t lk_sample_hash(int64_t sample);

#endif
