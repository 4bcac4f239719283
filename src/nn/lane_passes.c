/* The passes of a lane: its calls in order, one by one or as what was captured of them. */
#include "nn/lane_internal.h"

/* What differs from microbatch to microbatch travels in one copy. */
static lk_status send_run_data(lk_lane *lane, const lk_run *run, lk_error *err) {
    const lk_plan *plan = lane->plan;
    lk_device *device = plan->device;
    if (plan->run_bytes == 0) return LK_OK;
    LK_RETURN_IF(device->event_wait(device, lane->sent, err));
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_plan_node *planned = &plan->nodes[i];
        if (planned->skipped || planned->info.run_bytes == 0) continue;
        void *host = (char *)lane->host_data + planned->run_offset;
        LK_RETURN_IF(device->prepare(device, lane->nodes[i], run, host, err));
    }
    LK_RETURN_IF(device->stream_send(device, lane->stream, lane->run_data, lane->host_data, plan->run_bytes, err));
    return device->event_record(device, lane->sent, lane->stream, err);
}

lk_status lk_lane_call_forward(lk_lane *lane, lk_node_id id, const lk_run *run, lk_error *err) {
    lk_device *device = lane->plan->device;
    if (lane->plan->nodes[id].skipped) return LK_OK;
    return device->forward(device, lane->stream, lane->nodes[id], run, err);
}

lk_status lk_lane_forward(lk_lane *lane, const lk_run *run, lk_grad_ready between, void *context, lk_error *err) {
    lk_device *device = lane->plan->device;
    const lk_lane_part *part;
    int parts;
    LK_RETURN_IF(send_run_data(lane, run, err));
    LK_RETURN_IF(lk_lane_graphs_find(lane, false, run, &part, &parts, err));
    if (parts > 0) {
        LK_RETURN_IF(device->captured_run(device, lane->stream, part->captured, err));
        return between == NULL ? LK_OK : between(context, -1, err);
    }
    for (int i = 0; i < lane->plan->graph->count; i++) {
        if (lane->plan->nodes[i].skipped) continue;
        LK_RETURN_IF(lk_lane_call_forward(lane, i, run, err));
        if (between != NULL) LK_RETURN_IF(between(context, -1, err));
    }
    return LK_OK;
}

lk_status lk_lane_call_backward(lk_lane *lane, int i, const lk_run *run, lk_error *err) {
    lk_device *device = lane->plan->device;
    lk_plan_step step = lane->plan->backward[i];
    if (step.add >= 0) return device->forward(device, lane->stream, lane->adds[step.add], run, err);
    if (step.again) return device->again(device, lane->stream, lane->again[step.node], run, err);
    lk_call *call = lane->later[step.node] != NULL ? lane->later[step.node] : lane->nodes[step.node];
    return device->backward(device, lane->stream, call, run, err);
}

/* Says which gradients step i has completed. */
static lk_status report(const lk_plan *plan, int i, lk_grad_ready ready, void *context, lk_error *err) {
    lk_plan_step step = plan->backward[i];
    const lk_plan_node *planned = &plan->nodes[step.node];
    for (int k = 0; step.add < 0 && !step.again && k < planned->info.param_count; k++)
        if (!plan->params[planned->first_param + k].frozen) LK_RETURN_IF(ready(context, planned->first_param + k, err));
    return LK_OK;
}

void lk_lane_cut(lk_lane *lane, const bool *cuts) { lane->cuts = cuts; }

bool lk_lane_ends_part(const lk_lane *lane, int i) {
    const lk_plan *plan = lane->plan;
    lk_plan_step step = plan->backward[i];
    if (i + 1 == plan->backward_count) return true;
    if (lane->cuts == NULL || step.add >= 0 || step.again) return false;
    for (int k = 0; k < plan->nodes[step.node].info.param_count; k++)
        if (lane->cuts[plan->nodes[step.node].first_param + k]) return true;
    return false;
}

lk_status lk_lane_finish_gradients(lk_lane *lane, lk_error *err) {
    lk_device *device = lane->plan->device;
    return device->finish_gradients == NULL ? LK_OK : device->finish_gradients(device, lane->stream, err);
}

static lk_status backward(lk_lane *lane, const lk_run *run, lk_grad_ready ready, void *context, lk_error *err) {
    const lk_plan *plan = lane->plan;
    lk_device *device = plan->device;
    const lk_lane_part *part;
    int parts;
    if (run->f1_counts != NULL)
        LK_RETURN_IF(send_run_data(lane, run, err)); /* they are younger than the forward pass */
    LK_RETURN_IF(lk_lane_graphs_find(lane, true, run, &part, &parts, err));
    for (int i = 0, end = 0, reported = 0; i < plan->backward_count; i++) {
        bool ends = lk_lane_ends_part(lane, i);
        if (parts == 0) {
            LK_RETURN_IF(lk_lane_call_backward(lane, i, run, err));
            if (ends) LK_RETURN_IF(lk_lane_finish_gradients(lane, err));
        } else if (i == end) {
            LK_RETURN_IF(device->captured_run(device, lane->stream, part->captured, err));
            end = part++->end;
        }
        if (ready == NULL) continue;
        bool whole = parts > 0 || ends || device->finish_gradients == NULL;
        for (; whole && reported <= i; reported++) LK_RETURN_IF(report(plan, reported, ready, context, err));
        LK_RETURN_IF(ready(context, -1, err));
    }
    return LK_OK;
}

lk_status lk_lane_backward(lk_lane *lane, const lk_run *run, lk_grad_ready ready, void *context, lk_error *err) {
    lk_status status = backward(lane, run, ready, context, err);
    /* A pass that was given up leaves nothing to the next. */
    if (status != LK_OK) (void)!lk_lane_finish_gradients(lane, NULL);
    return status;
}
