/* A list of glob patterns on dotted names. */
#ifndef LK_CORE_PATTERNS_H
#define LK_CORE_PATTERNS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

#define LK_PATTERNS_MAX 32
#define LK_PATTERNS_LENGTH 400 /* characters of the whole list */

typedef struct lk_patterns {
    char text[LK_PATTERNS_LENGTH + 1]; /* the patterns, each ended by a zero */
    const char *items[LK_PATTERNS_MAX];
    int64_t matched[LK_PATTERNS_MAX]; /* names that each pattern matched so far */
    int count;
} lk_patterns;

/* Comma-separated patterns; NULL or blank: none. key: whose value it is, for messages. The struct must not move.
 * Errors: LK_ERR_CONFIG for an empty or too long item. */
LK_MUST_CHECK lk_status lk_patterns_parse(lk_patterns *out, const char *list, const char *key, lk_error *err);

/* Does any pattern (fnmatch: * ? [ ]) match the name or its first parts ("layer1" and "layer*.0" match
 * "layer1.0.conv1.weight")? Counts the match for every pattern that does. */
bool lk_patterns_match(lk_patterns *patterns, const char *name);

/* Did every pattern match something? Errors: LK_ERR_CONFIG naming the first that did not; of: what was searched
 * ("parameter of resnet18"). */
LK_MUST_CHECK lk_status lk_patterns_check(const lk_patterns *patterns, const char *key, const char *of, lk_error *err);

#endif
