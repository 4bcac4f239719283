/* Which parameters of a graph are trained. */
#include <stdio.h>

#include "core/patterns.h"
#include "nn/graph.h"

int lk_node_param_count(const lk_node *node) {
    if (node->op.kind == LK_OP_CONV2D) return node->op.conv.bias ? 2 : 1;
    return node->op.kind == LK_OP_BATCHNORM || node->op.kind == LK_OP_LINEAR ? 2 : 0;
}

const char *lk_param_suffix(int index) { return index == 0 ? "weight" : "bias"; }

/* Elements of parameter k. */
static int64_t element_count(const lk_graph *graph, const lk_node *node, int k) {
    const lk_node *x = &graph->nodes[node->x];
    if (k > 0 || node->op.kind == LK_OP_BATCHNORM) return node->c;
    if (node->op.kind == LK_OP_LINEAR) return node->c * x->c;
    return node->c * (x->c / node->op.conv.groups) * node->op.conv.kernel_h * node->op.conv.kernel_w;
}

/* Marks one layer; adds up what is left to train. */
static void freeze_node(lk_graph *graph, lk_node *node, lk_patterns *patterns, int64_t *trained) {
    int params = lk_node_param_count(node), frozen = 0;
    char name[LK_NAME_SIZE + 16];
    for (int k = 0; k < params; k++) {
        snprintf(name, sizeof name, "%s.%s", node->name, lk_param_suffix(k));
        node->frozen[k] = lk_patterns_match(patterns, name);
        frozen += node->frozen[k];
        if (!node->frozen[k]) *trained += element_count(graph, node, k);
    }
    node->op.frozen = params > 0 && frozen == params;
}

lk_status lk_graph_freeze(lk_graph *graph, const char *names, bool fix_batchnorm, int64_t *trained, lk_error *err) {
    lk_patterns patterns;
    int fixed = 0;
    *trained = 0;
    LK_RETURN_IF(lk_patterns_parse(&patterns, names, "freeze.names", err));
    for (int i = 0; i < graph->count; i++) {
        lk_node *node = &graph->nodes[i];
        freeze_node(graph, node, &patterns, trained);
        bool fix = fix_batchnorm && node->op.kind == LK_OP_BATCHNORM && node->op.frozen;
        if (node->op.kind == LK_OP_BATCHNORM) node->op.batchnorm.fixed = fix;
        fixed += fix;
    }
    LK_RETURN_IF(lk_patterns_check(&patterns, "freeze.names", "parameter of the model", err));
    if (*trained == 0)
        return lk_fail(
            err, LK_ERR_CONFIG,
            "freeze.names freezes every parameter of the model: leave some to train, or use `lockstep eval`");
    if (fix_batchnorm && fixed == 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "freeze.batchnorm is true, but freeze.names freezes no whole BatchNorm layer whose statistics "
                       "could stay as they are");
    return LK_OK;
}
