/* Lays buffers with known lifetimes over one block of memory, so that buffers that never live at once may overlap. */
#ifndef LK_NN_ARENA_H
#define LK_NN_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* A buffer and the steps in which it holds something: first..last, both included. */
typedef struct lk_live {
    int64_t bytes;
    int first, last;
    int64_t offset; /* bytes from the start of the arena, a multiple of LK_ALIGNMENT; assigned */
} lk_live;

/* Assigns every offset; *bytes becomes the size of the arena. Larger buffers are placed first, each in the smallest gap
 * that holds it among the buffers that live when it does; of two orders among equals the better one is kept. The result
 * depends on the ranges alone.
 * Errors: LK_ERR_MEMORY; LK_ERR_CONFIG when the arena would be larger than 2^62 bytes. */
LK_MUST_CHECK lk_status lk_arena_assign(lk_live *ranges, int count, int64_t *bytes, lk_error *err);

/* Do all ranges lie aligned inside `bytes`, and do no two that live at once overlap? If not, *a and *b (may be NULL)
 * are the first pair at fault, equal when one range alone is. Pure. */
bool lk_arena_is_sound(const lk_live *ranges, int count, int64_t bytes, int *a, int *b);

/* Most bytes alive at one step: no layout can be smaller. Pure. */
int64_t lk_arena_lower_bound(const lk_live *ranges, int count);

#endif
