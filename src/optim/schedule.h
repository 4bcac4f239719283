/* Learning-rate schedules: the rate of an update is a function of the update number alone (P8); ReduceLROnPlateau's
 * state is in plateau.h. */
#ifndef LK_OPTIM_SCHEDULE_H
#define LK_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

#define LK_SCHEDULE_MILESTONES 16

typedef enum lk_schedule_kind {
    LK_SCHEDULE_CONSTANT,
    LK_SCHEDULE_STEP,
    LK_SCHEDULE_COSINE,
    LK_SCHEDULE_MULTISTEP,
    LK_SCHEDULE_EXPONENTIAL,
    LK_SCHEDULE_COSINE_RESTARTS,
    LK_SCHEDULE_ONE_CYCLE,
    LK_SCHEDULE_POLYNOMIAL,
    LK_SCHEDULE_PLATEAU,
    LK_SCHEDULE_KIND_COUNT
} lk_schedule_kind;

/* ONE_CYCLE: up from lr / div_factor to lr and down to lr / div_factor / final_div_factor, momentum (or beta1) the
 * other way. Source: Smith and Topin 2017; torch.optim.lr_scheduler.OneCycleLR. */
typedef struct lk_one_cycle {
    double pct_start; /* share of the length that rises */
    double div_factor, final_div_factor;
    double base_momentum, max_momentum;
    bool linear;      /* straight lines instead of half cosines */
    bool three_phase; /* down as long as up, then the rest to the last rate */
    bool cycle_momentum;
} lk_one_cycle;

/* Unit of lengths: ticks, what torch's scheduler.step() counts: updates, or epochs. */
typedef struct lk_schedule {
    lk_schedule_kind kind;
    double lr;                /* base rate; ONE_CYCLE: the highest */
    int64_t updates_per_tick; /* 1, or the updates of an epoch where the rate changes once an epoch */
    int64_t warmup;           /* linear from the first rate * warmup_factor; the schedule starts after it */
    double warmup_factor;
    int64_t length;        /* COSINE, ONE_CYCLE, POLYNOMIAL: warm-up excluded */
    int64_t period;        /* STEP: between decays; EXPONENTIAL: of one factor gamma; COSINE_RESTARTS: first cycle */
    int64_t period_factor; /* COSINE_RESTARTS: each cycle is so many times as long as the one before */
    double gamma;          /* STEP, MULTISTEP, EXPONENTIAL */
    double eta_min;        /* COSINE, COSINE_RESTARTS, POLYNOMIAL: last rate */
    double power;          /* POLYNOMIAL */
    int64_t milestones[LK_SCHEDULE_MILESTONES]; /* MULTISTEP: ascending */
    int milestone_count;
    lk_one_cycle cycle;
} lk_schedule;

/* Learning rate of update `update` (0 for the first); PLATEAU: as if it were never reduced. Pure.
 * Source: torch.optim.lr_scheduler StepLR, CosineAnnealingLR, MultiStepLR, ExponentialLR, CosineAnnealingWarmRestarts,
 * OneCycleLR, PolynomialLR (closed forms), LinearLR for the warm-up. */
double lk_schedule_lr(const lk_schedule *schedule, int64_t update);

/* Momentum (or beta1) of update `update`; false where the schedule leaves it alone. Pure. */
bool lk_schedule_momentum(const lk_schedule *schedule, int64_t update, double *momentum);

/* First update after the warm-up. Pure. */
int64_t lk_schedule_warmup_updates(const lk_schedule *schedule);

#endif
