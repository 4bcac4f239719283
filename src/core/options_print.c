#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/options.h"

/* Fewest digits that read back to the same double. */
static void print_double(double value, char *text, size_t size) {
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

char *lk_option_print(const lk_option *option, const void *target, char *text, size_t size) {
    const void *field = (const char *)target + option->offset;
    text[0] = '\0';
    switch (option->type) {
        case LK_OPTION_BOOL: snprintf(text, size, "%s", *(const bool *)field ? "true" : "false"); break;
        case LK_OPTION_INT: snprintf(text, size, "%" PRId64, *(const int64_t *)field); break;
        case LK_OPTION_DOUBLE: print_double(*(const double *)field, text, size); break;
        case LK_OPTION_STRING: {
            const char *value = *(char *const *)field;
            snprintf(text, size, "%s", value == NULL ? "" : value);
            break;
        }
        case LK_OPTION_CHOICE: snprintf(text, size, "%s", option->choices[*(const int *)field]); break;
        case LK_OPTION_DOUBLES:
        case LK_OPTION_LONG_DOUBLES: {
            const double *list = field;
            int count = *(const int *)(const void *)((const char *)target + option->count_offset);
            size_t used = 0;
            for (int i = 0; i < count && used < size; i++) {
                char item[32];
                print_double(list[i], item, sizeof item);
                used += (size_t)snprintf(text + used, size - used, "%s%s", i == 0 ? "" : ", ", item);
            }
            break;
        }
    }
    return text;
}

static const char *type_name(const lk_option *option) {
    switch (option->type) {
        case LK_OPTION_BOOL: return "true|false";
        case LK_OPTION_INT: return "INTEGER";
        case LK_OPTION_DOUBLE: return "NUMBER";
        case LK_OPTION_STRING: return "TEXT";
        case LK_OPTION_DOUBLES:
        case LK_OPTION_LONG_DOUBLES: return "NUMBER,...";
        case LK_OPTION_CHOICE: return "";
    }
    return "";
}

/* "  -o, --output TEXT" or "  optimizer.momentum NUMBER" */
static void print_left(const lk_option *option, const char *prefix, char *text, size_t size) {
    bool dashes = prefix[0] == '-';
    char letter[8] = "";
    if (dashes) snprintf(letter, sizeof letter, option->letter == 0 ? "    " : "-%c, ", option->letter);
    int used = snprintf(text, size, "  %s%s%s", letter, prefix, option->name);
    if (used < 0 || (size_t)used >= size || (dashes && option->type == LK_OPTION_BOOL)) return;
    if (option->type != LK_OPTION_CHOICE) {
        snprintf(text + used, size - (size_t)used, " %s", type_name(option));
        return;
    }
    for (int i = 0; option->choices[i] != NULL && (size_t)used < size; i++)
        used += snprintf(text + used, size - (size_t)used, "%s%s", i == 0 ? " " : "|", option->choices[i]);
}

/* "[0.9; 0 to 1]", "[required]" */
static void print_notes(const lk_option *option, const char *prefix, FILE *out) {
    bool limited = option->min != 0 || option->max != 0;
    /* A limit that nobody meets is no news. */
    bool open_ended = limited && !(option->max < 1e9);
    bool is_flag = prefix[0] == '-' && option->type == LK_OPTION_BOOL;
    const char *fallback = option->default_text;
    if (is_flag && fallback != NULL && strcmp(fallback, "false") == 0) return;
    if (fallback == NULL && option->type == LK_OPTION_STRING && option->optional) return;
    fprintf(out, " [%s", fallback == NULL ? "required" : *fallback == '\0' ? "none" : fallback);
    if (is_flag) fprintf(out, "; --no-%s turns it off", option->name);
    if (limited && !open_ended) fprintf(out, "; %.15g to %.15g", option->min, option->max);
    if (open_ended) fprintf(out, "; at least %.15g", option->min);
    fputc(']', out);
}

void lk_options_help(const lk_option *table, int count, const char *prefix, FILE *out) {
    size_t width = 0;
    char left[256];
    for (int i = 0; i < count; i++) {
        print_left(&table[i], prefix, left, sizeof left);
        size_t length = strlen(left);
        if (length > width && length <= 44) width = length;
    }
    for (int i = 0; i < count; i++) {
        print_left(&table[i], prefix, left, sizeof left);
        if (strlen(left) > width) {
            fprintf(out, "%s\n%*s", left, (int)width, "");
        } else {
            fprintf(out, "%-*s", (int)width, left);
        }
        fprintf(out, "  %s", table[i].help == NULL ? "" : table[i].help);
        print_notes(&table[i], prefix, out);
        fputc('\n', out);
    }
}
