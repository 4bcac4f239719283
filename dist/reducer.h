/* Sums gradient slabs over the ranks, in tree order, bucket by bucket, while backward still runs.
 * Each bucket is cut into one slice per rank: slices are exchanged, summed in the order of the fixed tree over the
 * ranks' shares, and gathered; within a node first, then between nodes, where the nodes are subtrees. Absent shares are
 * skipped, never added as zero. One thread calls it (the one that owns the communicator). */
#ifndef LK_DIST_REDUCER_H
#define LK_DIST_REDUCER_H

#include "core/tensor.h"
#include "dist/comm.h"
#include "dist/device_comm.h"

typedef struct lk_reducer lk_reducer;

typedef struct lk_reducer_config {
    int leaves; /* of the tree: microbatches per update, or chains of them; comm->size must satisfy lk_tree_ranks_ok */
    int64_t count;              /* elements of a slab */
    lk_dtype dtype;             /* LK_F32 or LK_F64 */
    const int64_t *bucket_ends; /* ascending element offsets, the last equals count; bucket b is [ends[b-1], ends[b]) */
    /* Where each bucket begins, or NULL: where the one before ends. With it, what lies in no bucket is left alone. */
    const int64_t *bucket_begins;
    int buckets;
    /* Slabs in device memory, with several ranks; else NULL and false. */
    lk_device_comm *device_comm; /* borrowed; may be freed before the reducer is */
    lk_stream *after;            /* borrowed: where buckets become complete */
    bool ring; /* windows of which every rank has a share are summed in the library's order: other bits on other rank
                  counts */
} lk_reducer_config;

/* Collective. Owner: the caller, with lk_reducer_free. Errors: LK_ERR_CONFIG for a rank count that does not work,
 * listing those that do; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_reducer_create(lk_reducer **out, lk_comm *comm, const lk_reducer_config *config,
                                          lk_error *err);
/* Between updates only; NULL is accepted. Not Collective. */
/* Makes the reducer's memory and the slab that begin will be given known to the communicator of devices; nothing where
 * there is none. Collective. Errors: LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_reducer_enlist(lk_reducer *reducer, void *slab, int64_t bytes, lk_error *err);
void lk_reducer_free(lk_reducer *reducer);

/* Starts an update. slab: this rank's partial sum (host memory, or the device's), which becomes the total of all ranks.
 * present: how many of the leaves exist in this window (the first ones), from 1 on. Ranks without a leaf contribute
 * nothing and still get the total. The slab is borrowed until lk_reducer_wait returns. Collective. Errors:
 * LK_ERR_INTERNAL for misuse. */
LK_MUST_CHECK lk_status lk_reducer_begin(lk_reducer *reducer, void *slab, int present, lk_error *err);
/* Bucket b of the slab is complete on this rank: start exchanging it. Each bucket exactly once per update, in any
 * order, which may differ between ranks. In device memory: complete on `after`; it leaves in its turn, from the last
 * bucket down, and may wait there for ranks that are less far. Enqueues. Not Collective. Errors: LK_ERR_INTERNAL when
 * not exactly once (P7); LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_reducer_submit(lk_reducer *reducer, int bucket, lk_error *err);
/* Makes progress without waiting. Not Collective. Errors: LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_reducer_poll(lk_reducer *reducer, lk_error *err);
/* Waits until every bucket is the total. Collective. Errors: LK_ERR_COMM naming the ranks that are missing;
 * LK_ERR_INTERNAL when a bucket was not submitted exactly once (P7). */
LK_MUST_CHECK lk_status lk_reducer_wait(lk_reducer *reducer, lk_error *err);

typedef struct lk_reducer_stats {
    int64_t updates;     /* finished */
    int64_t bucket_sums; /* buckets finished; must equal updates * buckets */
    int64_t bytes_sent;
    double wait_seconds; /* spent in lk_reducer_wait */
    int levels;          /* 1, or 2 when hierarchical */
} lk_reducer_stats;
/* Not Collective. */
void lk_reducer_get_stats(const lk_reducer *reducer, lk_reducer_stats *stats);

#endif
