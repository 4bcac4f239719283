/* Sums of several vectors in the order of the fixed tree, absent ones skipped. */
#ifndef LK_DIST_REDUCE_SUM_H
#define LK_DIST_REDUCE_SUM_H

#include "core/tree.h"
#include "device/device.h"

typedef struct lk_sum_node {
    int left, right; /* nodes, -1 where this is a term */
    int term;        /* -1 where this is a sum */
} lk_sum_node;

/* The part of the tree between `root` and the terms' spans. Node 0 is the root. */
typedef struct lk_sum_tree {
    lk_sum_node *nodes;
    int node_count, term_count, depth;
    void *blocks; /* depth intermediate results of LK_SUM_BLOCK bytes */
} lk_sum_tree;

#define LK_SUM_BLOCK 8192 /* bytes of each vector summed at a time: the whole tree's blocks stay in cache */

/* terms: ascending, adjacent spans that fill `root`; all are nodes of the tree over `leaves`. Owner of *tree: the
 * caller, with lk_sum_tree_free. Not Collective. Errors: LK_ERR_MEMORY; LK_ERR_INTERNAL for spans that are no nodes. */
LK_MUST_CHECK lk_status lk_sum_tree_create(lk_sum_tree *tree, lk_span root, const lk_span *terms, int count,
                                           lk_error *err);
void lk_sum_tree_free(lk_sum_tree *tree);

/* out = the sum of terms[t] over all t that aren't NULL, added as the tree says; nothing is written where all are NULL.
 * Shape of out and of each term: (count). out may be one of the terms. dtype: LK_F32 or LK_F64. Not Collective. */
void lk_sum_tree_add(const lk_sum_tree *tree, lk_dtype dtype, const void *const *terms, void *out, int64_t count);

/* The same for device memory, enqueued on a stream: `out` is one of the terms that are there, and all of them are
 * overwritten. Addition commutes to the bit, so that which of two numbers is added to the other does not show. */
LK_MUST_CHECK lk_status lk_sum_tree_add_on(const lk_sum_tree *tree, lk_device *device, lk_stream *stream,
                                           void *const *terms, void *out, int64_t count, lk_error *err);

#endif
