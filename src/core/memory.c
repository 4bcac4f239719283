#include "core/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lk_status lk_alloc(void **out, size_t count, size_t size, const char *what, lk_error *err) {
    *out = NULL;
    if (size != 0 && count > (SIZE_MAX - 2 * LK_ALIGNMENT) / size)
        return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %zu x %zu bytes for %s: the size overflows", count, size,
                       what);
    size_t bytes = lk_round_up(count * size);
    if (bytes == 0) bytes = LK_ALIGNMENT;
    void *p = aligned_alloc(LK_ALIGNMENT, bytes);
    if (p == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %zu bytes for %s: out of memory", bytes, what);
    memset(p, 0, bytes);
    *out = p;
    return LK_OK;
}

lk_status lk_grow(void **array, size_t *capacity, size_t needed, size_t size, const char *what, lk_error *err) {
    if (needed <= *capacity) return LK_OK;
    size_t target = *capacity < 16 ? 16 : *capacity;
    while (target < needed) {
        if (target > SIZE_MAX / 2) return lk_fail(err, LK_ERR_MEMORY, "cannot grow %s: the size overflows", what);
        target *= 2;
    }
    void *fresh = NULL;
    LK_RETURN_IF(lk_alloc(&fresh, target, size, what, err));
    if (*array != NULL) memcpy(fresh, *array, *capacity * size);
    lk_free(*array);
    *array = fresh;
    *capacity = target;
    return LK_OK;
}

void lk_free(void *p) { free(p); }

lk_status lk_strdup(char **out, const char *text, lk_error *err) {
    size_t bytes = strlen(text) + 1;
    LK_RETURN_IF(lk_alloc((void **)out, bytes, 1, "a string", err));
    memcpy(*out, text, bytes);
    return LK_OK;
}

lk_status lk_format(char **out, lk_error *err, const char *format, ...) {
    *out = NULL;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    lk_status status = length < 0 ? lk_fail(err, LK_ERR_INTERNAL, "cannot format a string")
                                  : lk_alloc((void **)out, (size_t)length + 1, 1, "a string", err);
    if (status == LK_OK) vsnprintf(*out, (size_t)length + 1, format, again);
    va_end(again);
    return status;
}
