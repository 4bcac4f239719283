/* The lanes of a rank: worker threads that run leaves side by side, each with its stream, arena and bound plans. */
#ifndef LK_TRAIN_LANES_H
#define LK_TRAIN_LANES_H

#include "core/pool.h"
#include "train/network.h"

typedef struct lk_lane_slot {
    lk_stream *stream;
    void *arena;
    lk_lane *lanes[LK_NETWORK_MODES];
    bool ready;
} lk_lane_slot;

typedef struct lk_lanes {
    lk_network *network; /* borrowed */
    lk_pool *pool;
    int count;
    lk_lane_slot *slots; /* one per worker; worker 0 is the calling thread */
    bool graphs;         /* training passes are captured */
    const bool *cuts;    /* lk_lane_cut */
} lk_lanes;

/* Starts count - 1 threads; arenas and bindings are made by each worker at its first work.
 * Owner: the caller, with lk_lanes_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_lanes_create(lk_lanes **out, lk_network *network, int count, lk_error *err);
void lk_lanes_free(lk_lanes *lanes);

/* lk_lane_cut, and with `graphs` lk_lane_use_graphs, of all lanes that train; between runs. cuts: borrowed. Errors:
 * LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_lanes_cut(lk_lanes *lanes, const bool *cuts, bool graphs, lk_error *err);

/* worker: 0 is the thread that called lk_lanes_run. */
typedef lk_status (*lk_lane_work)(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err);

/* Runs work for index 0..count-1 over the lanes and waits. All indices run even when one fails.
 * Errors: that of the lowest index that failed. */
LK_MUST_CHECK lk_status lk_lanes_run(lk_lanes *lanes, lk_lane_work work, void *context, int count, lk_error *err);

/* The stream of worker 0, for work between windows. Errors: LK_ERR_MEMORY, LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_lanes_main_stream(lk_lanes *lanes, lk_stream **out, lk_error *err);

#endif
