/* What a plan on the fake device makes one op of, found from the graph alone. */
#ifndef LK_TESTS_FUSED_H
#define LK_TESTS_FUSED_H

#include "nn/graph.h"

/* Is this an activation behind a convolution, or maximum pooling behind a BATCHNORM, that nobody else reads? */
static inline bool may_be_fused(const lk_graph *g, lk_node_id id) {
    lk_node_id x = g->nodes[id].x;
    lk_op_kind kind = g->nodes[id].op.kind;
    if (kind != LK_OP_ACTIVATION && kind != LK_OP_MAXPOOL) return false;
    if (g->nodes[x].op.kind != (kind == LK_OP_ACTIVATION ? LK_OP_CONV2D : LK_OP_BATCHNORM)) return false;
    if (kind == LK_OP_MAXPOOL && g->nodes[x].op.batchnorm.residual) return false;
    for (int i = 0; i < g->count; i++)
        if (i != id && (g->nodes[i].x == x || g->nodes[i].residual == x)) return false;
    return true;
}

/* Is this a mean, whose gradient goes to the BATCHNORM before it as it is? That has one more reader at most, later. */
static inline bool may_hand_on(const lk_graph *g, lk_node_id id) {
    lk_node_id x = g->nodes[id].x;
    if (g->nodes[id].op.kind != LK_OP_GLOBAL_AVGPOOL || g->nodes[x].op.kind != LK_OP_BATCHNORM) return false;
    int readers = 0, of_mean = 0;
    for (int i = x + 1; i < g->count; i++) {
        bool reads = g->nodes[i].x == x || g->nodes[i].residual == x;
        if (reads && i < id) return false;
        readers += reads;
        of_mean += g->nodes[i].x == id || g->nodes[i].residual == id;
    }
    return readers <= 2 && of_mean == 1 && !g->nodes[x].op.batchnorm.residual;
}

#endif
