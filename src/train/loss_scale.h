/* Dynamic loss scaling: gradients of a 16-bit type with few exponents are computed of the loss times a power of two, so
 * that small ones do not vanish, and divided by it again before anything looks at them. An update whose gradients
 * overflow is skipped and the scale lowered (P13). Source: Micikevicius et al. 2018, "Mixed precision training",
 * section 3.2; start, factors and interval are those of torch.amp.GradScaler. */
#ifndef LK_TRAIN_LOSS_SCALE_H
#define LK_TRAIN_LOSS_SCALE_H

#include <stdbool.h>
#include <stdint.h>

#define LK_LOSS_SCALE_SKIPS 20     /* skipped updates in a row that end a run */
#define LK_LOSS_SCALE_MOST 0x1p126 /* its inverse is a normal float32; it grows no further */

/* All of it belongs into a checkpoint (P10). */
typedef struct lk_loss_scale {
    double scale;    /* a power of two: dividing by it is exact */
    int64_t good;    /* updates since it last changed */
    int64_t in_row;  /* skipped updates since the last that was made */
    int64_t skipped; /* in all */
} lk_loss_scale;

/* An update was made: the scale doubles after `interval` of them. */
void lk_loss_scale_grow(lk_loss_scale *state, int64_t interval);
/* An update overflowed: the scale is halved. False where the run shall end. */
bool lk_loss_scale_back_off(lk_loss_scale *state);

/* Is it one that scaling can have? Pure. */
bool lk_loss_scale_valid(double scale);

#endif
