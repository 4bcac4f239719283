/* An ordered list of distinct names that finds a name's index at once: classes, groups. */
#ifndef LK_IO_DATA_NAMES_H
#define LK_IO_DATA_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct lk_names {
    char **names; /* count */
    int32_t count;
    size_t capacity;
    int32_t *table; /* slots of a hash table: index + 1, 0 for free */
    size_t slots;   /* a power of two */
} lk_names;

/* Index of a name, added at the end when it is new. Errors: LK_ERR_DATA: not UTF-8, empty or too long; LK_ERR_MEMORY.
 */
LK_MUST_CHECK lk_status lk_names_add(lk_names *names, const char *name, int32_t *index, lk_error *err);
/* -1 when there is no such name. */
int32_t lk_names_find(const lk_names *names, const char *name);
/* Sorts bytewise, or by value when every name is a decimal integer ("2" before "10").
 * new_index[old] is where each name went; count entries. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_names_sort(lk_names *names, int32_t *new_index, lk_error *err);
void lk_names_free(lk_names *names); /* frees the content, not the struct */

#endif
