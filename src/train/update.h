/* The update itself: is the gradient finite, and one optimizer step, both over fixed segments of the slab on all lanes.
 */
#ifndef LK_TRAIN_UPDATE_H
#define LK_TRAIN_UPDATE_H

#include "optim/optimizer.h"
#include "train/lanes.h"

#define LK_UPDATE_SEGMENTS 64 /* of the slab, LK_SLAB_SEGMENTS at most; part of the bits of the norm: never changed */

/* Euclidean norm of a gradient slab where parameters are trained: sums of squares of fixed segments, added in order,
 * whatever the lanes.
 * Errors: LK_ERR_NUMERIC naming the first parameter, in forward order, that holds NaN or Inf (P13). */
LK_MUST_CHECK lk_status lk_gradient_norm(double *norm, lk_lanes *lanes, const void *grads, lk_error *err);

/* One optimizer step of all parameters; the derived copies become stale. Where the network keeps a moving average of
 * parameters and statistics, it moves towards them by average_share (1 - decay) of the distance. */
LK_MUST_CHECK lk_status lk_update_apply(lk_lanes *lanes, lk_optimizer *optimizer, const void *grads,
                                        const lk_step *step, double average_share, lk_error *err);

#endif
