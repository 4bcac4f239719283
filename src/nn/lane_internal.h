/* Inside a lane: what its files share. */
#ifndef LK_NN_LANE_INTERNAL_H
#define LK_NN_LANE_INTERNAL_H

#include "nn/plan_internal.h"

typedef struct lk_lane_graphs lk_lane_graphs;

struct lk_lane {
    const lk_plan *plan;
    lk_stream *stream;
    char *arena;
    lk_call **nodes; /* graph->count */
    lk_call **later; /* graph->count: backward calls whose inputs lie elsewhere than forward; NULL: nodes' */
    lk_call **again; /* graph->count: values that are computed again, or NULL */
    lk_call **adds;  /* plan->add_count */
    void *run_data;  /* device: plan->run_bytes; NULL where no op has any */
    void *host_data; /* the same in host_alloc, on its way until `sent` is done */
    lk_event *sent;
    const bool *cuts;       /* lk_lane_cut */
    lk_lane_graphs *graphs; /* NULL: calls are given to the stream one by one */
};

/* Enqueues one call: of the forward pass, and step i of the backward pass. */
LK_MUST_CHECK lk_status lk_lane_call_forward(lk_lane *lane, lk_node_id id, const lk_run *run, lk_error *err);
LK_MUST_CHECK lk_status lk_lane_call_backward(lk_lane *lane, int i, const lk_run *run, lk_error *err);

/* Does a part of the backward pass end with its step i: at a cut, or because it is the last? Pure. */
bool lk_lane_ends_part(const lk_lane *lane, int i);
/* Enqueues what the backward calls since the last time left unfinished, where the device leaves anything. */
LK_MUST_CHECK lk_status lk_lane_finish_gradients(lk_lane *lane, lk_error *err);

/* lane_graphs.c. A pass as a captured whole, or in parts that end where a bucket does; *parts is 0 where this pass has
 * to be given call by call. Errors: those of the calls and of capture_end. */
typedef struct lk_lane_part {
    lk_captured *captured;
    int end; /* the first call behind it */
} lk_lane_part;
LK_MUST_CHECK lk_status lk_lane_graphs_find(lk_lane *lane, bool backward, const lk_run *run, const lk_lane_part **out,
                                            int *parts, lk_error *err);
void lk_lane_graphs_free(lk_lane *lane);

#endif
