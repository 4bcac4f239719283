/* A compiled model: an ordered list of op calls over one memory arena laid out by liveness, and the slabs
 * of parameters, gradients and statistics. Compiled for one (device, dtype, batch, training or not). */
#ifndef LK_NN_PLAN_H
#define LK_NN_PLAN_H

#include <stdio.h>

#include "device/device.h"
#include "nn/choices.h"
#include "nn/graph.h"

typedef struct lk_plan lk_plan; /* read-only once created; shared by lanes */
typedef struct lk_lane lk_lane; /* a plan bound to one arena and one stream */

/* One parameter: a named slice of the parameter slab, in the order of the graph. Gradient and optimizer
 * slabs have the same offsets. */
typedef struct lk_param {
    char name[LK_NAME_SIZE + 16]; /* "layer1.0.conv1.weight" */
    lk_param_role role;
    lk_shape shape;       /* as in the state_dict */
    int64_t offset;       /* elements into the slab; a multiple of 16 */
    int64_t stored_count; /* elements, layout padding included */
    lk_node_id node;
    int index;   /* which parameter of the op */
    bool frozen; /* not trained: its part of a gradient slab means nothing */
} lk_param;

/* One BatchNorm's statistics: a slice of the statistics slab, mean[C] then variance[C]. */
typedef struct lk_stat {
    char name[LK_NAME_SIZE]; /* "layer1.0.bn1" */
    int64_t channels;
    int64_t offset;  /* elements into the statistics slab */
    int64_t values;  /* values per channel in one microbatch of this plan: n * h * w */
    double momentum; /* weight of a microbatch in the running statistics */
    bool fixed;      /* the running statistics stay as they are; a microbatch's are not measured */
    lk_node_id node;
} lk_stat;

/* Which values the backward pass computes again instead of the forward pass keeping them. The bits are the same. */
typedef enum lk_recompute {
    LK_RECOMPUTE_NONE,
    LK_RECOMPUTE_CONVS, /* of 1x1 convolutions that widen: their input is small beside what they make */
    LK_RECOMPUTE_ALL,   /* also of BatchNorm with an activation and no residual */
    LK_RECOMPUTE_COUNT
} lk_recompute;

typedef struct lk_plan_options {
    int64_t batch;    /* samples of one microbatch */
    lk_dtype compute; /* LK_F32, LK_BF16, LK_F16, LK_TF32; ignored by the reference device (float64) */
    bool training;
    int group;              /* training: leaves that BatchNorm normalises together (lk_run.group); 0 or 1: each alone */
    lk_recompute recompute; /* training */
    const lk_choices *choices; /* implementations to be taken again where they name a pass, or NULL; read while
                                  compiling only */
    const lk_plan *like; /* plan of the same graph whose slabs of parameters and statistics are shared, or NULL; read
                            while compiling only. Derived parameters are each plan's own. */
} lk_plan_options;

typedef struct lk_plan_totals {
    int64_t params;        /* logical parameters */
    int64_t slab_count;    /* elements of a parameter, gradient or optimizer slab; a multiple of 16 */
    int64_t stats_count;   /* elements of the statistics slab */
    int64_t derived_bytes; /* of this plan's derived-parameter slab */
    int64_t arena_bytes;   /* of one lane */
    double flops, bytes;   /* of one microbatch */
    int calls;
    int launches, refresh_launches; /* of one microbatch; of lk_plan_refresh */
} lk_plan_totals;

/* Compiles. The graph is borrowed until lk_plan_free; so is the device. Not Collective.
 * Errors: LK_ERR_UNSUPPORTED listing the first op the device lacks and how many more; LK_ERR_CONFIG where a
 * BatchNorm in training would see fewer than 2 values a channel, or nothing is left to train; LK_ERR_MEMORY;
 * LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_plan_create(lk_plan **out, const lk_graph *graph, lk_device *device,
                                       const lk_plan_options *options, lk_error *err);
void lk_plan_free(lk_plan *plan);

void lk_plan_get_totals(const lk_plan *plan, lk_plan_totals *totals);
const lk_param *lk_plan_get_params(const lk_plan *plan, int *count); /* borrowed */
const lk_stat *lk_plan_get_stats(const lk_plan *plan, int *count);   /* borrowed */

/* Adds what the device chose for every pass. Errors: LK_ERR_MEMORY, LK_ERR_INTERNAL. */
LK_MUST_CHECK lk_status lk_plan_choices(const lk_plan *plan, lk_choices *choices, lk_error *err);
/* Why the first of options.choices that the device could not take was replaced by the device's own choice; "": all
 * were taken. Borrowed. */
const char *lk_plan_declined(const lk_plan *plan);

/* Parameter i between canonical order (state_dict order, master dtype) and a slab with this plan's offsets. */
LK_MUST_CHECK lk_status lk_plan_pack(const lk_plan *plan, int i, const void *canonical, void *slab, lk_error *err);
LK_MUST_CHECK lk_status lk_plan_unpack(const lk_plan *plan, int i, const void *slab, void *canonical, lk_error *err);

/* Fills a parameter slab with the model's initialisation, a function of (seed, parameter, element) alone; running
 * statistics become mean 0, variance 1. threads: how many share the work, the caller included. */
LK_MUST_CHECK lk_status lk_plan_initialise(const lk_plan *plan, uint64_t seed, int threads, void *params, void *stats,
                                           lk_error *err);

