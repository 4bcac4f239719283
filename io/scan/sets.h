/* Disjoint sets of images that several threads join: an image's set is named by its smallest member. */
#ifndef LK_IO_SCAN_SETS_H
#define LK_IO_SCAN_SETS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "core/error.h"

typedef struct lk_sets {
    _Atomic int32_t *parent; /* never larger than the image itself */
    int32_t count;
    pthread_mutex_t join;
} lk_sets;

/* count sets of one. Owner: the caller, with lk_sets_free (the content), also after an error. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_sets_create(lk_sets *out, int32_t count, lk_error *err);
void lk_sets_free(lk_sets *sets);

/* Smallest member of i's set so far. Any thread. Source: path halving, Tarjan and van Leeuwen 1984. */
int32_t lk_sets_find(lk_sets *sets, int32_t i);
/* Any thread; the sets at the end do not depend on the order. */
void lk_sets_join(lk_sets *sets, int32_t a, int32_t b);

#endif
