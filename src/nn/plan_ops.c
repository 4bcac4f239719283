/* Plans each node's op on the device: descriptors follow from the producers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nn/plan_internal.h"

static lk_act_desc input_desc(const lk_graph *graph, int64_t batch) {
    return (lk_act_desc){.dtype = LK_U8,
                         .n = batch,
                         .c = graph->in_channels,
                         .h = graph->in_h,
                         .w = graph->in_w,
                         .block = graph->in_channels};
}

static lk_status check_batchnorm(const lk_plan *plan, const lk_node *node, lk_error *err) {
    int64_t values = plan->options.batch * node->h * node->w;
    if (node->op.kind != LK_OP_BATCHNORM || !plan->options.training || node->op.batchnorm.fixed || values >= 2)
        return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "BatchNorm %s would see %" PRId64 " value a channel in a microbatch of %" PRId64
                   " and needs at least 2: set drop_last: true, another batch or larger images",
                   node->name, values, plan->options.batch);
}

/* The two operands of a residual add must lie alike in memory: no op converts layouts in between. */
static lk_status check_residual(const lk_plan *plan, const lk_node *node, const lk_act_desc *y, lk_error *err) {
    if (node->residual < 0 || node->op.kind == LK_OP_SCALE) return LK_OK;
    const lk_act_desc *r = &plan->nodes[node->residual].info.y;
    if (r->block == y->block && r->dtype == y->dtype) return LK_OK;
    char ours[32], theirs[32];
    return lk_fail(err, LK_ERR_UNSUPPORTED,
                   "device %s gave layer %s the layout %s %s and its residual %s the layout %s %s, which it cannot add",
                   plan->device->name, node->name, lk_plan_layout_name(y, ours, sizeof ours), lk_dtype_name(y->dtype),
                   plan->graph->nodes[node->residual].name, lk_plan_layout_name(r, theirs, sizeof theirs),
                   lk_dtype_name(r->dtype));
}

static lk_status check_output(const lk_plan *plan, const lk_node *node, const lk_act_desc *y, lk_error *err) {
    if (y->n == plan->options.batch && y->c == node->c && y->h == node->h && y->w == node->w && y->block >= 1)
        return LK_OK;
    return lk_fail(err, LK_ERR_INTERNAL,
                   "device %s planned layer %s with the output %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64
                   " instead of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64,
                   plan->device->name, node->name, y->n, y->c, y->h, y->w, plan->options.batch, node->c, node->h,
                   node->w);
}

lk_dtype lk_plan_stored_type(const lk_plan *plan) {
    return plan->options.compute == LK_TF32 ? LK_F32 : plan->options.compute;
}

/* With the choices that are to be taken again, and where the device cannot take one, without. */
static lk_status plan_chosen(lk_plan *plan, int i, lk_error *err) {
    lk_plan_node *planned = &plan->nodes[i];
    lk_device *device = plan->device;
    const char *chosen[LK_PASS_COUNT];
    char key[LK_CHOICE_KEY_SIZE];
    lk_error reason = {0};
    bool any = false;
    for (lk_op_pass pass = 0; pass < LK_PASS_COUNT; pass++) {
        lk_choice_key(key, sizeof key, plan->graph->nodes[i].name, &planned->desc, pass);
        chosen[pass] = lk_choices_find(plan->options.choices, key);
        any = any || chosen[pass] != NULL;
    }
    if (!any) return device->op_plan(device, &planned->op, &planned->desc, &planned->info, err);
    planned->desc.chosen = chosen;
    lk_status status = device->op_plan(device, &planned->op, &planned->desc, &planned->info, &reason);
    planned->desc.chosen = NULL;
    if (status != LK_ERR_UNSUPPORTED) return status == LK_OK ? LK_OK : lk_fail(err, status, "%s", reason.message);
    if (plan->declined[0] == '\0')
        snprintf(plan->declined, sizeof plan->declined, "layer %s: %.600s", plan->graph->nodes[i].name, reason.message);
    return device->op_plan(device, &planned->op, &planned->desc, &planned->info, err);
}

/* Plans node i. On LK_ERR_UNSUPPORTED info.y is set all the same, to what the graph says, so that later layers can be
 * asked for too. */
static lk_status plan_node(lk_plan *plan, int i, lk_error *err) {
    const lk_node *node = &plan->graph->nodes[i];
    lk_plan_node *planned = &plan->nodes[i];
    LK_RETURN_IF(check_batchnorm(plan, node, err));
    planned->desc.x = node->x >= 0 ? plan->nodes[node->x].info.y : input_desc(plan->graph, plan->options.batch);
    planned->desc.compute = lk_plan_stored_type(plan);
    planned->desc.tf32 = plan->options.compute == LK_TF32;
    if (node->op.kind == LK_OP_BATCHNORM && planned->desc.training && !planned->desc.batchnorm.fixed)
        planned->desc.batchnorm.group = plan->options.group;
    if (node->op.kind == LK_OP_SCALE) planned->desc.scale.gate = plan->nodes[node->residual].info.y;
    if (planned->skipped) {
        planned->info.y = planned->desc.x;
        return LK_OK;
    }
    const lk_plan *like = plan->options.like;
    if (like != NULL && i < like->graph->count) planned->desc.like = like->nodes[i].op;
    lk_status status = plan_chosen(plan, i, err);
    planned->desc.like = NULL;
    const lk_node *made = &plan->graph->nodes[planned->makes];
    if (status == LK_OK) status = check_output(plan, made, &planned->info.y, err);
    if (status == LK_OK) status = check_residual(plan, node, &planned->info.y, err);
    if (status == LK_ERR_UNSUPPORTED)
        planned->info.y = (lk_act_desc){.dtype = lk_plan_stored_type(plan),
                                        .n = plan->options.batch,
                                        .c = made->c,
                                        .h = made->h,
                                        .w = made->w,
                                        .block = planned->desc.x.block};
    return status;
}

lk_status lk_plan_ops(lk_plan *plan, lk_error *err) {
    int missing = 0, first = -1;
    lk_error why = {0};
    for (int i = 0; i < plan->graph->count; i++) {
        lk_error found = {0};
        lk_status status = plan_node(plan, i, &found);
        if (status == LK_ERR_UNSUPPORTED) {
            if (missing++ == 0) {
                first = i;
                why = found;
            }
        } else if (status != LK_OK) {
            return lk_fail(err, status, "%s", found.message);
        }
    }
    if (missing == 0) return LK_OK;
    char more[64] = "";
    if (missing > 1) snprintf(more, sizeof more, " (and %d more layer%s)", missing - 1, missing > 2 ? "s" : "");
    /* The device's own sentence names op, shape, type and device. */
    return lk_fail(err, LK_ERR_UNSUPPORTED, "layer %s cannot run%s: %.800s", plan->graph->nodes[first].name, more,
                   why.message);
}

lk_status lk_plan_choices(const lk_plan *plan, lk_choices *choices, lk_error *err) {
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_plan_node *planned = &plan->nodes[i];
        for (lk_op_pass pass = 0; !planned->skipped && pass < LK_PASS_COUNT; pass++) {
            char key[LK_CHOICE_KEY_SIZE];
            if (planned->info.chosen[pass][0] == '\0') continue;
            lk_choice_key(key, sizeof key, plan->graph->nodes[i].name, &planned->desc, pass);
            LK_RETURN_IF(lk_choices_add(choices, key, planned->info.chosen[pass], err));
        }
    }
    return LK_OK;
}
