/* A plan bound to memory: the calls, in order. */
#include <stdio.h>
#include <string.h>

#include "core/half.h"
#include "core/memory.h"
#include "nn/lane_internal.h"

static void *at(const lk_lane *lane, int buffer) {
    return buffer < 0 ? NULL : lane->arena + lane->plan->live[buffer].offset;
}

/* y: where the value goes. backward: the inputs are those that the backward pass finds. */
static lk_status bind_call(const lk_lane *lane, lk_call **call, lk_node_id id, int y, bool backward, lk_error *err) {
    const lk_plan *plan = lane->plan;
    const lk_node *node = &plan->graph->nodes[id];
    const lk_plan_node *planned = &plan->nodes[id];
    lk_op_buffers buffers = {
        .x = at(lane, backward       ? lk_plan_value(plan, node->x)
                      : node->x >= 0 ? plan->nodes[node->x].y
                                     : -1),
        .residual = at(lane, backward              ? lk_plan_value(plan, node->residual)
                             : node->residual >= 0 ? plan->nodes[node->residual].y
                                                   : -1),
        .y = at(lane, y),
        .dy = {at(lane, planned->dy[0]), at(lane, planned->dy[1])},
        .dx = at(lane, planned->dx),
        .dresidual = at(lane, planned->dresidual),
        .stash = at(lane, planned->stash),
        .workspace = at(lane, plan->workspace),
        .unfinished = at(lane, planned->unfinished),
        .run_data = lane->run_data == NULL ? NULL : (char *)lane->run_data + planned->run_offset,
        .stats_offset = planned->stats_offset,
        .derived_offset = planned->derived_offset,
    };
    for (int k = 0; k < planned->info.param_count; k++)
        buffers.param_offset[k] = plan->params[planned->first_param + k].offset;
    return plan->device->bind(plan->device, call, planned->op, &buffers, err);
}

static bool lies_elsewhere(const lk_plan *plan, lk_node_id id) {
    return id >= 0 && plan->nodes[lk_plan_maker(plan, id)].again;
}

static lk_status bind_node(lk_lane *lane, lk_node_id id, lk_error *err) {
    const lk_plan *plan = lane->plan;
    const lk_node *node = &plan->graph->nodes[id];
    const lk_plan_node *planned = &plan->nodes[id];
    LK_RETURN_IF(bind_call(lane, &lane->nodes[id], id, planned->y, false, err));
    if (planned->again) LK_RETURN_IF(bind_call(lane, &lane->again[id], id, planned->again_y, true, err));
    if (!planned->has_backward || !(lies_elsewhere(plan, node->x) || lies_elsewhere(plan, node->residual)))
        return LK_OK;
    return bind_call(lane, &lane->later[id], id, planned->y, true, err);
}

static lk_status bind_add(lk_lane *lane, int i, lk_error *err) {
    const lk_plan_add *add = &lane->plan->adds[i];
    lk_op_buffers buffers = {.x = at(lane, add->a),
                             .residual = at(lane, add->b),
                             .y = at(lane, add->sum),
                             .workspace = at(lane, lane->plan->workspace)};
    return lane->plan->device->bind(lane->plan->device, &lane->adds[i], add->op, &buffers, err);
}

lk_status lk_lane_create(lk_lane **out, const lk_plan *plan, lk_stream *stream, void *arena, lk_error *err) {
    *out = NULL;
    lk_lane *lane = NULL;
    lk_device *device = plan->device;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&lane, 1, "a lane", err));
    lane->plan = plan;
    lane->stream = stream;
    lane->arena = arena;
    LK_TRY(LK_NEW(&lane->nodes, plan->graph->count, "a lane's calls", err));
    LK_TRY(LK_NEW(&lane->later, plan->graph->count, "a lane's calls", err));
    LK_TRY(LK_NEW(&lane->again, plan->graph->count, "a lane's calls", err));
    LK_TRY(LK_NEW(&lane->adds, plan->add_count, "a lane's calls", err));
    if (plan->run_bytes > 0) {
        LK_TRY(device->alloc(device, &lane->run_data, plan->run_bytes, "what a microbatch's calls are told", err));
        LK_TRY(
            device->host_alloc(device, &lane->host_data, plan->run_bytes, "what a microbatch's calls are told", err));
        LK_TRY(device->event_create(device, &lane->sent, err));
    }
    for (int i = 0; i < plan->graph->count; i++)
        if (!plan->nodes[i].skipped) LK_TRY(bind_node(lane, i, err));
    for (int i = 0; i < plan->add_count; i++) LK_TRY(bind_add(lane, i, err));
    *out = lane;
    return LK_OK;
out:
    lk_lane_free(lane);
    return status;
}

static void free_calls(lk_device *device, lk_call **calls, int count) {
    for (int i = 0; calls != NULL && i < count; i++)
        if (calls[i] != NULL) device->call_free(device, calls[i]);
    lk_free(calls);
}

