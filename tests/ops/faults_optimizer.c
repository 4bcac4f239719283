/* Faults of optimizer steps over slabs. */
#include "fault.h"

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
    if (fault == OP_SLAB_SGD_NO_SCALE) changed.grad_scale = 0;
    if (fault == OP_SLAB_SGD_NO_LIMIT) changed.grad_limit = 0;
    if (fault == OP_SLAB_SGD_DECAY_APART) decay_apart(inner, params, count, sgd);
    if (fault == OP_SLAB_SGD_DECAY_APART || fault == OP_SLAB_SGD_NO_DECAY) changed.weight_decay = 0;
    return inner->slab_sgd(inner, stream, params, grads, velocity, count, &changed, err);
}

lk_status op_fault_slab_adam(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *params, const void *grads,
                             void *mean, void *square, int64_t count, const lk_adam *adam, lk_error *err) {
    lk_adam a = *adam;
    if (fault == OP_SLAB_ADAM_LAST) count--;
    if (fault == OP_SLAB_ADAM_UPHILL) a.lr = -a.lr;
    if (fault == OP_SLAB_ADAM_BETAS_SWAPPED) a.beta1 = adam->beta2, a.beta2 = adam->beta1;
    if (fault == OP_SLAB_ADAM_NO_CORRECTION && a.step > 1) a.step = 1000000;
    if (fault == OP_SLAB_ADAM_COUPLED) a.decoupled = false;
    if (fault == OP_SLAB_ADAM_DECOUPLED) a.decoupled = true;
    if (fault == OP_SLAB_ADAM_NO_DECAY) a.weight_decay = 0;
    if (fault == OP_SLAB_ADAM_NO_EPS) a.eps = 1e-12;
    if (fault == OP_SLAB_ADAM_NO_SCALE) a.grad_scale = 0;
    if (fault == OP_SLAB_ADAM_NO_LIMIT) a.grad_limit = 0;
    if (fault == OP_SLAB_ADAM_STEP_LATE) a.step++;
    return inner->slab_adam(inner, stream, params, grads, mean, square, count, &a, err);
}

lk_status op_fault_slab_rmsprop(lk_device *inner, op_slab_fault fault, lk_stream *stream, void *params,
                                const void *grads, void *square, void *mean, void *velocity, int64_t count,
                                const lk_rmsprop *rmsprop, lk_error *err) {
    lk_rmsprop r = *rmsprop;
    if (fault == OP_SLAB_RMSPROP_LAST) count--;
    if (fault == OP_SLAB_RMSPROP_UPHILL) r.lr = -r.lr;
    if (fault == OP_SLAB_RMSPROP_EPS_MOVED) r.eps_inside_sqrt = !r.eps_inside_sqrt;
    if (fault == OP_SLAB_RMSPROP_NOT_CENTERED) r.centered = false;
    if (fault == OP_SLAB_RMSPROP_NO_MOMENTUM) r.momentum = 0;
    if (fault == OP_SLAB_RMSPROP_LR_MOVED) r.lr_in_momentum = !r.lr_in_momentum;
    if (fault == OP_SLAB_RMSPROP_START) r.square_start = 0;
    if (fault == OP_SLAB_RMSPROP_ALWAYS_FIRST) r.first_step = true;
    if (fault == OP_SLAB_RMSPROP_NEVER_FIRST) r.first_step = false;
    if (fault == OP_SLAB_RMSPROP_NO_DECAY) r.weight_decay = 0;
    if (fault == OP_SLAB_RMSPROP_NO_SCALE) r.grad_scale = 0;
    if (fault == OP_SLAB_RMSPROP_NO_LIMIT) r.grad_limit = 0;
    return inner->slab_rmsprop(inner, stream, params, grads, square, mean, velocity, count, &r, err);
}
