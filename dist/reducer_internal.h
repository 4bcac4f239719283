/* What creation and progress of the reducer share. */
#ifndef LK_DIST_REDUCER_INTERNAL_H
#define LK_DIST_REDUCER_INTERNAL_H

#include "dist/device_comm.h"
#include "dist/reduce_route.h"
#include "dist/reduce_sum.h"
#include "dist/reducer.h"

#define SLICE_ALIGNMENT 16 /* elements: a cache line of float32 */
#define MAX_BUCKETS (32768 / STAGE_TAGS)

typedef enum stage { IDLE, SCATTER, ACROSS, BACK, GATHER, DONE, STAGE_TAGS = 4 } stage;

typedef struct bucket {
    int64_t first, count; /* elements of the slab */
    stage stage;
    lk_request **requests; /* room for all of a stage; the open ones come first */
    int open;
    char *scratch;   /* shares of the neighbours for own slices, then sums of the other nodes for the owned slice */
    int64_t handled; /* elements of the slices handled by this rank */
} bucket;

struct lk_reducer {
    lk_comm *comm; /* borrowed */
    int leaves, bucket_count, present;
    lk_dtype dtype;
    size_t size; /* bytes of an element */
    lk_route route;
    lk_sum_tree within, across; /* over a node's ranks; over the nodes */
    void **terms;
    bucket *buckets;
    lk_request **requests;
    char *scratch;
    int64_t scratch_bytes;
    char *slab; /* borrowed from begin to the end of wait; NULL outside */
    int finished;
    lk_device_comm *device_comm; /* borrowed; NULL: the slab is host memory */
    lk_device *device;           /* its device: the scratch is freed after it */
    lk_stream *after;            /* where buckets become complete; with device_comm */
    bool ring;                   /* sums in the library's order where all ranks have a share */
    int turn;                    /* device memory: the bucket that leaves next, from the last down */
    int room;                    /* requests of a bucket's stage */
    bool proving;                /* every rank owns a part of some bucket: a total proves that all took part */
    lk_reducer_stats stats;
};

/* Element of the slab where slice p of the bucket starts; p = ranks gives its end. */
static inline int64_t slice_start(const lk_reducer *r, const bucket *b, int slice) {
    int64_t units = (b->count + SLICE_ALIGNMENT - 1) / SLICE_ALIGNMENT;
    int64_t at = units * slice / r->route.ranks * SLICE_ALIGNMENT;
    return b->first + (at < b->count ? at : b->count);
}

static inline int64_t run_count(const lk_reducer *r, const bucket *b, int first, int end) {
    return slice_start(r, b, end) - slice_start(r, b, first);
}

static inline int own_node(const lk_reducer *r) { return r->route.node_of[r->comm->rank]; }
static inline int node_begin(const lk_reducer *r) { return r->route.node_first[own_node(r)]; }
static inline int node_end(const lk_reducer *r) { return r->route.node_first[own_node(r) + 1]; }

static inline int owned_slice(const lk_reducer *r) {
    int slice = 0;
    while (r->route.owner[slice] != r->comm->rank) slice++;
    return slice;
}

/* Sends and receives what the bucket's stage asks for. With the peers of the stage. */
LK_MUST_CHECK lk_status lk_reduce_start(lk_reducer *r, bucket *b, lk_error *err);
/* The stage's messages are over, or enqueued on the stream: sums what came, and goes on to the next stage or DONE. Not
 * Collective. */
LK_MUST_CHECK lk_status lk_reduce_finish(lk_reducer *r, bucket *b, lk_error *err);

/* reduce_device.c: enqueues the buckets whose turn has come. With all ranks, some time. */
LK_MUST_CHECK lk_status lk_reduce_on_device(lk_reducer *r, lk_error *err);

#endif
