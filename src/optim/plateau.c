#include "optim/plateau.h"

#include <math.h>

void lk_plateau_start(lk_plateau_state *state, double lr) { *state = (lk_plateau_state){.lr = lr}; }

static bool improves(const lk_plateau *p, const lk_plateau_state *state, double figure) {
    double best = state->has_best ? state->best : p->larger_is_better ? -INFINITY : INFINITY;
    double sign = p->larger_is_better ? 1 : -1;
    double bar = p->absolute ? best + sign * p->threshold : best * (1 + sign * p->threshold);
    return p->larger_is_better ? figure > bar : figure < bar;
}

bool lk_plateau_step(const lk_plateau *p, lk_plateau_state *state, double figure) {
    if (improves(p, state, figure)) {
        state->best = figure;
        state->has_best = 1;
        state->bad = 0;
    } else {
        state->bad++;
    }
    if (state->cooldown > 0) {
        state->cooldown--;
        state->bad = 0;
    }
    if (state->bad <= p->patience) return false;
    state->cooldown = p->cooldown;
    state->bad = 0;
    double lr = fmax(state->lr * p->factor, p->min_lr);
    if (!(state->lr - lr > p->eps)) return false;
    state->lr = lr;
    return true;
}
