/* Faults of arithmetic over slabs. */
#include <math.h>

#include "fault.h"

lk_status op_fault_slab_add(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *sum, const void *x,
                            int64_t count, lk_error *err) {
    if (fault == OP_SLAB_ADD_LAST) count--;
    if (fault == OP_SLAB_ADD_TWICE) LK_RETURN_IF(inner->slab_add(inner, stream, sum, x, count, err));
    return inner->slab_add(inner, stream, sum, x, count, err);
}

/* p -= lr weight_decay p, apart from the gradient. */
static void decay_apart(const lk_device *inner, void *params, int64_t count, const lk_sgd *sgd) {
    for (int64_t i = 0; i < count; i++)
        op_put(inner->master, params, i, op_get(inner->master, params, i) * (1 - sgd->lr * sgd->weight_decay));
}

lk_status op_fault_slab_sgd(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *params, const void *grads,
                            void *velocity, int64_t count, const lk_sgd *sgd, lk_error *err) {
    lk_sgd changed = *sgd;
    if (fault == OP_SLAB_SGD_LAST) count--;
    if (fault == OP_SLAB_SGD_UPHILL) changed.lr = -changed.lr;
    if (fault == OP_SLAB_SGD_NO_DAMPENING) changed.dampening = 0;
    if (fault == OP_SLAB_SGD_NO_NESTEROV) changed.nesterov = false;
    if (fault == OP_SLAB_SGD_ALWAYS_FIRST) changed.first_step = true;
    if (fault == OP_SLAB_SGD_NEVER_FIRST) changed.first_step = false;
    if (fault == OP_SLAB_SGD_DECAY_APART) decay_apart(inner, params, count, sgd);
    if (fault == OP_SLAB_SGD_DECAY_APART || fault == OP_SLAB_SGD_NO_DECAY) changed.weight_decay = 0;
    return inner->slab_sgd(inner, stream, params, grads, velocity, count, &changed, err);
}

lk_status op_fault_slab_blend(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *running,
                              const void *fresh, int64_t count, double momentum, double scale, lk_error *err) {
    if (fault == OP_SLAB_BLEND_LAST) count--;
    if (fault == OP_SLAB_BLEND_NO_SCALE) scale = 1;
    if (fault == OP_SLAB_BLEND_REVERSED) momentum = 1 - momentum;
    return inner->slab_blend(inner, stream, running, fresh, count, momentum, scale, err);
}

lk_status op_fault_slab_sum_squares(lk_device *inner, op_slab_fault fault, lk_stream *stream, const void *x,
                                    int64_t count, double *out, lk_error *err) {
    if (fault == OP_SLAB_NORM_LAST) count--;
    LK_RETURN_IF(inner->slab_sum_squares(inner, stream, x, count, out, err));
    if (fault == OP_SLAB_NORM_ROOT) *out = sqrt(*out);
    if (fault == OP_SLAB_NORM_FINITE && !isfinite(*out)) *out = 0;
    if (fault == OP_SLAB_NORM_FLOAT32) {
        float sum = 0;
        for (int64_t i = 0; i < count; i++) {
            float value = (float)op_get(inner->master, x, i);
            sum += value * value;
        }
        *out = sum;
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
        {"slab_blend leaves out the last element", .slab = OP_SLAB_BLEND_LAST},
        {"slab_blend ignores the scale", .slab = OP_SLAB_BLEND_NO_SCALE},
        {"slab_blend reverses the momentum", .slab = OP_SLAB_BLEND_REVERSED},
        {"slab_sum_squares leaves out the last element", .slab = OP_SLAB_NORM_LAST},
        {"slab_sum_squares takes the root", .slab = OP_SLAB_NORM_ROOT},
        {"slab_sum_squares hides NaN and infinity", .slab = OP_SLAB_NORM_FINITE},
        {"slab_sum_squares sums in float32", .slab = OP_SLAB_NORM_FLOAT32},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
