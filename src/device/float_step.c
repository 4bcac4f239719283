#include "device/float_step.h"

#include <math.h>

#include "device/device.h"

/* What the gradient is multiplied by and limited to. */
static float scale_of(double grad_scale) { return grad_scale == 0 ? 1.0f : (float)grad_scale; }
static float limit_of(double grad_limit) { return grad_limit == 0 ? INFINITY : (float)grad_limit; }

lk_float_sgd lk_float_sgd_of(const lk_sgd *sgd) {
    return (lk_float_sgd){.scale = scale_of(sgd->grad_scale),
                          .limit = limit_of(sgd->grad_limit),
                          .lr = (float)sgd->lr,
                          .momentum = (float)sgd->momentum,
                          .fresh = (float)(1 - sgd->dampening),
                          .weight_decay = (float)sgd->weight_decay,
                          .nesterov = sgd->nesterov,
                          .first_step = sgd->first_step};
}

lk_float_adam lk_float_adam_of(const lk_adam *adam) {
    double decay = adam->weight_decay;
    return (lk_float_adam){.scale = scale_of(adam->grad_scale),
                           .limit = limit_of(adam->grad_limit),
                           .keep = adam->decoupled ? (float)(1 - adam->lr * decay) : 1.0f,
                           .decay = adam->decoupled ? 0.0f : (float)decay,
                           .fresh1 = (float)(1 - adam->beta1),
                           .fresh2 = (float)(1 - adam->beta2),
                           .rate = (float)(adam->lr / (1 - pow(adam->beta1, (double)adam->step))),
                           .correction = (float)(1 / sqrt(1 - pow(adam->beta2, (double)adam->step))),
                           .eps = (float)adam->eps,
                           .first_step = adam->step == 1};
}

lk_float_rmsprop lk_float_rmsprop_of(const lk_rmsprop *r) {
    bool gathers = r->momentum != 0 && r->lr_in_momentum;
    return (lk_float_rmsprop){.scale = scale_of(r->grad_scale),
                              .limit = limit_of(r->grad_limit),
                              .decay = (float)r->weight_decay,
                              .fresh = (float)(1 - r->alpha),
                              .eps_inside = r->eps_inside_sqrt ? (float)r->eps : 0.0f,
                              .eps_outside = r->eps_inside_sqrt ? 0.0f : (float)r->eps,
                              .momentum = (float)r->momentum,
                              .gather = gathers ? (float)r->lr : 1.0f,
                              .rate = gathers ? 1.0f : (float)r->lr,
                              .square_start = (float)r->square_start,
                              .first_step = r->first_step};
}