/* Rewrites the derived parameters after the parameters changed. */
LK_MUST_CHECK lk_status lk_plan_refresh(const lk_plan *plan, lk_stream *stream, const void *params, void *derived,
                                        lk_error *err);

/* One call of a plan. Unit: bytes, floating point operations of a microbatch. Texts are static or the plan's. */
typedef struct lk_plan_call {
    int number; /* forward, then backward */
    bool backward;
    const char *op;            /* "conv2d"; "add gradients" for a sum of two gradients;
                                  "finish gradients" for what follows them (lk_device.finish_gradients) */
    const char *layer;         /* "layer1.0.conv1" */
    char kind[48];             /* of layer: "conv2d 3x3", "batchnorm relu residual" */
    char implementation[112];  /* names, "" where the device has none */
    const lk_act_desc *made;   /* value written; backward: the gradient of x, or y's where there is none */
    double flops, bytes;       /* bytes: as lk_op_info */
    double operand_bytes;      /* the call's operands once: tensors, parameters, what is kept between the passes */
    int launches;              /* lk_op_info */
    const lk_op_launch *parts; /* what each of them is, where the device says so; else NULL */
    const char *launch;        /* of a call that is split: lk_op_launch.what; else NULL */
    const char *chosen[LK_PASS_COUNT]; /* lk_op_info.chosen of the passes that the call has; else NULL */
} lk_plan_call;

/* Calls are numbered from 0 to below this. Pure. */
int lk_plan_call_numbers(const lk_plan *plan);
/* Fills *call; false where this number has none (a layer that evaluation skips). */
bool lk_plan_get_call(const lk_plan *plan, int number, lk_plan_call *call);

/* Text (or JSON) of the plan: each call with implementation, layout, bytes, flops; slabs; arena. */
LK_MUST_CHECK lk_status lk_plan_print(const lk_plan *plan, FILE *out, bool json, lk_error *err);

/* Binds a plan to memory. arena: device memory of at least totals.arena_bytes, borrowed; plans that never run at
 * the same time may share it. stream: borrowed. Owner: the caller, with lk_lane_free. */
LK_MUST_CHECK lk_status lk_lane_create(lk_lane **out, const lk_plan *plan, lk_stream *stream, void *arena,
                                       lk_error *err);
void lk_lane_free(lk_lane *lane);

/* Where backward passes are cut. cuts: for each parameter, shall its gradient be complete and reported before later
 * calls are given to the stream? NULL: no, and so it is from the start; borrowed. Before the first pass. */
void lk_lane_cut(lk_lane *lane, const bool *cuts);

/* From now on passes are captured and given to the stream as one, backward in parts that end at the cuts
 * (lk_device.capture_begin); a device that cannot goes on as before. The bits are the same. Each pass is given call by
 * call the first time, and so are forward passes without lk_run.device_images and passes of a group. Before the first
 * pass. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_lane_use_graphs(lk_lane *lane, lk_error *err);

/* Called between ops and when the gradient of a parameter that is trained is complete, in the order of completion: on
 * devices with finish_gradients at a cut or at the end of the pass, on others after its op.
 * `param` is its index or -1 (between ops: a chance to poll). A status other than LK_OK ends the pass with it. */
typedef lk_status (*lk_grad_ready)(void *context, int param, lk_error *err);

/* Runs the calls in order. between (may be NULL) is called with param -1 after each op, or after several that go as
 * one. Errors: LK_ERR_DEVICE, or what `between` returned. */
LK_MUST_CHECK lk_status lk_lane_forward(lk_lane *lane, const lk_run *run, lk_grad_ready between, void *context,
                                        lk_error *err);
LK_MUST_CHECK lk_status lk_lane_backward(lk_lane *lane, const lk_run *run, lk_grad_ready ready, void *context,
                                         lk_error *err);

/* Async. Copies losses and logits of the last forward pass as they lie on the device; also while a backward pass is
 * enqueued behind it, which leaves both as they are. host: lk_plan_output_bytes of the device's host_alloc, to be read
 * when an event recorded behind the copy is done. Only a plan with a loss. */
LK_MUST_CHECK lk_status lk_lane_fetch(lk_lane *lane, void *host, lk_error *err);
int64_t lk_plan_output_bytes(const lk_plan *plan);
/* What was fetched: a loss per sample, 0 for padded rows, and batch x classes logits. */
void lk_lane_unpack(const lk_lane *lane, const void *host, double *losses, double *logits);

/* Blocking. logits: batch x classes float32 or float64 (always converted to double). */
LK_MUST_CHECK lk_status lk_lane_read_logits(lk_lane *lane, double *logits, lk_error *err);
/* Blocking. losses: one per sample; 0 for padded rows. Only a plan with a loss. */
LK_MUST_CHECK lk_status lk_lane_read_losses(lk_lane *lane, double *losses, lk_error *err);
/* Blocking. Any node's value in NCHW double (for tests and for naming the first bad layer): n*c*h*w values.
 * Valid right after a forward pass and only for values the plan keeps (see lk_lane_keeps). */
LK_MUST_CHECK lk_status lk_lane_read_value(lk_lane *lane, lk_node_id node, double *values, lk_error *err);
bool lk_lane_keeps(const lk_lane *lane, lk_node_id node);

#endif
