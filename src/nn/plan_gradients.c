/* Which gradients are wanted, and the calls of the backward pass with their buffers. */
#include <assert.h>

#include "core/memory.h"
#include "nn/plan_internal.h"

/* How many gradient tensors the backward of this kind reads at once. */
static int slots(const lk_plan *plan, lk_op_kind kind) {
    return plan->device->takes_two_dy != NULL && plan->device->takes_two_dy(plan->device, kind) ? 2 : 1;
}

static bool draws(const lk_op_desc *op) {
    return op->kind == LK_OP_DROPOUT || (op->kind == LK_OP_BATCHNORM && op->batchnorm.drop_path > 0);
}

/* Is a parameter of this layer trained? */
static bool is_trained(const lk_node *node) { return lk_plan_has_params(node->op.kind) && !node->op.frozen; }

/* Does the forward pass of training differ, so that it must be that one also where nothing goes back? */
static bool trains_forward(lk_op_kind kind) { return kind == LK_OP_BATCHNORM || kind == LK_OP_DROPOUT; }

static void find_gradients_of(lk_plan *plan, lk_node_id id) {
    const lk_node *node = &plan->graph->nodes[id];
    lk_plan_node *planned = &plan->nodes[id];
    bool training = plan->options.training;
    if (planned->skipped) {
        planned->needs_grad = plan->nodes[node->x].needs_grad;
        return;
    }
    planned->desc.need_dx = training && node->x >= 0 && plan->nodes[node->x].needs_grad;
    bool residual = training && node->residual >= 0 && plan->nodes[node->residual].needs_grad;
    planned->needs_grad = planned->desc.need_dx || residual || (training && is_trained(node));
    planned->has_backward = planned->needs_grad;
    planned->desc.training = planned->needs_grad || (training && trains_forward(node->op.kind));
    if (!training) planned->desc.frozen = false;
    if (!training && node->op.kind == LK_OP_BATCHNORM) planned->desc.batchnorm.fixed = false;
    if (planned->desc.need_dx) plan->nodes[lk_plan_maker(plan, node->x)].contributions++;
    if (planned->hands_on) planned->has_backward = planned->desc.training = planned->desc.need_dx = false;
    if (residual) plan->nodes[lk_plan_maker(plan, node->residual)].contributions++;
}

lk_status lk_plan_find_gradients(lk_plan *plan, lk_error *err) {
    const lk_graph *graph = plan->graph;
    uint32_t layers = 0;
    for (int i = 0; i < graph->count; i++) {
        plan->nodes[i].desc.layer = draws(&graph->nodes[i].op) ? layers++ : 0;
        find_gradients_of(plan, i);
    }
    if (plan->options.training && !plan->nodes[graph->count - 1].needs_grad)
        return lk_fail(err, LK_ERR_CONFIG, "nothing is left to train: every parameter that reaches the loss is frozen");
    for (int i = 0; i < graph->count; i++) {
        lk_plan_node *planned = &plan->nodes[i];
        lk_op_kind kind = graph->nodes[i].op.kind;
        if (planned->has_backward && planned->contributions == 0 && kind != LK_OP_LOSS)
            return lk_fail(err, LK_ERR_CONFIG, "layer %s has no way to the loss: remove it or use its output",
                           graph->nodes[i].name);
        int most = slots(plan, kind);
        planned->desc.dy_count = planned->contributions < most ? planned->contributions : most;
    }
    return LK_OK;
}

/* Gradients of each value that have arrived and wait for its producer's backward: at most two, since more are summed
 * as they come. */
typedef struct arrivals {
    int buffer[2];
    int count, missing;
} arrivals;

static lk_status append_step(lk_plan *plan, lk_plan_step step, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&plan->backward, &plan->backward_capacity, (size_t)plan->backward_count + 1,
                         sizeof *plan->backward, "the backward pass", err));
    plan->backward[plan->backward_count++] = step;
    return LK_OK;
}

/* The number that the next backward call will have. */
static int next_step(const lk_plan *plan) { return plan->graph->count + plan->backward_count; }

static lk_status append_add(lk_plan *plan, lk_node_id value, int a, int b, int *sum, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&plan->adds, &plan->add_capacity, (size_t)plan->add_count + 1, sizeof *plan->adds,
                         "gradient sums", err));
    lk_plan_add *add = &plan->adds[plan->add_count];
    *add = (lk_plan_add){.value = value, .a = a, .b = b, .sum = -1};
    const lk_act_desc *y = &plan->nodes[value].info.y;
    lk_op_desc desc = {.kind = LK_OP_ADD, .x = *y, .compute = y->dtype, .add = {.act = LK_ACT_NONE}};
    LK_RETURN_IF(plan->device->op_plan(plan->device, &add->op, &desc, &add->info, err));
    plan->add_count++;
    if (add->info.y.block != y->block || add->info.y.dtype != y->dtype)
        return lk_fail(err, LK_ERR_INTERNAL, "device %s sums two gradients of %s into another layout",
                       plan->device->name, plan->graph->nodes[value].name);
    int step = next_step(plan);
    LK_RETURN_IF(lk_plan_buffer(plan, &add->sum, lk_act_bytes(y), step, err));
    lk_plan_use(plan, a, step);
    lk_plan_use(plan, b, step);
    *sum = add->sum;
    return append_step(plan, (lk_plan_step){.node = value, .add = plan->add_count - 1}, err);
}

