#include "core/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/options_internal.h"

char *lk_option_quote(char *out, size_t size, const char *text) {
    size_t length = strlen(text), kept = length < size ? length : size - 4;
    /* Never end inside a UTF-8 character. */
    while (kept < length && kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80) kept--;
    for (size_t i = 0; i < kept; i++) out[i] = (unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i];
    strcpy(out + kept, kept < length ? "..." : "");
    return out;
}

static lk_status bad_value(const lk_option *option, const char *value, const char *where, lk_status failure,
                           const char *wanted, lk_error *err) {
    char quoted[80];
    return lk_fail(err, failure, "%s: '%s' is '%s', must be %s", where, option->name,
                   lk_option_quote(quoted, sizeof quoted, value), wanted);
}

static bool is_limited(const lk_option *option) { return option->min != 0 || option->max != 0; }

/* "a number from 0 to 1", "an integer of at least 1" */
static char *describe_range(const lk_option *option, const char *kind, char *text, size_t size) {
    if (!is_limited(option)) {
        snprintf(text, size, "%s", kind);
    } else if (!isfinite(option->max)) {
        snprintf(text, size, "%s of at least %.15g", kind, option->min);
    } else {
        snprintf(text, size, "%s from %.15g to %.15g", kind, option->min, option->max);
    }
    return text;
}

static bool parse_bool(const char *value, bool *out) {
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(value, words[i]) != 0) continue;
        *out = i % 2 == 0;
        return true;
    }
    return false;
}

static bool parse_int(const char *value, int64_t *out) {
    char *end;
    if (*value == '\0' || strspn(value, "+-0123456789") != strlen(value)) return false;
    errno = 0;
    long long parsed = strtoll(value, &end, 10);
    *out = parsed;
    return errno == 0 && *end == '\0';
}

/* Decimal only: no "nan", "inf" or hexadecimal, which a job file hardly ever means. */
static bool parse_double(const char *value, double *out) {
    char *end;
    if (*value == '\0' || strspn(value, "+-.0123456789eE") != strlen(value)) return false;
    *out = strtod(value, &end);
    return end != value && *end == '\0' && isfinite(*out);
}

static bool in_range(const lk_option *option, double value) {
    return !is_limited(option) || (value >= option->min && value <= option->max);
}

static lk_status assign_string(const lk_option *option, void *field, const char *value, lk_error *err) {
    char *copy = NULL;
    bool unset = *value == '\0' && option->optional && option->default_text == NULL;
    if (!unset) LK_RETURN_IF(lk_strdup(&copy, value, err));
    char **slot = field;
    lk_free(*slot);
    *slot = copy;
    return LK_OK;
}

static lk_status assign_choice(const lk_option *option, void *field, const char *value, const char *where,
                               lk_status failure, lk_error *err) {
    int count = 0;
    for (; option->choices[count] != NULL; count++) {
        if (strcmp(value, option->choices[count]) != 0) continue;
        *(int *)field = count;
        return LK_OK;
    }
    char wanted[400] = "one of ";
    for (int i = 0; i < count; i++) {
        size_t used = strlen(wanted);
        snprintf(wanted + used, sizeof wanted - used, "%s%s", i == 0 ? "" : ", ", option->choices[i]);
    }
    const char *near = lk_nearest_name(value, option->choices, count);
    char hint[100] = "";
    if (near != NULL) snprintf(hint, sizeof hint, "; did you mean '%s'?", near);
    char sentence[sizeof wanted + sizeof hint];
    snprintf(sentence, sizeof sentence, "%s%s", wanted, hint);
    return bad_value(option, value, where, failure, sentence, err);
}

int lk_option_list_size(const lk_option *option) {
    return option->type == LK_OPTION_DOUBLES        ? LK_OPTION_MAX_LIST
           : option->type == LK_OPTION_LONG_DOUBLES ? LK_OPTION_LONG_LIST
                                                    : 0;
}

/* "0.1, 0.2" or "[0.1, 0.2]"; empty: none. */
static lk_status assign_doubles(const lk_option *option, void *target, const char *value, const char *where,
                                lk_status failure, lk_error *err) {
    double list[LK_OPTION_LONG_LIST];
    int count = 0, most = lk_option_list_size(option);
    char range[120], wanted[200];
    snprintf(wanted, sizeof wanted, "a list of at most %d: %s each", most,
             describe_range(option, "a number", range, sizeof range));
    const char *p = value + strspn(value, " [");
    const char *stop = p + strcspn(p, "]");
    while (p < stop) {
        size_t length = strcspn(p, ",]");
        char item[64];
        if (length >= sizeof item || count == most) return bad_value(option, value, where, failure, wanted, err);
        size_t lead = strspn(p, " ");
        if (lead > length) lead = length;
        memcpy(item, p + lead, length - lead);
        item[length - lead] = '\0';
        for (size_t end = length - lead; end > 0 && item[end - 1] == ' '; end--) item[end - 1] = '\0';
        if (!parse_double(item, &list[count]) || !in_range(option, list[count]))
            return bad_value(option, value, where, failure, wanted, err);
        count++;
        p += length;
        if (*p == ',') p++;
    }
    if (stop[strspn(stop, "] ")] != '\0') return bad_value(option, value, where, failure, wanted, err);
    memcpy(lk_option_field(option, target), list, (size_t)count * sizeof *list);
    *lk_option_count_field(option, target) = count;
    return LK_OK;
}

