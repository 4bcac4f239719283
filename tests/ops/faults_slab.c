/* Faults of arithmetic over slabs. */
#include <math.h>
#include <string.h>

#include "fault.h"

lk_status op_fault_slab_add(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *sum, const void *x,
                            int64_t count, lk_error *err) {
    if (fault == OP_SLAB_ADD_LAST) count--;
    if (fault == OP_SLAB_ADD_TWICE) LK_RETURN_IF(inner->slab_add(inner, stream, sum, x, count, err));
    return inner->slab_add(inner, stream, sum, x, count, err);
}

lk_status op_fault_slab_blend(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *running,
                              const void *fresh, int64_t count, double momentum, double scale, lk_error *err) {
    if (fault == OP_SLAB_BLEND_LAST) count--;
    if (fault == OP_SLAB_BLEND_NO_SCALE) scale = 1;
    if (fault == OP_SLAB_BLEND_REVERSED) momentum = 1 - momentum;
    return inner->slab_blend(inner, stream, running, fresh, count, momentum, scale, err);
}

lk_status op_fault_slab_lerp(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *average, const void *x,
                             int64_t count, double share, lk_error *err) {
    if (fault == OP_SLAB_LERP_LAST) count--;
    if (fault == OP_SLAB_LERP_REVERSED) share = 1 - share;
    if (fault == OP_SLAB_LERP_NEAR_COPY && share == 1) share = 1 - 1e-7;
    return inner->slab_lerp(inner, stream, average, x, count, share, err);
}

lk_status op_fault_slab_sum_squares(lk_device *inner, op_slab_fault fault, lk_stream *stream, const void *x,
                                    const int64_t *ends, int segments, double *out, lk_error *err) {
    int64_t short_ends[LK_SLAB_SEGMENTS];
    memcpy(short_ends, ends, (size_t)segments * sizeof *ends);
    if (fault == OP_SLAB_NORM_LAST) short_ends[segments - 1]--;
    if (fault == OP_SLAB_NORM_SEGMENTS && segments > 1) short_ends[0]++;
    LK_RETURN_IF(inner->slab_sum_squares(inner, stream, x, short_ends, segments, out, err));
    for (int s = 0; s < segments; s++) {
        if (fault == OP_SLAB_NORM_ROOT) out[s] = sqrt(out[s]);
        if (fault == OP_SLAB_NORM_FINITE && !isfinite(out[s])) out[s] = 0;
        if (fault != OP_SLAB_NORM_FLOAT32) continue;
        float sum = 0;
        for (int64_t i = s == 0 ? 0 : ends[s - 1]; i < ends[s]; i++) {
            float value = (float)op_get(inner->master, x, i);
            sum += value * value;
        }
        out[s] = sum;
    }
    return LK_OK;
}

