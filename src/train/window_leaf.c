/* One leaf of a window, on one lane. */
#include <string.h>

#include "core/clock.h"
#include "train/metrics.h"
#include "train/window_internal.h"

/* A microbatch, and its pixels on the device where they went ahead (else NULL). */
typedef struct leaf {
    lk_microbatch batch;
    const void *pixels;
} leaf;

typedef struct leaf_context {
    lk_window *window;
    lk_lane_slot *slot;
    int leaf, worker;
} leaf_context;

static lk_status on_gradient(void *context, int param, lk_error *err) {
    leaf_context *at = context;
    lk_window *window = at->window;
    if (param < 0) {
        if (window->ahead != NULL) LK_RETURN_IF(lk_ahead_poll(window->ahead, err));
        return at->worker == 0 ? lk_window_drive_reducer(window, err) : LK_OK;
    }
    int bucket = window->buckets.of_param[param];
    if (--window->workers[at->worker].params_left[bucket] > 0) return LK_OK;
    return lk_gradient_tree_complete(&window->tree, at->slot->stream, at->leaf, bucket, err);
}

/* What a mixed row counts as: the label with the larger share of its target. */
static int32_t majority_label(const lk_microbatch *batch, int64_t row) {
    bool partners = batch->partner != NULL && batch->label_share[row] < 0.5F;
    return batch->labels[partners ? batch->partner[row] : row];
}

/* What the leaf's forward pass gave, once its copy has come. */
static lk_status record_leaf(lk_window *window, lk_lane *lane, const lk_microbatch *batch, lk_window_worker *worker,
                             lk_error *err) {
    lk_device *device = window->network->device;
    lk_leaf_record *record = (lk_leaf_record *)(window->mine + (batch->tag - window->share.first) * window->leaf_bytes);
    int classes = (int)window->network->graph->classes;
    memset(record, 0, sizeof *record);
    LK_RETURN_IF(device->event_wait(device, worker->fetched, err));
    lk_lane_unpack(lane, worker->outputs, worker->losses, worker->logits);
    for (int64_t i = 0; i < batch->rows; i++) {
        record->loss_sum += worker->losses[i];
        record->correct += lk_argmax(worker->logits + i * classes, classes) == majority_label(batch, i);
        record->sample_sum += lk_sample_hash(batch->samples[i]);
    }
    record->samples = batch->rows;
    return LK_OK;
}

/* The lane of a worker for this microbatch, and what its passes are given. */
static lk_lane *prepare_run(lk_window *window, lk_lane_slot *slot, int worker, const leaf *l, lk_run *run) {
    const lk_microbatch *batch = &l->batch;
    lk_network *network = window->network;
    lk_network_mode mode = batch->rows == window->microbatch ? LK_NETWORK_TRAIN : LK_NETWORK_TAIL;
    *run = (lk_run){.params = network->params,
                    .derived = network->derived[mode],
                    .running = network->stats,
                    .stats = (char *)window->stats + (batch->tag - window->share.first) * lk_window_stats_bytes(window),
                    .images = batch->images,
                    .device_images = l->pixels,
                    .labels = batch->labels,
                    .rows = batch->rows,
                    .loss_scale = window->loss_scale / (double)window->window_samples,
                    .weight_scale = window->weight_scale,
                    .f1_counts = window->counts.all,
                    .f1_samples = window->window_samples,
                    .partner = batch->partner,
                    .pixel_share = batch->pixel_share,
                    .label_share = batch->label_share,
                    .seed = window->sampler->seed,
                    .epoch = window->sampler->epoch};
    if (window->exchange != NULL) {
        window->workers[worker].member.leaf = (int)batch->tag;
        run->group = &window->workers[worker].group;
    }
    int64_t rows;
    lk_sampler_leaf(window->sampler, window->update, (int)batch->tag, &run->first_position, &rows);
    return slot->lanes[mode];
}

static lk_status forward(lk_window *window, lk_lane_slot *slot, lk_lane *lane, const lk_run *run, lk_grad_ready between,
                         leaf_context *context, lk_error *err) {
    LK_RETURN_IF(lk_lane_forward(lane, run, between, context, err));
    if (run->device_images == NULL) return LK_OK;
    return lk_ahead_used(window->ahead, slot->stream, run->device_images, err);
}

