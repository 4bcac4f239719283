/* ReduceLROnPlateau: the rate falls when a figure of the evaluations no longer improves.
 * Source: torch.optim.lr_scheduler.ReduceLROnPlateau. */
#ifndef LK_OPTIM_PLATEAU_H
#define LK_OPTIM_PLATEAU_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lk_plateau {
    bool larger_is_better; /* torch's mode "max" */
    double factor;         /* of a reduction */
    int64_t patience;      /* evaluations without improvement that are borne */
    double threshold;      /* of an improvement */
    bool absolute;         /* the threshold is a difference, not a share of the best */
    int64_t cooldown;      /* evaluations after a reduction that do not count */
    double min_lr;
    double eps; /* a reduction by no more than this is not made */
} lk_plateau;

/* All of it belongs into a checkpoint (P9). */
typedef struct lk_plateau_state {
    double lr;        /* the rate now */
    double best;      /* meaningless while has_best is 0 */
    int64_t has_best; /* 0 or 1 */
    int64_t bad;      /* evaluations in a row without improvement */
    int64_t cooldown; /* evaluations left that do not count */
} lk_plateau_state;

/* Before the first evaluation. */
void lk_plateau_start(lk_plateau_state *state, double lr);

/* Takes one evaluation's figure; NaN is no improvement. True when the rate was reduced. */
bool lk_plateau_step(const lk_plateau *plateau, lk_plateau_state *state, double figure);

#endif
