/* Which neighbours become one op. A node that another's op takes in is skipped: it keeps its place in the graph, and
 * all that reads its value or gives it a gradient turns to that op. */
#include "nn/plan_internal.h"

lk_node_id lk_plan_maker(const lk_plan *plan, lk_node_id node) {
    while (node >= 0 && plan->nodes[node].skipped) node = plan->graph->nodes[node].x;
    return node;
}

/* Is the value of `id` read by one node alone, as its x? */
static bool has_one_reader(const lk_graph *graph, lk_node_id id) {
    int readers = id == graph->logits;
    for (int i = id + 1; i < graph->count; i++)
        readers += (graph->nodes[i].x == id) + 2 * (graph->nodes[i].residual == id);
    return readers == 1;
}

/* The description of a node as far as a device needs it to say whether it fuses. */
static lk_op_desc asked_for(const lk_plan *plan, lk_node_id id) {
    lk_op_desc desc = plan->nodes[id].desc;
    const lk_node *x = &plan->graph->nodes[plan->graph->nodes[id].x];
    desc.training = plan->options.training;
    desc.compute = lk_plan_stored_type(plan);
    desc.x = (lk_act_desc){.n = plan->options.batch, .c = x->c, .h = x->h, .w = x->w};
    return desc;
}

/* A convolution takes in the activation behind it. */
static void fuse_activation(lk_plan *plan, lk_node_id id) {
    const lk_graph *graph = plan->graph;
    lk_node_id conv = graph->nodes[id].x;
    if (graph->nodes[conv].op.kind != LK_OP_CONV2D || !has_one_reader(graph, conv)) return;
    lk_op_desc desc = asked_for(plan, conv);
    desc.conv.act = graph->nodes[id].op.activation.act;
    if (!plan->device->fuses(plan->device, &desc)) return;
    plan->nodes[conv].desc.conv.act = desc.conv.act;
    plan->nodes[conv].inner = true;
    plan->nodes[id].skipped = true;
}

void lk_plan_fuse(lk_plan *plan) {
    const lk_graph *graph = plan->graph;
    for (int i = 0; i < graph->count; i++) {
        plan->nodes[i].desc = graph->nodes[i].op;
        plan->nodes[i].skipped = !plan->options.training && graph->nodes[i].op.kind == LK_OP_DROPOUT;
    }
    if (plan->device->fuses == NULL) return;
    for (int i = 0; i < graph->count; i++)
        if (graph->nodes[i].op.kind == LK_OP_ACTIVATION) fuse_activation(plan, i);
}
