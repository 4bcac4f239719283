/* Plans a case on a device and runs it in memory that shows misuse: a pattern round every buffer, NaN in all that the
 * device must write, read-only buffers compared afterwards. Every violation is an error. */
#ifndef LK_TESTS_OPS_LANE_H
#define LK_TESTS_OPS_LANE_H

#include "values.h"

typedef struct op_plan {
    lk_device *device; /* borrowed */
    const op_case *c;  /* borrowed */
    lk_op_desc desc;
    lk_op *op, *like; /* like: NULL where the case has none */
    lk_op_info info;
} op_plan;

/* Owner: the caller, with op_plan_free. like: keep this plan's parameter layout (NULL: as the case says).
 * Errors: those of lk_device.op_plan; LK_ERR_NUMERIC where the info is not what the case's shapes give. */
LK_MUST_CHECK lk_status op_plan_create(op_plan **out, lk_device *device, const op_case *c, lk_dtype compute,
                                       int64_t block, const op_plan *like, lk_error *err);
void op_plan_free(op_plan *plan);

typedef struct op_lane op_lane;

typedef struct op_lane_options {
    uint8_t fill; /* byte pattern of memory that the device must write: 0xff is NaN in every floating type */
    bool alias;   /* dresidual shares dy[0]'s memory */
} op_lane_options;

/* Call and free on the thread that runs it. The plan is borrowed and may be shared by threads. */
LK_MUST_CHECK lk_status op_lane_create(op_lane **out, const op_plan *plan, op_lane_options options, lk_error *err);
void op_lane_free(op_lane *lane);

/* Uploads, refreshes, runs forward and (where planned) backward, reads everything back and checks it.
 * Errors: those of the device; LK_ERR_NUMERIC with the violation. */
LK_MUST_CHECK lk_status op_lane_run(op_lane *lane, const op_values *values, op_results *results, lk_error *err);

/* For timing: uploads once, then each pass alone, unchecked. */
LK_MUST_CHECK lk_status op_lane_load(op_lane *lane, const op_values *values, lk_error *err);
LK_MUST_CHECK lk_status op_lane_forward(op_lane *lane, lk_error *err);
LK_MUST_CHECK lk_status op_lane_backward(op_lane *lane, lk_error *err);

/* One shot: plan, run, free. */
LK_MUST_CHECK lk_status op_run_case(lk_device *device, const op_case *c, lk_dtype compute, int64_t block,
                                    const op_values *values, op_results *results, lk_error *err);

#endif
