/* Shared by the files of src/core/options*.c only. */
#ifndef LK_CORE_OPTIONS_INTERNAL_H
#define LK_CORE_OPTIONS_INTERNAL_H

#include "core/options.h"

#define LK_OPTION_MAX_NAME 128

/* As lk_options_set for a known option; `failure` is the status of a bad value. */
LK_MUST_CHECK lk_status lk_option_assign(const lk_option *option, void *target, const char *value, const char *where,
                                         lk_status failure, lk_error *err);

/* The nearest option's name or NULL. A name without its group counts as near ("momentum": "optimizer.momentum"). */
const char *lk_option_nearest(const lk_option *table, int count, const char *name);

/* Copies text for a message: control characters become '?', what is too long ends in "...". Returns out. */
char *lk_option_quote(char *out, size_t size, const char *text);

static inline void *lk_option_field(const lk_option *option, void *target) { return (char *)target + option->offset; }

static inline int *lk_option_count_field(const lk_option *option, void *target) {
    return (int *)(void *)((char *)target + option->count_offset);
}

#endif
