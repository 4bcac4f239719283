#include "optim/ema.h"

#include <math.h>

double lk_ema_decay(const lk_ema *ema, int64_t update) {
    if (update <= 0) return 0;
    if (!ema->warmup) return ema->decay;
    return fmin(1 - pow(1 + (double)update / ema->warmup_gamma, -ema->warmup_power), ema->decay);
}