lk_status lk_option_assign(const lk_option *option, void *target, const char *value, const char *where,
                           lk_status failure, lk_error *err) {
    void *field = lk_option_field(option, target);
    char wanted[160];
    int64_t integer;
    double number;
    switch (option->type) {
        case LK_OPTION_BOOL:
            if (!parse_bool(value, field)) return bad_value(option, value, where, failure, "true or false", err);
            return LK_OK;
        case LK_OPTION_INT:
            if (!parse_int(value, &integer) || !in_range(option, (double)integer))
                return bad_value(option, value, where, failure,
                                 describe_range(option, "an integer", wanted, sizeof wanted), err);
            *(int64_t *)field = integer;
            return LK_OK;
        case LK_OPTION_DOUBLE:
            if (!parse_double(value, &number) || !in_range(option, number))
                return bad_value(option, value, where, failure,
                                 describe_range(option, "a number", wanted, sizeof wanted), err);
            *(double *)field = number;
            return LK_OK;
        case LK_OPTION_STRING: return assign_string(option, field, value, err);
        case LK_OPTION_CHOICE: return assign_choice(option, field, value, where, failure, err);
        case LK_OPTION_DOUBLES:
        case LK_OPTION_LONG_DOUBLES: return assign_doubles(option, target, value, where, failure, err);
    }
    return lk_fail(err, LK_ERR_INTERNAL, "option '%s' has no known type: report this", option->name);
}

static void clear_field(const lk_option *option, void *target) {
    void *field = lk_option_field(option, target);
    switch (option->type) {
        case LK_OPTION_BOOL: *(bool *)field = false; break;
        case LK_OPTION_INT: *(int64_t *)field = 0; break;
        case LK_OPTION_DOUBLE: *(double *)field = 0; break;
        case LK_OPTION_STRING: *(char **)field = NULL; break;
        case LK_OPTION_CHOICE: *(int *)field = 0; break;
        case LK_OPTION_DOUBLES:
        case LK_OPTION_LONG_DOUBLES:
            memset(field, 0, (size_t)lk_option_list_size(option) * sizeof(double));
            *lk_option_count_field(option, target) = 0;
            break;
    }
}

lk_status lk_options_defaults(const lk_option *table, int count, void *target, lk_error *err) {
    /* All fields first, so that lk_options_free is safe after a failure. */
    for (int i = 0; i < count; i++) clear_field(&table[i], target);
    for (int i = 0; i < count; i++) {
        if (table[i].default_text == NULL) continue;
        LK_RETURN_IF(
            lk_option_assign(&table[i], target, table[i].default_text, "built-in default", LK_ERR_INTERNAL, err));
    }
    return LK_OK;
}

lk_status lk_options_set(const lk_option *table, int count, void *target, const char *name, const char *value,
                         const char *where, lk_error *err) {
    int i = lk_options_find(table, count, name);
    if (i >= 0) return lk_option_assign(&table[i], target, value, where, LK_ERR_CONFIG, err);
    char quoted[80];
    lk_option_quote(quoted, sizeof quoted, name);
    const char *near = lk_option_nearest(table, count, name);
    if (near == NULL) return lk_fail(err, LK_ERR_CONFIG, "%s: unknown key '%s'", where, quoted);
    return lk_fail(err, LK_ERR_CONFIG, "%s: unknown key '%s'; did you mean '%s'?", where, quoted, near);
}

int lk_options_find(const lk_option *table, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0) return i;
    return -1;
}

lk_status lk_options_require(const lk_option *table, int count, const void *target, const bool *seen, const char *where,
                             lk_error *err) {
    for (int i = 0; i < count; i++) {
        const lk_option *option = &table[i];
        if (option->default_text != NULL) continue;
        bool missing;
        if (option->type == LK_OPTION_STRING) {
            missing = !option->optional && *(char *const *)((const char *)target + option->offset) == NULL;
        } else {
            missing = seen != NULL && !seen[i];
        }
        if (missing)
            return lk_fail(err, LK_ERR_CONFIG, "%s: '%s' is missing: %s", where, option->name,
                           option->help == NULL ? "it must be given" : option->help);
    }
    return LK_OK;
}

void lk_options_free(const lk_option *table, int count, void *target) {
    for (int i = 0; i < count; i++) {
        if (table[i].type != LK_OPTION_STRING) continue;
        char **slot = lk_option_field(&table[i], target);
        lk_free(*slot);
        *slot = NULL;
    }
}