void lk_lane_free(lk_lane *lane) {
    if (lane == NULL) return;
    lk_device *device = lane->plan->device;
    lk_lane_graphs_free(lane);
    if (lane->sent != NULL) (void)!device->event_wait(device, lane->sent, NULL);
    device->event_free(device, lane->sent);
    device->host_release(device, lane->host_data);
    if (lane->run_data != NULL) device->release(device, lane->run_data);
    free_calls(device, lane->nodes, lane->plan->graph->count);
    free_calls(device, lane->later, lane->plan->graph->count);
    free_calls(device, lane->again, lane->plan->graph->count);
    free_calls(device, lane->adds, lane->plan->add_count);
    lk_free(lane);
}

/* Element i of an array of this dtype. */
static double as_double(lk_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
        case LK_F64: return ((const double *)data)[i];
        case LK_F32: return ((const float *)data)[i];
        case LK_BF16: return lk_bf16_widen(((const uint16_t *)data)[i]);
        case LK_F16: return lk_half_widen(((const uint16_t *)data)[i]);
        default: return ((const uint8_t *)data)[i];
    }
}

bool lk_lane_keeps(const lk_lane *lane, lk_node_id node) {
    return lane->plan->nodes[node].makes == node &&
           lane->plan->live[lane->plan->nodes[node].y].last >= lane->plan->graph->count - 1;
}

/* A value in NCHW double, from its bytes in host memory. */
static void unpack(const lk_act_desc *y, const void *host, double *values) {
    for (int64_t n = 0; n < y->n; n++)
        for (int64_t c = 0; c < y->c; c++)
            for (int64_t row = 0; row < y->h; row++)
                for (int64_t column = 0; column < y->w; column++)
                    *values++ = as_double(y->dtype, host, lk_act_index(y, n, c, row, column));
}

lk_status lk_lane_read_value(lk_lane *lane, lk_node_id node, double *values, lk_error *err) {
    const lk_plan *plan = lane->plan;
    if (node < 0 || node >= plan->graph->count || !lk_lane_keeps(lane, node))
        return lk_fail(err, LK_ERR_CONFIG, "the value of node %d is not kept by this plan", node);
    const lk_act_desc *y = &plan->nodes[node].info.y;
    void *host = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_alloc(&host, (size_t)lk_act_bytes(y), 1, "a value", err));
    LK_TRY(plan->device->synchronize(plan->device, lane->stream, err));
    LK_TRY(plan->device->download(plan->device, host, at(lane, plan->nodes[node].y), lk_act_bytes(y), err));
    unpack(y, host, values);
out:
    lk_free(host);
    return status;
}

lk_status lk_lane_read_logits(lk_lane *lane, double *logits, lk_error *err) {
    return lk_lane_read_value(lane, lane->plan->graph->logits, logits, err);
}

lk_status lk_lane_read_losses(lk_lane *lane, double *losses, lk_error *err) {
    const lk_graph *graph = lane->plan->graph;
    if (graph->nodes[graph->count - 1].op.kind != LK_OP_LOSS)
        return lk_fail(err, LK_ERR_CONFIG, "this plan has no loss to read");
    return lk_lane_read_value(lane, graph->count - 1, losses, err);
}

static const lk_plan_node *losses_of(const lk_plan *plan) { return &plan->nodes[plan->graph->count - 1]; }
static const lk_plan_node *logits_of(const lk_plan *plan) { return &plan->nodes[plan->graph->logits]; }

/* Bytes of the losses; behind them the logits. */
static size_t losses_room(const lk_plan *plan) { return lk_round_up((size_t)lk_act_bytes(&losses_of(plan)->info.y)); }

int64_t lk_plan_output_bytes(const lk_plan *plan) {
    return (int64_t)losses_room(plan) + lk_act_bytes(&logits_of(plan)->info.y);
}

lk_status lk_lane_fetch(lk_lane *lane, void *host, lk_error *err) {
    const lk_plan *plan = lane->plan;
    lk_device *device = plan->device;
    const lk_plan_node *losses = losses_of(plan), *logits = logits_of(plan);
    if (losses->desc.kind != LK_OP_LOSS) return lk_fail(err, LK_ERR_CONFIG, "this plan has no loss to read");
    LK_RETURN_IF(
        device->stream_fetch(device, lane->stream, host, at(lane, losses->y), lk_act_bytes(&losses->info.y), err));
    return device->stream_fetch(device, lane->stream, (char *)host + losses_room(plan), at(lane, logits->y),
                                lk_act_bytes(&logits->info.y), err);
}

void lk_lane_unpack(const lk_lane *lane, const void *host, double *losses, double *logits) {
    const lk_plan *plan = lane->plan;
    unpack(&losses_of(plan)->info.y, host, losses);
    unpack(&logits_of(plan)->info.y, (const char *)host + losses_room(plan), logits);
}
