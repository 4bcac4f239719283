/* Passes that are captured once and given to the stream as one from then on. What a pass has in its calls is captured
 * with it (addresses, rows); a pass with others is captured anew. All else is run_data, which is sent before. */
#include <string.h>

#include "core/memory.h"
#include "nn/lane_internal.h"

#define MOST_PASSES 64 /* that are kept; more leaves than that are given call by call */

typedef struct captured_pass {
    bool backward;
    lk_run key; /* see key_of */
    lk_lane_part *parts;
    int count;
} captured_pass;

struct lk_lane_graphs {
    bool warm[2]; /* forward, backward: its calls were given once by themselves */
    captured_pass passes[MOST_PASSES];
    int count;
};

/* What calls have of a run when they are captured. */
static lk_run key_of(const lk_run *run) {
    lk_run key;
    memset(&key, 0, sizeof key); /* compared as bytes */
    key.params = run->params;
    key.derived = run->derived;
    key.grads = run->grads;
    key.stats = run->stats;
    key.running = run->running;
    key.rows = run->rows;
    return key;
}

void lk_lane_graphs_free(lk_lane *lane) {
    lk_lane_graphs *graphs = lane->graphs;
    if (graphs == NULL) return;
    lk_device *device = lane->plan->device;
    (void)!device->synchronize(device, lane->stream, NULL);
    for (int i = 0; i < graphs->count; i++) {
        for (int k = 0; k < graphs->passes[i].count; k++)
            device->captured_free(device, graphs->passes[i].parts[k].captured);
        lk_free(graphs->passes[i].parts);
    }
    lk_free(graphs);
    lane->graphs = NULL;
}

lk_status lk_lane_use_graphs(lk_lane *lane, lk_error *err) {
    if (lane->plan->device->capture_begin == NULL || lane->graphs != NULL) return LK_OK;
    return LK_NEW(&lane->graphs, 1, "a lane's graphs", err);
}

/* Captures calls from *at until a part ends. */
static lk_status capture_part(lk_lane *lane, bool backward, const lk_run *run, int *at, lk_captured **out,
                              lk_error *err) {
    const lk_plan *plan = lane->plan;
    lk_device *device = plan->device;
    lk_status status = LK_OK;
    bool ended = false;
    LK_RETURN_IF(device->capture_begin(device, lane->stream, err));
    while (!ended && status == LK_OK) {
        int i = (*at)++;
        status = backward ? lk_lane_call_backward(lane, i, run, err) : lk_lane_call_forward(lane, i, run, err);
        ended = backward ? lk_lane_ends_part(lane, i) : i + 1 == plan->graph->count;
    }
    if (status == LK_OK && backward) status = lk_lane_finish_gradients(lane, err);
    if (status == LK_OK) return device->capture_end(device, lane->stream, out, err);
    (void)!lk_lane_finish_gradients(lane, NULL); /* of this capture, and not of what follows it */
    (void)!device->capture_end(device, lane->stream, NULL, NULL);
    return status;
}

static lk_status capture(lk_lane *lane, captured_pass *pass, const lk_run *run, lk_error *err) {
    const lk_plan *plan = lane->plan;
    int parts = 1, at = 0;
    for (int i = 0; pass->backward && i + 1 < plan->backward_count; i++) parts += lk_lane_ends_part(lane, i);
    LK_RETURN_IF(LK_NEW(&pass->parts, parts, "a captured pass", err));
    for (int i = 0; i < parts; i++, pass->count++) {
        LK_RETURN_IF(capture_part(lane, pass->backward, run, &at, &pass->parts[i].captured, err));
        pass->parts[i].end = at;
    }
    return LK_OK;
}

lk_status lk_lane_graphs_find(lk_lane *lane, bool backward, const lk_run *run, const lk_lane_part **out, int *parts,
                              lk_error *err) {
    lk_lane_graphs *graphs = lane->graphs;
    lk_run key = key_of(run);
    *parts = 0;
    bool from_host = !backward && run->device_images == NULL; /* the pixels come from another place each time */
    if (graphs == NULL || from_host || run->group != NULL) return LK_OK;
    for (int i = 0; i < graphs->count; i++) {
        const captured_pass *pass = &graphs->passes[i];
        if (pass->backward != backward || memcmp(&pass->key, &key, sizeof key) != 0) continue;
        *out = pass->parts;
        *parts = pass->count;
        return LK_OK;
    }
    bool warm = graphs->warm[backward];
    graphs->warm[backward] = true;
    if (!warm || graphs->count == MOST_PASSES) return LK_OK;
    captured_pass *pass = &graphs->passes[graphs->count++];
    pass->backward = backward;
    pass->key = key;
    LK_RETURN_IF(capture(lane, pass, run, err));
    *out = pass->parts;
    *parts = pass->count;
    return LK_OK;
}
