#include "train/update.h"

#include <math.h>

#include "core/memory.h"

typedef struct segment_work {
    lk_network *network;
    lk_optimizer *optimizer;
    const void *grads;
    double squares[LK_UPDATE_SEGMENTS];
    const lk_step *step;
    double average_share;
} segment_work;

/* Does one call do all segments? On a device of its own, launches cost more than cores would save. */
static bool at_once(const lk_network *network) { return !network->device->host_memory; }

/* Segment boundaries are multiples of 16 elements. */
static int64_t segment_at(const lk_network *network, int index) {
    int64_t units = network->totals.slab_count / 16;
    return units * index / LK_UPDATE_SEGMENTS * 16;
}

/* Adds the sums of squares of segments [first, first + count), as far as they lie in trained runs of the slab. */
static lk_status sum_segments(segment_work *work, int first, int count, lk_stream *stream, lk_error *err) {
    lk_network *network = work->network;
    lk_device *device = network->device;
    for (int i = 0; i < network->run_count; i++) {
        lk_slab_run run = network->runs[i];
        int64_t ends[LK_UPDATE_SEGMENTS], begin = segment_at(network, first), last = segment_at(network, first + count);
        double squares[LK_UPDATE_SEGMENTS];
        if (run.begin >= last || run.end <= begin) continue;
        if (begin < run.begin) begin = run.begin;
        for (int k = 0; k < count; k++) {
            int64_t end = segment_at(network, first + k + 1);
            ends[k] = (end < begin ? begin : end > run.end ? run.end : end) - begin;
        }
        const char *at = (const char *)work->grads + (size_t)begin * lk_dtype_size(device->master);
        LK_RETURN_IF(device->slab_sum_squares(device, stream, at, ends, count, squares, err));
        for (int k = 0; k < count; k++) work->squares[first + k] += squares[k];
    }
    return LK_OK;
}

static lk_status sum_segment(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    (void)worker;
    return sum_segments(context, index, 1, slot->stream, err);
}

static lk_status sum_all(lk_lanes *lanes, segment_work *work, lk_error *err) {
    lk_stream *stream;
    LK_RETURN_IF(lk_lanes_main_stream(lanes, &stream, err));
    return sum_segments(work, 0, LK_UPDATE_SEGMENTS, stream, err);
}

/* Names the first parameter whose gradient is not finite. */
static lk_status name_first_bad(const lk_network *network, const void *grads, lk_error *err) {
    lk_status status;
    double *values = NULL;
    int count;
    const lk_plan *plan = network->plans[LK_NETWORK_TRAIN];
    const lk_param *params = lk_plan_get_params(plan, &count);
    bool is_double = network->device->master == LK_F64;
    LK_TRY(LK_NEW(&values, network->totals.slab_count, "a gradient", err));
    for (int i = 0; i < count; i++) {
        if (params[i].frozen) continue;
        LK_TRY(lk_plan_unpack(plan, i, grads, values, err));
        int64_t elements = lk_shape_count(&params[i].shape);
        for (int64_t k = 0; k < elements; k++) {
            if (isfinite(is_double ? values[k] : (double)((const float *)values)[k])) continue;
            status = lk_fail(err, LK_ERR_NUMERIC, "the gradient of %s is not finite", params[i].name);
            goto out;
        }
    }
    status = lk_fail(err, LK_ERR_NUMERIC, "the sum of the squared gradients is not finite");
out:
    lk_free(values);
    return status;
}

lk_status lk_gradient_norm(double *norm, lk_lanes *lanes, const void *grads, lk_error *err) {
    segment_work work = {.network = lanes->network, .grads = grads};
    double total = 0;
    if (at_once(lanes->network))
        LK_RETURN_IF(sum_all(lanes, &work, err));
    else
        LK_RETURN_IF(lk_lanes_run(lanes, sum_segment, &work, LK_UPDATE_SEGMENTS, err));
    for (int i = 0; i < LK_UPDATE_SEGMENTS; i++) total += work.squares[i];
    *norm = sqrt(total);
    return isfinite(total) ? LK_OK : name_first_bad(lanes->network, grads, err);
}

static lk_status step_segment(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    (void)worker;
    segment_work *work = context;
    int64_t begin = segment_at(work->network, index), end = segment_at(work->network, index + 1);
    lk_network *network = work->network;
    lk_device *device = network->device;
    LK_RETURN_IF(
        lk_optimizer_step(work->optimizer, slot->stream, network->params, work->grads, begin, end, work->step, err));
    if (!lk_network_averages(network)) return LK_OK;
    int64_t at = begin * (int64_t)lk_dtype_size(device->master);
    return device->slab_lerp(device, slot->stream, (char *)network->eval_params + at,
                             (const char *)network->params + at, end - begin, work->average_share, err);
}

static lk_status average_stats(lk_network *network, lk_stream *stream, double share, lk_error *err) {
    return network->device->slab_lerp(network->device, stream, network->eval_stats, network->stats,
                                      network->totals.stats_count, share, err);
}

/* All parameters, then the averages: a launch each. */
static lk_status step_all(segment_work *work, lk_stream *stream, lk_error *err) {
    lk_network *network = work->network;
    lk_device *device = network->device;
    int64_t count = network->totals.slab_count;
    device->gather_open(device, stream);
    LK_RETURN_IF(lk_optimizer_step(work->optimizer, stream, network->params, work->grads, 0, count, work->step, err));
    LK_RETURN_IF(device->gather_close(device, stream, err));
    if (!lk_network_averages(network)) return LK_OK;
    device->gather_open(device, stream);
    LK_RETURN_IF(
        device->slab_lerp(device, stream, network->eval_params, network->params, count, work->average_share, err));
    LK_RETURN_IF(average_stats(network, stream, work->average_share, err));
    return device->gather_close(device, stream, err);
}

lk_status lk_update_apply(lk_lanes *lanes, lk_optimizer *optimizer, const void *grads, const lk_step *step,
                          double average_share, lk_error *err) {
    lk_network *network = lanes->network;
    lk_stream *stream;
    segment_work work = {
        .network = network, .optimizer = optimizer, .grads = grads, .step = step, .average_share = average_share};
    LK_RETURN_IF(lk_lanes_main_stream(lanes, &stream, err));
    if (at_once(network)) {
        LK_RETURN_IF(step_all(&work, stream, err));
    } else {
        LK_RETURN_IF(lk_lanes_run(lanes, step_segment, &work, LK_UPDATE_SEGMENTS, err));
        if (lk_network_averages(network)) LK_RETURN_IF(average_stats(network, stream, average_share, err));
    }
    lk_network_touch(lanes->network);
    return LK_OK;
}