const op_fault *op_faults_of_slabs(int *count) {
    static const op_fault FAULTS[] = {
        {"slab_add leaves out the last element", .slab = OP_SLAB_ADD_LAST},
        {"slab_add adds twice", .slab = OP_SLAB_ADD_TWICE},
        {"slab_sgd leaves out the last element", .slab = OP_SLAB_SGD_LAST},
        {"slab_sgd goes uphill", .slab = OP_SLAB_SGD_UPHILL},
        {"slab_sgd ignores weight decay", .slab = OP_SLAB_SGD_NO_DECAY},
        {"slab_sgd decays apart from the gradient", .slab = OP_SLAB_SGD_DECAY_APART},
        {"slab_sgd ignores dampening", .slab = OP_SLAB_SGD_NO_DAMPENING},
        {"slab_sgd ignores Nesterov", .slab = OP_SLAB_SGD_NO_NESTEROV},
        {"slab_sgd takes every step for the first", .slab = OP_SLAB_SGD_ALWAYS_FIRST},
        {"slab_sgd reads momentum at the first step", .slab = OP_SLAB_SGD_NEVER_FIRST},
        {"slab_sgd ignores the factor of the gradient", .slab = OP_SLAB_SGD_NO_SCALE},
        {"slab_sgd ignores the limit of the gradient", .slab = OP_SLAB_SGD_NO_LIMIT},
        {"slab_adam leaves out the last element", .slab = OP_SLAB_ADAM_LAST},
        {"slab_adam goes uphill", .slab = OP_SLAB_ADAM_UPHILL},
        {"slab_adam swaps the betas", .slab = OP_SLAB_ADAM_BETAS_SWAPPED},
        {"slab_adam does not correct the bias", .slab = OP_SLAB_ADAM_NO_CORRECTION},
        {"slab_adam couples the decay", .slab = OP_SLAB_ADAM_COUPLED},
        {"slab_adam decouples the decay", .slab = OP_SLAB_ADAM_DECOUPLED},
        {"slab_adam ignores weight decay", .slab = OP_SLAB_ADAM_NO_DECAY},
        {"slab_adam ignores epsilon", .slab = OP_SLAB_ADAM_NO_EPS},
        {"slab_adam ignores the factor of the gradient", .slab = OP_SLAB_ADAM_NO_SCALE},
        {"slab_adam ignores the limit of the gradient", .slab = OP_SLAB_ADAM_NO_LIMIT},
        {"slab_adam counts steps from 2", .slab = OP_SLAB_ADAM_STEP_LATE},
        {"slab_rmsprop leaves out the last element", .slab = OP_SLAB_RMSPROP_LAST},
        {"slab_rmsprop goes uphill", .slab = OP_SLAB_RMSPROP_UPHILL},
        {"slab_rmsprop puts epsilon in the other place", .slab = OP_SLAB_RMSPROP_EPS_MOVED},
        {"slab_rmsprop is never centered", .slab = OP_SLAB_RMSPROP_NOT_CENTERED},
        {"slab_rmsprop ignores momentum", .slab = OP_SLAB_RMSPROP_NO_MOMENTUM},
        {"slab_rmsprop puts the rate elsewhere", .slab = OP_SLAB_RMSPROP_LR_MOVED},
        {"slab_rmsprop starts at zero", .slab = OP_SLAB_RMSPROP_START},
        {"slab_rmsprop takes every step for the first", .slab = OP_SLAB_RMSPROP_ALWAYS_FIRST},
        {"slab_rmsprop reads its state at the first step", .slab = OP_SLAB_RMSPROP_NEVER_FIRST},
        {"slab_rmsprop ignores weight decay", .slab = OP_SLAB_RMSPROP_NO_DECAY},
        {"slab_rmsprop ignores the factor of the gradient", .slab = OP_SLAB_RMSPROP_NO_SCALE},
        {"slab_rmsprop ignores the limit of the gradient", .slab = OP_SLAB_RMSPROP_NO_LIMIT},
        {"slab_lerp leaves out the last element", .slab = OP_SLAB_LERP_LAST},
        {"slab_lerp reverses the share", .slab = OP_SLAB_LERP_REVERSED},
        {"slab_lerp copies nearly", .slab = OP_SLAB_LERP_NEAR_COPY},
        {"slab_blend leaves out the last element", .slab = OP_SLAB_BLEND_LAST},
        {"slab_blend ignores the scale", .slab = OP_SLAB_BLEND_NO_SCALE},
        {"slab_blend reverses the momentum", .slab = OP_SLAB_BLEND_REVERSED},
        {"slab_sum_squares leaves out the last element", .slab = OP_SLAB_NORM_LAST},
        {"slab_sum_squares begins a segment late", .slab = OP_SLAB_NORM_SEGMENTS},
        {"slab_sum_squares takes the root", .slab = OP_SLAB_NORM_ROOT},
        {"slab_sum_squares hides NaN and infinity", .slab = OP_SLAB_NORM_FINITE},
        {"slab_sum_squares sums in float32", .slab = OP_SLAB_NORM_FLOAT32},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
