/* Learning-rate schedules: the rate of an update is a function of the update number alone (P8). */
#ifndef LK_OPTIM_SCHEDULE_H
#define LK_OPTIM_SCHEDULE_H

#include <stdint.h>

#include "core/error.h"

typedef enum lk_schedule_kind {
    LK_SCHEDULE_CONSTANT,
    LK_SCHEDULE_STEP,
    LK_SCHEDULE_COSINE,
    LK_SCHEDULE_KIND_COUNT
} lk_schedule_kind;

typedef struct lk_schedule {
    lk_schedule_kind kind;
    double lr;              /* base rate */
    int64_t step_updates;   /* STEP: updates between decays */
    double gamma;           /* STEP: factor */
    int64_t warmup_updates; /* linear from lr * warmup_factor; the other schedule starts after it */
    double warmup_factor;
    int64_t total_updates; /* COSINE: length, warm-up excluded; eta_min below */
    double eta_min;
} lk_schedule;

/* Learning rate of update `update` (0 for the first). Pure.
 * Source: torch.optim.lr_scheduler StepLR, LinearLR, CosineAnnealingLR (closed forms). */
double lk_schedule_lr(const lk_schedule *schedule, int64_t update);

#endif
