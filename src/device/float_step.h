/* Optimizer steps as loops over float32 take them: the hyperparameters of device.h with what is the same for every
 * element computed once, in double, and rounded. */
#ifndef LK_DEVICE_FLOAT_STEP_H
#define LK_DEVICE_FLOAT_STEP_H

#include <stdbool.h>

/* Gradients are multiplied by scale and limited to [-limit, limit] first. */
typedef struct lk_float_sgd {
    float scale, limit;
    float lr, momentum, fresh, weight_decay; /* fresh: 1 - dampening */
    bool nesterov, first_step;
} lk_float_sgd;

typedef struct lk_float_adam {
    float scale, limit;
    float keep, decay;           /* parameter *= keep (decoupled decay), gradient += decay * parameter */
    float fresh1, fresh2;        /* 1 - beta */
    float rate, correction, eps; /* lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step) */
    bool first_step;
} lk_float_adam;

typedef struct lk_float_rmsprop {
    float scale, limit;
    float decay, fresh; /* fresh: 1 - alpha */
    float eps_inside, eps_outside;
    float momentum, gather, rate; /* velocity = momentum velocity + gather step; parameter -= rate velocity */
    float square_start;
    bool first_step;
} lk_float_rmsprop;

struct lk_sgd;
struct lk_adam;
struct lk_rmsprop;
/* Pure. */
lk_float_sgd lk_float_sgd_of(const struct lk_sgd *sgd);
lk_float_adam lk_float_adam_of(const struct lk_adam *adam);
lk_float_rmsprop lk_float_rmsprop_of(const struct lk_rmsprop *rmsprop);

#endif