/* A gradient of the value of `node` lies in `buffer`. The order of summation is the order of arrival, which the graph
 * fixes. */
static lk_status arrive(lk_plan *plan, arrivals *all, lk_node_id node, int buffer, lk_error *err) {
    lk_node_id value = lk_plan_maker(plan, node);
    arrivals *at = &all[value];
    at->buffer[at->count++] = buffer;
    at->missing--;
    if (at->count < 2 || at->missing + 2 <= slots(plan, plan->graph->nodes[value].op.kind)) return LK_OK;
    at->count = 1;
    return append_add(plan, value, at->buffer[0], at->buffer[1], &at->buffer[0], err);
}

/* Computes a value again where it is not there; what it is made of comes first. */
static lk_status compute_again(lk_plan *plan, lk_node_id node, lk_error *err) {
    lk_node_id id = lk_plan_maker(plan, node);
    if (id < 0 || !plan->nodes[id].again || plan->nodes[id].again_y >= 0) return LK_OK;
    lk_plan_node *planned = &plan->nodes[id];
    lk_node_id x = plan->graph->nodes[id].x;
    LK_RETURN_IF(compute_again(plan, x, err));
    int step = next_step(plan);
    LK_RETURN_IF(lk_plan_buffer(plan, &planned->again_y, lk_act_bytes(&planned->info.y), step, err));
    lk_plan_use(plan, lk_plan_value(plan, x), step);
    lk_plan_use(plan, planned->stash, step);
    return append_step(plan, (lk_plan_step){.node = id, .add = -1, .again = true}, err);
}

/* What a node's backward reads of the forward pass is there, and stays until its call. */
static lk_status use_kept(lk_plan *plan, lk_node_id id, lk_error *err) {
    const lk_node *node = &plan->graph->nodes[id];
    lk_plan_node *planned = &plan->nodes[id];
    if (planned->info.keeps_x) LK_RETURN_IF(compute_again(plan, node->x, err));
    if (planned->info.keeps_residual) LK_RETURN_IF(compute_again(plan, node->residual, err));
    int step = next_step(plan);
    lk_plan_use(plan, planned->stash, step);
    if (planned->info.keeps_y) lk_plan_use(plan, planned->y, step);
    if (planned->info.keeps_x) lk_plan_use(plan, lk_plan_value(plan, node->x), step);
    if (planned->info.keeps_residual) lk_plan_use(plan, lk_plan_value(plan, node->residual), step);
    return LK_OK;
}

static lk_status backward_node(lk_plan *plan, arrivals *all, lk_node_id id, lk_error *err) {
    const lk_node *node = &plan->graph->nodes[id];
    lk_plan_node *planned = &plan->nodes[id];
    assert(all[id].missing == 0 && all[id].count == planned->desc.dy_count);
    LK_RETURN_IF(use_kept(plan, id, err));
    int step = next_step(plan);
    for (int k = 0; k < all[id].count; k++) {
        planned->dy[k] = all[id].buffer[k];
        lk_plan_use(plan, planned->dy[k], step);
    }
    if (planned->desc.need_dx)
        LK_RETURN_IF(lk_plan_buffer(plan, &planned->dx, lk_act_bytes(&planned->desc.x), step, err));
    if (planned->info.unfinished_bytes > 0)
        LK_RETURN_IF(lk_plan_buffer(plan, &planned->unfinished, planned->info.unfinished_bytes, step, err));
    bool residual = node->residual >= 0 && plan->nodes[node->residual].needs_grad;
    /* A gradient is read by one call only, so dy[0] ends here and its memory serves for the residual's gradient. */
    if (node->residual >= 0 && node->op.kind != LK_OP_SCALE)
        planned->dresidual = planned->dy[0];
    else if (residual)
        LK_RETURN_IF(lk_plan_buffer(plan, &planned->dresidual, lk_act_bytes(&planned->desc.scale.gate), step, err));
    LK_RETURN_IF(append_step(plan, (lk_plan_step){.node = id, .add = -1}, err));
    if (residual) LK_RETURN_IF(arrive(plan, all, node->residual, planned->dresidual, err));
    if (planned->desc.need_dx) LK_RETURN_IF(arrive(plan, all, node->x, planned->dx, err));
    return LK_OK;
}

lk_status lk_plan_backward_calls(lk_plan *plan, lk_error *err) {
    if (!plan->options.training) return LK_OK;
    arrivals *all = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&all, plan->graph->count, "the backward pass", err));
    for (int i = 0; i < plan->graph->count; i++) all[i].missing = plan->nodes[i].contributions;
    for (int i = plan->graph->count - 1; i >= 0; i--) {
        const lk_plan_node *planned = &plan->nodes[i];
        if (planned->has_backward) LK_TRY(backward_node(plan, all, i, err));
        if (planned->hands_on && planned->needs_grad)
            LK_TRY(arrive(plan, all, plan->graph->nodes[i].x, all[i].buffer[0], err));
    }
out:
    lk_free(all);
    return status;
}
