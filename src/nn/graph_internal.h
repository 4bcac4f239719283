/* What the files of graph builders share. Only src/nn/graph*.c include it. */
#ifndef LK_NN_GRAPH_INTERNAL_H
#define LK_NN_GRAPH_INTERNAL_H

#include "nn/graph.h"

/* Appends a node with the shape of x; NULL with *status set where that fails. The pointer holds until the next call.
 * Errors: LK_ERR_CONFIG for a name that is taken or unfit, an x that does not exist, or after the loss; LK_ERR_MEMORY.
 */
lk_node *lk_graph_append(lk_graph *g, lk_op_kind kind, const char *name, lk_node_id x, lk_status *status,
                         lk_error *err);

/* Drops the node that lk_graph_append just made. */
void lk_graph_drop_last(lk_graph *g);

#endif
