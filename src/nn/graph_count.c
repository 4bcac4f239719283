#include "nn/graph.h"

static void count_node(const lk_graph *graph, const lk_node *node, int64_t *params, int64_t *multiply_adds) {
    int64_t inputs = node->x >= 0 ? graph->nodes[node->x].c : 0;
    if (node->op.kind == LK_OP_CONV2D) {
        int64_t window = inputs / node->op.conv.groups * node->op.conv.kernel_h * node->op.conv.kernel_w;
        *params += node->c * (window + (node->op.conv.bias ? 1 : 0));
        *multiply_adds += node->c * node->h * node->w * window;
    } else if (node->op.kind == LK_OP_LINEAR) {
        *params += node->c * (inputs + 1);
        *multiply_adds += node->c * inputs;
    } else if (node->op.kind == LK_OP_BATCHNORM) {
        *params += 2 * node->c;
    }
}

void lk_graph_count(const lk_graph *graph, int64_t *params, int64_t *multiply_adds) {
    *params = *multiply_adds = 0;
    for (int i = 0; i < graph->count; i++) count_node(graph, &graph->nodes[i], params, multiply_adds);
}
