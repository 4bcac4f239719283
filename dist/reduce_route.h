/* Who sums which slice of a bucket, and whom it goes to.
 *
 * A bucket is cut into one slice per rank. Slice p belongs to owner[p], which makes its total. On every node one rank
 * handles slice p: it sums the slices of its neighbours, sends the node's sum to the owner and brings the total back.
 * An owner handles its slice on its own node. Slices are ordered so that, where nodes have as many ranks each, those of
 * one handler lie side by side and travel in one message. With one level all ranks count as one node. */
#ifndef LK_DIST_REDUCE_ROUTE_H
#define LK_DIST_REDUCE_ROUTE_H

#include "core/error.h"
#include "core/tree.h"

typedef struct lk_route {
    int ranks, levels;
    int node_count;
    int *node_first; /* node_count + 1 entries: ranks [node_first[k], node_first[k + 1]) are node k's */
    int *owner;      /* ranks entries */
    int *node_of;    /* ranks entries */
} lk_route;

/* nodes: ranks entries, the node of each rank, ascending from 0. Two levels where there are several nodes, one of them
 * with several ranks, and every node's leaves are a node of the tree over `leaves`. Owner of *route: the caller, with
 * lk_route_free. Not Collective. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_route_create(lk_route *route, int leaves, int ranks, const int *nodes, lk_error *err);
void lk_route_free(lk_route *route);

/* The rank of `node` that handles slice p. Not Collective. */
int lk_route_handler(const lk_route *route, int node, int slice);

/* Slices [*first, *end): the next run that `rank` handles on its node, looking from *end on (0 at first). Returns false
 * when there is none. Not Collective. */
bool lk_route_next_run(const lk_route *route, int rank, int *first, int *end);

/* Leaves of a node's ranks. Not Collective. */
lk_span lk_route_node_span(const lk_route *route, int leaves, int node);

#endif