/* The host reads the forward pass's results when it has given the device the backward pass to do. */
static lk_status compute_leaf(lk_window *window, lk_lane_slot *slot, int worker, const leaf *l, lk_error *err) {
    lk_run run;
    lk_lane *lane = prepare_run(window, slot, worker, l, &run);
    lk_device *device = window->network->device;
    int number = (int)l->batch.tag;
    leaf_context context = {window, slot, number, worker};
    lk_window_worker *state = &window->workers[worker];
    LK_RETURN_IF(lk_gradient_tree_take(&window->tree, number, &run.grads, err));
    memcpy(state->params_left, window->buckets.params_in, (size_t)window->buckets.count * sizeof(int));
    if (state->counted != number) LK_RETURN_IF(forward(window, slot, lane, &run, on_gradient, &context, err));
    state->counted = -1;
    LK_RETURN_IF(lk_lane_fetch(lane, state->outputs, err));
    LK_RETURN_IF(device->event_record(device, state->fetched, slot->stream, err));
    LK_RETURN_IF(lk_lane_backward(lane, &run, on_gradient, &context, err));
    LK_RETURN_IF(record_leaf(window, lane, &l->batch, state, err));
    return window->ahead == NULL ? LK_OK : lk_ahead_poll(window->ahead, err); /* it may be decoded by now */
}

/* The leaf that a worker takes of those that were counted: the one its lane holds, or the next in order. */
static leaf counted_leaf(const lk_window *window, int index, int worker) {
    int held = window->workers[worker].counted;
    int number = held >= 0 ? held : window->round_first + index;
    return (leaf){.batch = window->counts.kept[number - window->share.first].batch};
}

/* A pass that was given up may leave copies from and to the host's memory on their way. */
static void settle(const lk_window *window, lk_lane_slot *slot) {
    lk_device *device = window->network->device;
    (void)!device->synchronize(device, slot->stream, NULL);
}

static lk_status take_leaf(lk_window *window, lk_lane_slot *slot, leaf *l, lk_error *err) {
    *l = (leaf){0};
    if (window->ahead == NULL) return lk_loader_next(window->loader, &l->batch, err);
    return lk_ahead_take(window->ahead, slot->stream, &l->batch, &l->pixels, err);
}

/* The next leaf of the loader, as `compute` does it. When that returns, the device has read the pixels. */
static lk_status run_loaded(lk_window *window, lk_lane_slot *slot, int worker,
                            lk_status (*compute)(lk_window *window, lk_lane_slot *slot, int worker, const leaf *l,
                                                 lk_error *err),
                            lk_error *err) {
    leaf l;
    LK_RETURN_IF(take_leaf(window, slot, &l, err));
    if (worker == 0 && window->first_forward == 0) window->first_forward = lk_clock_seconds();
    lk_status status = compute(window, slot, worker, &l, err);
    if (status != LK_OK) settle(window, slot);
    lk_loader_release(window->loader, &l.batch);
    return status;
}

/* The last word of a leaf to those that normalise with it. */
static lk_status leave(lk_window *window, int worker, lk_status status, lk_error *err) {
    if (window->exchange == NULL) return status;
    return lk_exchange_leave(&window->workers[worker].member, status, err);
}

lk_status lk_window_run_leaf(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    lk_window *window = context;
    lk_status status;
    if (lk_window_counts_first(window)) {
        leaf l = counted_leaf(window, index, worker);
        status = compute_leaf(window, slot, worker, &l, err);
        if (status != LK_OK) settle(window, slot);
    } else {
        status = run_loaded(window, slot, worker, compute_leaf, err);
    }
    return leave(window, worker, status, err);
}

static lk_status count_leaf(lk_window *window, lk_lane_slot *slot, int worker, const leaf *l, lk_error *err) {
    lk_run run;
    lk_lane *lane = prepare_run(window, slot, worker, l, &run);
    lk_window_worker *state = &window->workers[worker];
    lk_window_keep(window, &l->batch);
    LK_RETURN_IF(forward(window, slot, lane, &run, NULL, NULL, err));
    LK_RETURN_IF(lk_lane_read_logits(lane, state->logits, err));
    lk_window_count(window, &l->batch, state->logits);
    state->counted = window->counts.hold ? (int)l->batch.tag : -1;
    return LK_OK;
}

lk_status lk_window_count_leaf(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    (void)index;
    lk_window *window = context;
    return leave(window, worker, run_loaded(window, slot, worker, count_leaf, err), err);
}
