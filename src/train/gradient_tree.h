/* The sums of one rank's microbatches: which slab each writes, and who adds what when a bucket of one is complete. The
 * operands of every sum are fixed by the tree over chains of microbatches (core/tree.h); only the moment is not, so any
 * order of events gives the same bits. */
#ifndef LK_TRAIN_GRADIENT_TREE_H
#define LK_TRAIN_GRADIENT_TREE_H

#include <pthread.h>

#include "core/tree.h"
#include "device/device.h"

typedef struct lk_gradient_tree {
    lk_device *device; /* borrowed */
    int leaves;        /* m */
    int chain;         /* microbatches that are added from left to right; 1: the tree's leaves are microbatches */
    lk_span share;     /* this rank's subtree */
    int present;       /* leaves of the window that exist */
    int64_t slab_count;
    const int64_t *bucket_begins, *bucket_ends; /* borrowed; element offsets */
    int buckets;

    void **slabs; /* device memory; the share's total is in slabs[0] */
    bool *slab_used;
    int slab_total;
    int *slab_of_leaf; /* by leaf - share.first */
    int *arrived;      /* [right operand's first leaf - share.first][bucket]: operands that are complete */
    int *merged;       /* by right operand's first leaf - share.first: buckets added */
    int *done;         /* buckets of the share's total, in order of completion */
    int done_count;
    pthread_mutex_t mutex;
} lk_gradient_tree;

/* chain divides leaves and the share. lanes: leaves that run at once. Owner: the caller, with lk_gradient_tree_free
 * (the content, not the struct). Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_gradient_tree_create(lk_gradient_tree *tree, lk_device *device, int leaves, int chain,
                                                lk_span share, int lanes, int64_t slab_count,
                                                const int64_t *bucket_begins, const int64_t *bucket_ends, int buckets,
                                                lk_error *err);
void lk_gradient_tree_free(lk_gradient_tree *tree);

/* Starts a window of `present` leaves. */
void lk_gradient_tree_begin(lk_gradient_tree *tree, int present);
/* Slab for a leaf that starts now. Any thread. Errors: LK_ERR_INTERNAL when lk_tree_slabs promised too few. */
LK_MUST_CHECK lk_status lk_gradient_tree_take(lk_gradient_tree *tree, int leaf, void **slab, lk_error *err);
/* Bucket b of a leaf's slab is complete: adds it up the tree as far as its siblings are complete. Any thread. */
LK_MUST_CHECK lk_status lk_gradient_tree_complete(lk_gradient_tree *tree, lk_stream *stream, int leaf, int bucket,
                                                  lk_error *err);
/* Takes one bucket of the share's total that is complete and not yet taken; -1 when there is none. Any thread. */
int lk_gradient_tree_next(lk_gradient_tree *tree, int *taken);

#endif
