/* Places parameters, statistics and derived copies in their slabs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "nn/plan_internal.h"

static int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

static void place_params(lk_plan *plan, lk_node_id id) {
    lk_plan_node *planned = &plan->nodes[id];
    planned->first_param = plan->param_count;
    for (int k = 0; k < planned->info.param_count; k++) {
        const lk_param_info *info = &planned->info.params[k];
        lk_param *param = &plan->params[plan->param_count++];
        *param = (lk_param){.role = info->role,
                            .shape = info->shape,
                            .offset = plan->totals.slab_count,
                            .stored_count = info->stored_count,
                            .node = id,
                            .index = k,
                            .frozen = plan->graph->nodes[id].frozen[k]};
        snprintf(param->name, sizeof param->name, "%s.%s", plan->graph->nodes[id].name, lk_param_suffix(k));
        plan->totals.params += lk_shape_count(&info->shape);
        plan->totals.slab_count += round_up(info->stored_count, LK_SLAB_ALIGNMENT);
    }
}

static void place_stats(lk_plan *plan, lk_node_id id) {
    lk_plan_node *planned = &plan->nodes[id];
    planned->stats_offset = plan->totals.stats_count;
    if (planned->info.stats_count == 0) return;
    const lk_node *node = &plan->graph->nodes[id];
    lk_stat *stat = &plan->stats[plan->stat_count++];
    *stat = (lk_stat){.channels = planned->info.stats_count / 2,
                      .offset = plan->totals.stats_count,
                      .values = plan->options.batch * node->h * node->w,
                      .momentum = node->momentum,
                      .fixed = node->op.batchnorm.fixed,
                      .node = id};
    snprintf(stat->name, sizeof stat->name, "%s", node->name);
    plan->totals.stats_count += round_up(planned->info.stats_count, LK_SLAB_ALIGNMENT);
}

static void place_derived(lk_plan *plan, lk_node_id id) {
    lk_plan_node *planned = &plan->nodes[id];
    planned->derived_offset = plan->totals.derived_bytes;
    plan->totals.derived_bytes += round_up(planned->info.derived_bytes, LK_ALIGNMENT);
}

static void place_run_data(lk_plan *plan, lk_node_id id) {
    plan->nodes[id].run_offset = plan->run_bytes;
    plan->run_bytes += round_up(plan->nodes[id].info.run_bytes, LK_ALIGNMENT);
}

/* The slabs of parameters and statistics must serve both plans. */
static lk_status check_like(const lk_plan *plan, const lk_plan *like, lk_error *err) {
    bool same = plan->param_count == like->param_count && plan->stat_count == like->stat_count &&
                plan->totals.slab_count == like->totals.slab_count &&
                plan->totals.stats_count == like->totals.stats_count;
    for (int i = 0; same && i < plan->param_count; i++)
        same = plan->params[i].offset == like->params[i].offset &&
               plan->params[i].stored_count == like->params[i].stored_count;
    if (same) return LK_OK;
    return lk_fail(err, LK_ERR_INTERNAL,
                   "device %s lays out the parameters of a microbatch of %" PRId64 " otherwise than those of %" PRId64,
                   plan->device->name, plan->options.batch, like->options.batch);
}

lk_status lk_plan_slabs(lk_plan *plan, lk_error *err) {
    int params = 0, stats = 0;
    for (int i = 0; i < plan->graph->count; i++) {
        params += plan->nodes[i].info.param_count;
        stats += plan->nodes[i].info.stats_count > 0;
    }
    LK_RETURN_IF(LK_NEW(&plan->params, params, "a plan's parameters", err));
    LK_RETURN_IF(LK_NEW(&plan->stats, stats, "a plan's statistics", err));
    for (int i = 0; i < plan->graph->count; i++) {
        place_params(plan, i);
        place_stats(plan, i);
        place_derived(plan, i);
        place_run_data(plan, i);
    }
    return plan->options.like != NULL ? check_like(plan, plan->options.like, err) : LK_OK;
}

static void *slab_at(const lk_plan *plan, const void *slab, int64_t offset) {
    return (char *)slab + offset * (int64_t)lk_dtype_size(plan->device->master);
}

lk_status lk_plan_pack(const lk_plan *plan, int i, const void *canonical, void *slab, lk_error *err) {
    const lk_param *param = &plan->params[i];
    return plan->device->param_pack(plan->device, plan->nodes[param->node].op, param->index, canonical,
                                    slab_at(plan, slab, param->offset), err);
}

lk_status lk_plan_unpack(const lk_plan *plan, int i, const void *slab, void *canonical, lk_error *err) {
    const lk_param *param = &plan->params[i];
    return plan->device->param_unpack(plan->device, plan->nodes[param->node].op, param->index,
                                      slab_at(plan, slab, param->offset), canonical, err);
}

static lk_status refresh_all(const lk_plan *plan, lk_stream *stream, const void *params, void *derived, lk_error *err) {
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_plan_node *planned = &plan->nodes[i];
        if (planned->info.derived_bytes == 0) continue;
        lk_op_buffers buffers = {.stats_offset = planned->stats_offset, .derived_offset = planned->derived_offset};
        for (int k = 0; k < planned->info.param_count; k++)
            buffers.param_offset[k] = plan->params[planned->first_param + k].offset;
        LK_RETURN_IF(plan->device->op_refresh(plan->device, planned->op, stream, &buffers, params, derived, err));
    }
    return LK_OK;
}

lk_status lk_plan_refresh(const lk_plan *plan, lk_stream *stream, const void *params, void *derived, lk_error *err) {
    plan->device->gather_open(plan->device, stream);
    LK_RETURN_IF(refresh_all(plan, stream, params, derived, err));
    return plan->device->gather_close(plan->device, stream, err);
}
