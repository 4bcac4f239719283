#include "optim/schedule.h"

#include <assert.h>
#include <math.h>

static const double PI = 3.14159265358979323846;

static double half_cosine(double first, double last, double share) {
    return last + (first - last) * (1 + cos(PI * share)) / 2;
}

static double cosine_restarts(const lk_schedule *s, int64_t tick) {
    int64_t period = s->period;
    assert(period > 0 && s->period_factor > 0);
    if (s->period_factor == 1) {
        tick %= period;
    } else {
        while (tick >= period) {
            tick -= period;
            period *= s->period_factor;
        }
    }
    return half_cosine(s->lr, s->eta_min, (double)tick / (double)period);
}

static double multistep(const lk_schedule *s, int64_t tick) {
    int passed = 0;
    while (passed < s->milestone_count && tick >= s->milestones[passed]) passed++;
    return s->lr * pow(s->gamma, passed);
}

static double polynomial(const lk_schedule *s, int64_t tick) {
    if (tick >= s->length) return s->eta_min;
    return s->eta_min + (s->lr - s->eta_min) * pow(1 - (double)tick / (double)s->length, s->power);
}

/* A phase of the cycle, from tick `begin` to `end`. */
typedef struct phase {
    double end, first_lr, last_lr, first_momentum, last_momentum;
} phase;

static double anneal(const lk_one_cycle *c, double first, double last, double share) {
    return c->linear ? (last - first) * share + first : half_cosine(first, last, share);
}

static void one_cycle(const lk_schedule *s, int64_t tick, double *lr, double *momentum) {
    const lk_one_cycle *c = &s->cycle;
    double length = (double)s->length, low = s->lr / c->div_factor, last = low / c->final_div_factor;
    double rise = c->pct_start * length - 1, fall = 2 * c->pct_start * length - 2;
    double slow = c->max_momentum, fast = c->base_momentum;
    const phase two[] = {{rise, low, s->lr, slow, fast}, {length - 1, s->lr, last, fast, slow}};
    const phase three[] = {
        {rise, low, s->lr, slow, fast}, {fall, s->lr, low, fast, slow}, {length - 1, low, last, slow, slow}};
    const phase *phases = c->three_phase ? three : two;
    int count = c->three_phase ? 3 : 2, at = 0;
    double begin = 0, now = tick < s->length ? (double)tick : length - 1;
    while (at + 1 < count && now > phases[at].end) begin = phases[at++].end;
    double span = phases[at].end - begin, share = span > 0 ? (now - begin) / span : 1;
    *lr = anneal(c, phases[at].first_lr, phases[at].last_lr, share);
    *momentum = anneal(c, phases[at].first_momentum, phases[at].last_momentum, share);
}

/* tick: after the warm-up. */
static double rate_at(const lk_schedule *s, int64_t tick) {
    double lr, momentum;
    switch (s->kind) {
        case LK_SCHEDULE_STEP: assert(s->period > 0); return s->lr * pow(s->gamma, (double)(tick / s->period));
        case LK_SCHEDULE_COSINE:
            assert(s->length > 0);
            /* Past the end the cosine would rise again. */
            if (tick >= s->length) return s->eta_min;
            return half_cosine(s->lr, s->eta_min, (double)tick / (double)s->length);
        case LK_SCHEDULE_MULTISTEP: return multistep(s, tick);
        case LK_SCHEDULE_EXPONENTIAL: return s->lr * pow(s->gamma, (double)tick / (double)s->period);
        case LK_SCHEDULE_COSINE_RESTARTS: return cosine_restarts(s, tick);
        case LK_SCHEDULE_ONE_CYCLE: one_cycle(s, tick, &lr, &momentum); return lr;
        case LK_SCHEDULE_POLYNOMIAL: return polynomial(s, tick);
        default: return s->lr;
    }
}

double lk_schedule_lr(const lk_schedule *schedule, int64_t update) {
    assert(schedule->updates_per_tick > 0);
    int64_t tick = update / schedule->updates_per_tick;
    if (tick >= schedule->warmup) return rate_at(schedule, tick - schedule->warmup);
    double first = schedule->kind == LK_SCHEDULE_ONE_CYCLE ? rate_at(schedule, 0) : schedule->lr;
    double share = (double)tick / (double)schedule->warmup;
    return first * (schedule->warmup_factor + (1 - schedule->warmup_factor) * share);
}

bool lk_schedule_momentum(const lk_schedule *schedule, int64_t update, double *momentum) {
    double lr;
    if (schedule->kind != LK_SCHEDULE_ONE_CYCLE || !schedule->cycle.cycle_momentum) return false;
    int64_t tick = update / schedule->updates_per_tick - schedule->warmup;
    one_cycle(schedule, tick > 0 ? tick : 0, &lr, momentum);
    return true;
}

int64_t lk_schedule_warmup_updates(const lk_schedule *schedule) {
    return schedule->warmup * schedule->updates_per_tick;
}
