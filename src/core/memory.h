/* Checked allocation: sizes are tested for overflow, failure is a sentence. */
#ifndef LK_CORE_MEMORY_H
#define LK_CORE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define LK_ALIGNMENT 64 /* bytes; every slab, arena and buffer starts on it */

/* Allocates count * size zeroed bytes, aligned to LK_ALIGNMENT. count = 0 gives a valid pointer.
 * Owner: the caller, with lk_free. Errors: LK_ERR_MEMORY, naming `what` and the bytes. */
LK_MUST_CHECK lk_status lk_alloc(void **out, size_t count, size_t size, const char *what, lk_error *err);

/* Typed form: lk_status s = LK_NEW(&p, n, "labels", err). */
#define LK_NEW(out, count, what, err) lk_alloc((void **)(out), (size_t)(count), sizeof **(out), what, err)

/* Grows *array (of elements of `size` bytes) so that it holds at least `needed`; *capacity is updated.
 * Contents are kept, new bytes are zero. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_grow(void **array, size_t *capacity, size_t needed, size_t size, const char *what,
                                lk_error *err);

/* Frees what lk_alloc or lk_grow gave; NULL is accepted. */
void lk_free(void *p);

/* Duplicates a string with lk_alloc. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_strdup(char **out, const char *text, lk_error *err);

/* Formats into a new string. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_format(char **out, lk_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Rounds bytes up to LK_ALIGNMENT. */
static inline size_t lk_round_up(size_t bytes) { return (bytes + LK_ALIGNMENT - 1) / LK_ALIGNMENT * LK_ALIGNMENT; }

#endif
