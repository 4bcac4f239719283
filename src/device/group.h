/* Batch normalisation over a group of leaves: what each tells the others, and what all make of it, in leaf order.
 * Unit of C below: channels, padding of a layout included where a device likes. */
#ifndef LK_DEVICE_GROUP_H
#define LK_DEVICE_GROUP_H

#include <stdint.h>

#include "core/error.h"

/* The group that a leaf belongs to; of lk_run. */
typedef struct lk_leaf_group {
    void *context;
    /* Every leaf of the group gives `count` numbers and gets all of theirs: all[part * count + i], part < *parts, in
     * leaf order. Blocks until each has called it with the same count. Errors: LK_ERR_COMM; what ended another leaf. */
    lk_status (*gather)(void *context, const double *mine, int64_t count, double *all, int *parts, lk_error *err);
} lk_leaf_group;

/* One leaf's message: how many values a channel has, then two numbers for each channel: mean and sum of squared
 * distances from it, or the two sums of the backward pass. Layout: 1, C, C. */
static inline int64_t lk_group_numbers(int64_t channels) { return 1 + 2 * channels; }

/* Bytes for a message, those of `leaves` leaves, and what they come to (C, C). */
int64_t lk_group_bytes(int64_t leaves, int64_t channels);

/* The places in lk_group_bytes() bytes. */
typedef struct lk_group_scratch {
    double *count, *first, *second; /* the own message */
    double *all;
    double *mean, *variance; /* of the group: C each; backward: the sums */
    double values;           /* a channel's values in the group */
} lk_group_scratch;
lk_group_scratch lk_group_place(void *memory, int64_t leaves, int64_t channels);

/* Gathers (count, means, squares), fills mean, (biased) variance and values. Source: Chan, Golub and LeVeque 1979,
 * equation 2.1, leaf after leaf. Errors: those of gather. */
LK_MUST_CHECK lk_status lk_group_statistics(lk_group_scratch *s, const lk_leaf_group *group, int64_t channels,
                                            lk_error *err);
/* Gathers (count, sums, dots), fills mean and variance with their sums, and values. Errors: those of gather. */
LK_MUST_CHECK lk_status lk_group_sums(lk_group_scratch *s, const lk_leaf_group *group, int64_t channels, lk_error *err);

#endif
