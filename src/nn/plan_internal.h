/* What the files of the plan share. Only src/nn includes it (and the plan's own unit tests). */
#ifndef LK_NN_PLAN_INTERNAL_H
#define LK_NN_PLAN_INTERNAL_H

#include "nn/arena.h"
#include "nn/plan.h"

#define LK_SLAB_ALIGNMENT 16 /* elements: parameters start on it, so that ranges of a slab vectorise */

/* A node with what the plan decided. Buffers are indices into lk_plan.live, -1 where there is none. */
typedef struct lk_plan_node {
    lk_op *op;
    lk_op_desc desc;
    lk_op_info info;
    bool needs_grad; /* training: a trained parameter lies at or before it, so its value's gradient is wanted */
    bool skipped;    /* no call: its value is what its input's op makes. DROPOUT in evaluation; fused into that op */
    bool hands_on;   /* has no backward call: the op of its input takes its gradient as it is, and spreads it */
    /* Whose value its op makes: its own, or that of a skipped node behind it; then its own is nowhere. */
    lk_node_id makes;
    bool has_backward; /* has a call in the backward pass */
    int contributions; /* gradients that arrive at its value */
    int first_param;   /* index into lk_plan.params */
    int64_t stats_offset, derived_offset, run_offset;
    int y, stash, dx, dresidual, dy[2], unfinished;
    bool again;  /* backward finds y no more, and computes it again where it is read */
    int again_y; /* where; -1 until then */
} lk_plan_node;

/* A sum of two gradients, sum = a + b, where a value gets more of them than its op's backward takes: an LK_OP_ADD. */
typedef struct lk_plan_add {
    lk_node_id value; /* whose gradient */
    lk_op *op;
    lk_op_info info;
    int a, b, sum; /* buffers */
} lk_plan_add;

/* One call of the backward pass: the sum `add` (an index) or, with add = -1, the backward of `node`, or its value
 * computed again. */
typedef struct lk_plan_step {
    lk_node_id node;
    int add;
    bool again;
} lk_plan_step;

struct lk_plan {
    const lk_graph *graph;
    lk_device *device;
    lk_plan_options options;
    lk_plan_node *nodes; /* graph->count */

    lk_plan_step *backward; /* in order; call number graph->count + i */
    int backward_count;
    size_t backward_capacity;
    lk_plan_add *adds;
    int add_count;
    size_t add_capacity;

    lk_param *params;
    int param_count;
    lk_stat *stats;
    int stat_count;

    lk_live *live; /* every buffer of the arena; steps are call numbers, forward then backward */
    int live_count;
    size_t live_capacity;
    int workspace; /* shared by all calls; -1: none needs it */

    /* Gradients that lk_device.finish_gradients writes: of how many calls, how many elements, read + written. */
    int finish_count;
    lk_act_desc finished;
    double finish_bytes;

    char declined[768]; /* lk_plan_declined */

    int64_t run_bytes; /* of a lane's run_data; offsets: lk_plan_node.run_offset */
    lk_plan_totals totals;
};

/* The stages of lk_plan_create, in order. */
/* desc as the graph has it, but for what the device computes in one op; skipped, hands_on, makes. */
void lk_plan_fuse(lk_plan *plan);
/* needs_grad, has_backward, contributions and desc.need_dx, desc.dy_count of every node. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_plan_find_gradients(lk_plan *plan, lk_error *err);
/* op, desc, info of every node. Errors: those of lk_plan_create. */
LK_MUST_CHECK lk_status lk_plan_ops(lk_plan *plan, lk_error *err);
/* params, stats, derived offsets. Errors: LK_ERR_MEMORY, LK_ERR_INTERNAL. */
LK_MUST_CHECK lk_status lk_plan_slabs(lk_plan *plan, lk_error *err);
/* Buffers of the forward pass, the backward calls and their buffers, the arena. Errors: LK_ERR_MEMORY, those of
 * op_plan. */
LK_MUST_CHECK lk_status lk_plan_forward_buffers(lk_plan *plan, lk_error *err);
LK_MUST_CHECK lk_status lk_plan_backward_calls(lk_plan *plan, lk_error *err);
LK_MUST_CHECK lk_status lk_plan_arena(lk_plan *plan, lk_error *err);

/* A new buffer that lives in call `step`. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_plan_buffer(lk_plan *plan, int *out, int64_t bytes, int step, lk_error *err);
/* Buffer `index` (or -1) is used in call `step` too. */
void lk_plan_use(lk_plan *plan, int index, int step);

/* The node whose op makes the value of `node`: itself unless it is skipped; -1 for -1. Pure. */
lk_node_id lk_plan_maker(const lk_plan *plan, lk_node_id node);
/* What activations are stored in. Pure. */
lk_dtype lk_plan_stored_type(const lk_plan *plan);
/* Launches of finish_gradients where a backward pass is not cut. Pure. */
int lk_plan_finish_launches(const lk_plan *plan);

/* Where the value of a node lies in the backward pass (lk_plan_node.y or again_y), -1 for node -1. Pure. */
int lk_plan_value(const lk_plan *plan, lk_node_id node);
/* Which values are computed again: `again` of every node. Their ops are planned. */
void lk_plan_choose_again(lk_plan *plan);

/* Does the op of this kind have parameters? Pure. */
bool lk_plan_has_params(lk_op_kind kind);
/* "NCHW", "nChw8c", "NHWC"; "NC" for one pixel. Returns text. */
char *lk_plan_layout_name(const lk_act_desc *desc, char *text, size_t size);

#endif
