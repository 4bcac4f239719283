#include "train/loss_scale.h"

#include <math.h>

void lk_loss_scale_grow(lk_loss_scale *state, int64_t interval) {
    state->in_row = 0;
    if (++state->good < interval) return;
    state->good = 0;
    if (state->scale < LK_LOSS_SCALE_MOST) state->scale *= 2;
}

bool lk_loss_scale_back_off(lk_loss_scale *state) {
    state->scale /= 2;
    state->good = 0;
    state->skipped++;
    return ++state->in_row < LK_LOSS_SCALE_SKIPS;
}

bool lk_loss_scale_valid(double scale) {
    int exponent;
    return scale >= 0x1p-200 && scale <= LK_LOSS_SCALE_MOST && frexp(scale, &exponent) == 0.5;
}
