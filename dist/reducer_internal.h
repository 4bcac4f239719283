/* What creation and progress of the reducer share. */
#ifndef LK_DIST_REDUCER_INTERNAL_H
#define LK_DIST_REDUCER_INTERNAL_H

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
    const void **terms;
    bucket *buckets;
    lk_request **requests;
    char *scratch;
    char *slab; /* borrowed from begin to the end of wait; NULL outside */
    int finished;
    int room;     /* requests of a bucket's stage */
    bool proving; /* every rank owns a part of some bucket: a total proves that all took part */
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

#endif
