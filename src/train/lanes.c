#include "train/lanes.h"

#include "core/memory.h"

lk_status lk_lanes_create(lk_lanes **out, lk_network *network, int count, lk_error *err) {
    lk_status status;
    lk_lanes *lanes = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&lanes, 1, "the lanes", err));
    lanes->network = network;
    lanes->count = count;
    LK_TRY(LK_NEW(&lanes->slots, count, "the lanes", err));
    LK_TRY(lk_pool_create(&lanes->pool, count, err));
    *out = lanes;
    return LK_OK;
out:
    lk_lanes_free(lanes);
    return status;
}

void lk_lanes_free(lk_lanes *lanes) {
    if (lanes == NULL) return;
    lk_pool_free(lanes->pool);
    lk_device *device = lanes->network->device;
    for (int i = 0; lanes->slots != NULL && i < lanes->count; i++) {
        lk_lane_slot *slot = &lanes->slots[i];
        for (int mode = 0; mode < LK_NETWORK_MODES; mode++) lk_lane_free(slot->lanes[mode]);
        if (slot->arena != NULL) device->release(device, slot->arena);
        if (slot->stream != NULL) device->stream_free(device, slot->stream);
    }
    lk_free(lanes->slots);
    lk_free(lanes);
}

/* Of microbatches that are trained on. */
static lk_status cut(lk_lanes *lanes, lk_lane_slot *slot, lk_error *err) {
    const lk_network_mode modes[] = {LK_NETWORK_TRAIN, LK_NETWORK_TAIL};
    for (int i = 0; i < 2; i++) {
        lk_lane *lane = slot->lanes[modes[i]];
        if (lane == NULL) continue;
        lk_lane_cut(lane, lanes->cuts);
        if (lanes->graphs) LK_RETURN_IF(lk_lane_use_graphs(lane, err));
    }
    return LK_OK;
}

lk_status lk_lanes_cut(lk_lanes *lanes, const bool *cuts, bool graphs, lk_error *err) {
    lanes->graphs = graphs;
    lanes->cuts = cuts;
    for (int i = 0; i < lanes->count; i++) LK_RETURN_IF(cut(lanes, &lanes->slots[i], err));
    return LK_OK;
}

/* Runs on the worker's own thread, since a stream belongs to the thread that made it. */
static lk_status prepare(lk_lanes *lanes, lk_lane_slot *slot, lk_error *err) {
    if (slot->ready) return LK_OK;
    lk_network *network = lanes->network;
    lk_device *device = network->device;
    if (slot->stream == NULL) LK_RETURN_IF(device->stream_create(device, &slot->stream, err));
    if (slot->arena == NULL)
        LK_RETURN_IF(device->alloc(device, &slot->arena, network->arena_bytes, "the arena of a lane", err));
    for (int mode = 0; mode < LK_NETWORK_MODES; mode++) {
        if (network->plans[mode] == NULL || slot->lanes[mode] != NULL) continue;
        LK_RETURN_IF(lk_lane_create(&slot->lanes[mode], network->plans[mode], slot->stream, slot->arena, err));
    }
    LK_RETURN_IF(cut(lanes, slot, err));
    slot->ready = true;
    return LK_OK;
}

typedef struct run_context {
    lk_lanes *lanes;
    lk_lane_work work;
    void *context;
    lk_error *errors; /* one per index */
} run_context;

static void run_one(void *context, int index, int worker) {
    run_context *run = context;
    lk_lane_slot *slot = &run->lanes->slots[worker];
    lk_error *err = &run->errors[index];
    lk_status status = prepare(run->lanes, slot, err);
    if (status == LK_OK) status = run->work(run->context, index, worker, slot, err);
    err->status = status; /* a status without a sentence still counts */
}

lk_status lk_lanes_run(lk_lanes *lanes, lk_lane_work work, void *context, int count, lk_error *err) {
    run_context run = {.lanes = lanes, .work = work, .context = context};
    LK_RETURN_IF(LK_NEW(&run.errors, count, "error slots", err));
    lk_pool_run(lanes->pool, run_one, &run, count);
    lk_status status = LK_OK;
    for (int i = 0; i < count && status == LK_OK; i++)
        if (run.errors[i].status != LK_OK) status = lk_fail(err, run.errors[i].status, "%s", run.errors[i].message);
    lk_free(run.errors);
    return status;
}

lk_status lk_lanes_main_stream(lk_lanes *lanes, lk_stream **out, lk_error *err) {
    LK_RETURN_IF(prepare(lanes, &lanes->slots[0], err));
    *out = lanes->slots[0].stream;
    return LK_OK;
}
