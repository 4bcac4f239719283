/* Which neighbours become one op. A node that another's op takes in is skipped: it keeps its place in the graph, and
 * all that reads its value or gives it a gradient turns to that op. A mean whose gradient another's op spreads has a
 * call in the forward pass only. */
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
    plan->nodes[conv].makes = id;
    plan->nodes[id].skipped = true;
}

/* Is `id` the first of at most two nodes that read the value of x? Gradients arrive from the last reader to the first,
 * and a BATCHNORM takes the last of them as that of a mean. */
static bool is_first_of_two(const lk_graph *graph, lk_node_id id, lk_node_id x) {
    int readers = x == graph->logits;
    for (int i = x + 1; i < graph->count; i++) {
        int reads = (graph->nodes[i].x == x) + (graph->nodes[i].residual == x);
        if (reads > 0 && i < id) return false;
        readers += reads;
    }
    return readers <= 2;
}

/* A normalisation takes in the gradient of the mean behind it. */
static void fuse_mean(lk_plan *plan, lk_node_id id) {
    const lk_graph *graph = plan->graph;
    lk_node_id norm = graph->nodes[id].x;
    lk_device *device = plan->device;
    if (!plan->options.training || graph->nodes[norm].op.kind != LK_OP_BATCHNORM) return;
    if (!has_one_reader(graph, id) || !is_first_of_two(graph, id, norm)) return;
    lk_op_desc desc = asked_for(plan, norm);
    desc.batchnorm.mean_dy = true;
    if (device->takes_two_dy == NULL || !device->takes_two_dy(device, desc.kind) || !device->fuses(device, &desc))
        return;
    plan->nodes[norm].desc.batchnorm.mean_dy = true;
    plan->nodes[id].hands_on = true;
}

/* A normalisation takes in the maximum pooling behind it. */
static void fuse_pool(lk_plan *plan, lk_node_id id) {
    const lk_graph *graph = plan->graph;
    lk_node_id norm = graph->nodes[id].x;
    if (!plan->options.training || graph->nodes[norm].op.kind != LK_OP_BATCHNORM || plan->options.group > 1) return;
    if (!has_one_reader(graph, norm)) return;
    lk_op_desc desc = asked_for(plan, norm);
    desc.batchnorm.pool.kernel = graph->nodes[id].op.maxpool.kernel;
    desc.batchnorm.pool.stride = graph->nodes[id].op.maxpool.stride;
    desc.batchnorm.pool.pad = graph->nodes[id].op.maxpool.pad;
    if (!plan->device->fuses(plan->device, &desc)) return;
    plan->nodes[norm].desc.batchnorm.pool = desc.batchnorm.pool;
    plan->nodes[norm].makes = id;
    plan->nodes[id].skipped = true;
}

void lk_plan_fuse(lk_plan *plan) {
    const lk_graph *graph = plan->graph;
    for (int i = 0; i < graph->count; i++) {
        plan->nodes[i].desc = graph->nodes[i].op;
        plan->nodes[i].makes = i;
        plan->nodes[i].skipped = !plan->options.training && graph->nodes[i].op.kind == LK_OP_DROPOUT;
    }
    if (plan->device->fuses == NULL) return;
    for (int i = 0; i < graph->count; i++) {
        if (graph->nodes[i].op.kind == LK_OP_ACTIVATION) fuse_activation(plan, i);
        if (graph->nodes[i].op.kind == LK_OP_GLOBAL_AVGPOOL) fuse_mean(plan, i);
        if (graph->nodes[i].op.kind == LK_OP_MAXPOOL) fuse_pool(plan, i);
    }
}
