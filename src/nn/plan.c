#include "nn/plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/memory.h"
#include "nn/plan_internal.h"

#define MAX_BATCH (1 << 20)

bool lk_plan_has_params(lk_op_kind kind) {
    return kind == LK_OP_CONV2D || kind == LK_OP_BATCHNORM || kind == LK_OP_LINEAR;
}

char *lk_plan_layout_name(const lk_act_desc *desc, char *text, size_t size) {
    if (desc->h == 1 && desc->w == 1)
        snprintf(text, size, "NC");
    else if (desc->block == 1)
        snprintf(text, size, "NCHW");
    else if (desc->block == desc->c)
        snprintf(text, size, "NHWC");
    else
        snprintf(text, size, "nChw%" PRId64 "c", desc->block);
    return text;
}

static lk_status check_options(const lk_graph *graph, lk_device *device, const lk_plan_options *options,
                               lk_error *err) {
    if (options->batch < 1 || options->batch > MAX_BATCH)
        return lk_fail(err, LK_ERR_CONFIG, "a microbatch of %" PRId64 " samples is outside 1..%d", options->batch,
                       MAX_BATCH);
    if (graph->logits < 0) return lk_fail(err, LK_ERR_CONFIG, "the model has no linear layer that gives logits");
    if (options->training && graph->nodes[graph->count - 1].op.kind != LK_OP_LOSS)
        return lk_fail(err, LK_ERR_CONFIG, "a plan for training needs a loss as the last layer");
    if (options->like != NULL && options->like->device != device)
        return lk_fail(err, LK_ERR_INTERNAL, "a plan and the plan whose layout it keeps are for two devices");
    return device->supports_dtype(device, options->compute, err);
}

lk_status lk_plan_create(lk_plan **out, const lk_graph *graph, lk_device *device, const lk_plan_options *options,
                         lk_error *err) {
    *out = NULL;
    LK_RETURN_IF(check_options(graph, device, options, err));
    lk_plan *plan = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&plan, 1, "a plan", err));
    plan->graph = graph;
    plan->device = device;
    plan->options = *options;
    if (device->master == LK_F64) plan->options.compute = LK_F64;
    plan->workspace = -1;
    LK_TRY(LK_NEW(&plan->nodes, graph->count, "a plan's layers", err));
    lk_plan_fuse(plan);
    LK_TRY(lk_plan_find_gradients(plan, err));
    LK_TRY(lk_plan_ops(plan, err));
    LK_TRY(lk_plan_slabs(plan, err));
    lk_plan_choose_again(plan);
    LK_TRY(lk_plan_forward_buffers(plan, err));
    LK_TRY(lk_plan_backward_calls(plan, err));
    LK_TRY(lk_plan_arena(plan, err));
    plan->options.like = NULL; /* used while compiling only, both */
    plan->options.choices = NULL;
    *out = plan;
    return LK_OK;
out:
    lk_plan_free(plan);
    return status;
}

void lk_plan_free(lk_plan *plan) {
    if (plan == NULL) return;
    for (int i = 0; plan->nodes != NULL && i < plan->graph->count; i++)
        if (plan->nodes[i].op != NULL) plan->device->op_free(plan->device, plan->nodes[i].op);
    for (int i = 0; i < plan->add_count; i++)
        if (plan->adds[i].op != NULL) plan->device->op_free(plan->device, plan->adds[i].op);
    lk_free(plan->nodes);
    lk_free(plan->backward);
    lk_free(plan->adds);
    lk_free(plan->params);
    lk_free(plan->stats);
    lk_free(plan->live);
    lk_free(plan);
}

const char *lk_plan_declined(const lk_plan *plan) { return plan->declined; }

void lk_plan_get_totals(const lk_plan *plan, lk_plan_totals *totals) { *totals = plan->totals; }

const lk_param *lk_plan_get_params(const lk_plan *plan, int *count) {
    *count = plan->param_count;
    return plan->params;
}

const lk_stat *lk_plan_get_stats(const lk_plan *plan, int *count) {
    *count = plan->stat_count;
    return plan->stats;
}
