#include <stdio.h>
#include <time.h>

#include "modes.h"

#define SECONDS 0.05 /* for each pass of each case */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of as many passes as fit, in seconds. */
static lk_status best(op_lane *lane, lk_status (*pass)(op_lane *, lk_error *), double *out, lk_error *err) {
    double end = now() + SECONDS, fastest = 1e30;
    do {
        double start = now();
        LK_RETURN_IF(pass(lane, err));
        double taken = now() - start;
        if (taken < fastest) fastest = taken;
    } while (now() < end);
    *out = fastest;
    return LK_OK;
}

static lk_status time_case(op_context *context, const op_case *c, lk_dtype compute, int64_t block, lk_error *err) {
    op_plan *plan = NULL;
    op_lane *lane = NULL;
    op_values *values = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_plan_create(&plan, context->device, c, compute, block, NULL, err));
    LK_TRY(op_values_create(&values, context->reference, c, compute, 1, err));
    LK_TRY(op_lane_create(&lane, plan, (op_lane_options){.fill = 0xff}, err));
    LK_TRY(op_lane_load(lane, values, err));
    double forward = 0, backward = 0;
    LK_TRY(best(lane, op_lane_forward, &forward, err));
    if (lk_op_has_backward(&c->desc)) LK_TRY(best(lane, op_lane_backward, &backward, err));
    printf("%-42s %-9s %4lld  %-20.20s %10.0f ns %7.2f GFLOP/s", c->name, lk_dtype_name(compute), (long long)block,
           plan->info.impl_forward, forward * 1e9, plan->info.flops_forward / forward * 1e-9);
    if (backward > 0)
        printf("  backward %10.0f ns %7.2f GFLOP/s", backward * 1e9, plan->info.flops_backward / backward * 1e-9);
    printf("\n");
out:
    op_lane_free(lane);
    op_values_free(values);
    op_plan_free(plan);
    return status;
}

bool op_mode_speed(op_context *context) {
    lk_dtype dtypes[OP_DTYPES];
    int types = op_dtypes(context->device, dtypes), count, timed = 0;
    const op_case *list = op_cases(&count);
    for (int d = 0; d < types; d++)
        for (int i = 0; i < count; i++) {
            int64_t blocks[OP_BLOCKS];
            if (!op_selected(context, &list[i]) || !op_case_applies(context->device, &list[i])) continue;
            int layouts = op_blocks(&list[i], blocks);
            for (int k = 0; k < layouts; k++) {
                lk_error err = {0};
                lk_status status = time_case(context, &list[i], dtypes[d], blocks[k], &err);
                if (status == LK_OK) timed++;
                if (status == LK_OK || status == LK_ERR_UNSUPPORTED) continue;
                printf("FAIL %s: %s\n", list[i].name, err.message);
                return false;
            }
        }
    return timed > 0;
}
