#include "optim/schedule.h"

#include <assert.h>
#include <math.h>

static double decayed_lr(const lk_schedule *schedule, int64_t update) {
    static const double pi = 3.14159265358979323846;
    int64_t decays;
    switch (schedule->kind) {
        case LK_SCHEDULE_STEP:
            assert(schedule->step_updates > 0);
            decays = update / schedule->step_updates;
            return schedule->lr * pow(schedule->gamma, (double)decays);
        case LK_SCHEDULE_COSINE: {
            assert(schedule->total_updates > 0);
            /* Past the end the cosine would rise again. */
            if (update >= schedule->total_updates) return schedule->eta_min;
            double phase = pi * (double)update / (double)schedule->total_updates;
            return schedule->eta_min + (schedule->lr - schedule->eta_min) * (1 + cos(phase)) / 2;
        }
        default: return schedule->lr;
    }
}

double lk_schedule_lr(const lk_schedule *schedule, int64_t update) {
    if (update >= schedule->warmup_updates) return decayed_lr(schedule, update - schedule->warmup_updates);
    double share = (double)update / (double)schedule->warmup_updates;
    return schedule->lr * (schedule->warmup_factor + (1 - schedule->warmup_factor) * share);
}
