/* Buffers of the forward pass, the shared workspace, and the arena that holds all. */
#include <assert.h>

#include "core/memory.h"
#include "nn/plan_internal.h"

lk_status lk_plan_buffer(lk_plan *plan, int *out, int64_t bytes, int step, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&plan->live, &plan->live_capacity, (size_t)plan->live_count + 1, sizeof *plan->live,
                         "a plan's buffers", err));
    plan->live[plan->live_count] = (lk_live){.bytes = bytes, .first = step, .last = step};
    *out = plan->live_count++;
    return LK_OK;
}

void lk_plan_use(lk_plan *plan, int index, int step) {
    if (index >= 0 && plan->live[index].last < step) plan->live[index].last = step;
}

lk_status lk_plan_forward_buffers(lk_plan *plan, lk_error *err) {
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_node *node = &plan->graph->nodes[i];
        lk_plan_node *planned = &plan->nodes[i];
        planned->y = planned->stash = planned->dx = planned->dresidual = planned->dy[0] = planned->dy[1] = -1;
        planned->unfinished = -1;
        if (planned->skipped)
            planned->y = plan->nodes[node->x].y;
        else
            LK_RETURN_IF(lk_plan_buffer(plan, &planned->y, lk_act_bytes(&planned->info.y), i, err));
        if (planned->info.stash_bytes > 0)
            LK_RETURN_IF(lk_plan_buffer(plan, &planned->stash, planned->info.stash_bytes, i, err));
        if (node->x >= 0) lk_plan_use(plan, plan->nodes[node->x].y, i);
        if (node->residual >= 0) lk_plan_use(plan, plan->nodes[node->residual].y, i);
    }
    return LK_OK;
}

int lk_plan_finish_launches(const lk_plan *plan) {
    int each = plan->device->finished_at_once;
    return plan->finish_count == 0 ? 0 : (plan->finish_count + each - 1) / each;
}

/* What backward leaves unfinished lies where it is until the pass ends: where it is cut is not known here. */
static void keep_unfinished(lk_plan *plan, int last) {
    int64_t elements = 0;
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_plan_node *planned = &plan->nodes[i];
        if (!planned->has_backward || planned->info.bytes_finish == 0) continue;
        lk_plan_use(plan, planned->unfinished, last);
        plan->finish_count++;
        plan->finish_bytes += planned->info.bytes_finish;
        elements += planned->info.params[0].stored_count;
    }
    plan->finished = (lk_act_desc){plan->device->master, 1, elements, 1, 1, elements};
}

static void add_up(lk_plan *plan) {
    lk_plan_totals *totals = &plan->totals;
    totals->calls = plan->graph->count + plan->backward_count;
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_op_info *info = &plan->nodes[i].info;
        totals->calls -= plan->nodes[i].skipped;
        totals->flops += info->flops_forward;
        totals->bytes += info->bytes_forward;
        totals->launches += info->launches_forward;
        if (info->launches_refresh > 0) totals->refresh_launches = 1; /* gathered */
        if (!plan->nodes[i].has_backward) continue;
        totals->flops += info->flops_backward;
        totals->bytes += info->bytes_backward;
        totals->launches += info->launches_backward;
    }
    for (int i = 0; i < plan->backward_count; i++) {
        const lk_op_info *info = &plan->nodes[plan->backward[i].node].info;
        if (!plan->backward[i].again) continue;
        totals->flops += info->flops_forward;
        totals->bytes += info->bytes_again > 0 ? info->bytes_again : info->bytes_forward;
        totals->launches += info->launches_forward;
    }
    for (int i = 0; i < plan->add_count; i++) {
        totals->flops += plan->adds[i].info.flops_forward;
        totals->bytes += plan->adds[i].info.bytes_forward;
        totals->launches += plan->adds[i].info.launches_forward;
    }
    totals->bytes += plan->finish_bytes;
    totals->launches += lk_plan_finish_launches(plan);
}

lk_status lk_plan_arena(lk_plan *plan, lk_error *err) {
    const lk_graph *graph = plan->graph;
    int64_t workspace = 0;
    for (int i = 0; i < graph->count; i++)
        if (plan->nodes[i].info.workspace_bytes > workspace) workspace = plan->nodes[i].info.workspace_bytes;
    for (int i = 0; i < plan->add_count; i++)
        if (plan->adds[i].info.workspace_bytes > workspace) workspace = plan->adds[i].info.workspace_bytes;
    int last = graph->count + plan->backward_count - 1;
    if (workspace > 0) {
        LK_RETURN_IF(lk_plan_buffer(plan, &plan->workspace, workspace, 0, err));
        lk_plan_use(plan, plan->workspace, last);
    }
    keep_unfinished(plan, last);
    /* Logits and losses are read after the whole pass. */
    lk_plan_use(plan, plan->nodes[graph->logits].y, last);
    if (graph->nodes[graph->count - 1].op.kind == LK_OP_LOSS) lk_plan_use(plan, plan->nodes[graph->count - 1].y, last);
    LK_RETURN_IF(lk_arena_assign(plan->live, plan->live_count, &plan->totals.arena_bytes, err));
    add_up(plan);
    return LK_OK;
}
