#include "core/patterns.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) text[--length] = '\0';
    return text;
}

lk_status lk_patterns_parse(lk_patterns *out, const char *list, const char *key, lk_error *err) {
    memset(out, 0, sizeof *out);
    if (list == NULL || list[strspn(list, " \t")] == '\0') return LK_OK;
    if (strlen(list) > LK_PATTERNS_LENGTH)
        return lk_fail(err, LK_ERR_CONFIG, "%s has more than %d characters; use fewer, wider patterns", key,
                       LK_PATTERNS_LENGTH);
    snprintf(out->text, sizeof out->text, "%s", list);
    char *rest = out->text, *item;
    while ((item = strsep(&rest, ",")) != NULL) {
        item = trim(item);
        if (*item == '\0' || out->count == LK_PATTERNS_MAX)
            return lk_fail(err, LK_ERR_CONFIG, "%s takes 1 to %d patterns between commas, none of them empty", key,
                           LK_PATTERNS_MAX);
        out->items[out->count++] = item;
    }
    return LK_OK;
}

static bool matches(const char *pattern, const char *name) {
    char part[256];
    if (fnmatch(pattern, name, 0) == 0) return true;
    for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        size_t length = (size_t)(dot - name);
        if (length >= sizeof part) return false;
        memcpy(part, name, length);
        part[length] = '\0';
        if (fnmatch(pattern, part, 0) == 0) return true;
    }
    return false;
}

bool lk_patterns_match(lk_patterns *patterns, const char *name) {
    bool any = false;
    for (int i = 0; i < patterns->count; i++) {
        if (!matches(patterns->items[i], name)) continue;
        patterns->matched[i]++;
        any = true;
    }
    return any;
}

lk_status lk_patterns_check(const lk_patterns *patterns, const char *key, const char *of, lk_error *err) {
    for (int i = 0; i < patterns->count; i++)
        if (patterns->matched[i] == 0)
            return lk_fail(err, LK_ERR_CONFIG,
                           "%s: the pattern '%s' matches no %s; `lockstep inspect` of a checkpoint lists the names",
                           key, patterns->items[i], of);
    return LK_OK;
}
