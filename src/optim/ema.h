/* Exponential moving average of weights: average = decay * average + (1 - decay) * weights after every update. */
#ifndef LK_OPTIM_EMA_H
#define LK_OPTIM_EMA_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lk_ema {
    double decay; /* 0: no average is kept */
    bool warmup;  /* the decay rises as 1 - (1 + updates / gamma)^-power until it reaches `decay` */
    double warmup_gamma, warmup_power;
} lk_ema;

/* Decay after update number `update` (0 for the first, after which the average is a copy). Pure.
 * Source: timm.utils.ModelEmaV3.get_decay. */
double lk_ema_decay(const lk_ema *ema, int64_t update);

#endif
