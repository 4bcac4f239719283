#include <string.h>

#include "core/memory.h"
#include "core/options.h"
#include "core/options_internal.h"

typedef struct arguments {
    const lk_option *table;
    int count;
    void *target;
    int argc;
    char **argv;
    int next;   /* the word to look at */
    bool *seen; /* count */
    lk_error *err;
} arguments;

static lk_status unknown(const arguments *a, const char *word, const char *name) {
    char quoted[80];
    lk_option_quote(quoted, sizeof quoted, word);
    const char *near = name == NULL ? NULL : lk_option_nearest(a->table, a->count, name);
    if (near == NULL)
        return lk_fail(a->err, LK_ERR_USAGE, "%s: unknown option '%s'; see 'lockstep %s --help'", a->argv[0], quoted,
                       a->argv[0]);
    return lk_fail(a->err, LK_ERR_USAGE, "%s: unknown option '%s'; did you mean '--%s'?", a->argv[0], quoted, near);
}

static lk_status assign(const arguments *a, int i, const char *value) {
    a->seen[i] = true;
    return lk_option_assign(&a->table[i], a->target, value, a->argv[0], LK_ERR_USAGE, a->err);
}

/* The value of option i is the next word, or what stands behind "=" or the letter. */
static lk_status take_value(arguments *a, int i, const char *word, const char *attached) {
    if (attached != NULL) return assign(a, i, attached);
    if (a->table[i].type == LK_OPTION_BOOL) return assign(a, i, "true");
    if (a->next >= a->argc) return lk_fail(a->err, LK_ERR_USAGE, "%s: option '%s' needs a value", a->argv[0], word);
    return assign(a, i, a->argv[a->next++]);
}

static lk_status read_long(arguments *a, const char *word) {
    char name[LK_OPTION_MAX_NAME];
    size_t length = strcspn(word + 2, "=");
    if (length >= sizeof name) return unknown(a, word, NULL);
    memcpy(name, word + 2, length);
    name[length] = '\0';
    const char *attached = word[2 + length] == '=' ? word + 3 + length : NULL;
    int i = lk_options_find(a->table, a->count, name);
    if (i >= 0) return take_value(a, i, word, attached);
    if (strncmp(name, "no-", 3) == 0 && attached == NULL) {
        i = lk_options_find(a->table, a->count, name + 3);
        if (i >= 0 && a->table[i].type == LK_OPTION_BOOL) return assign(a, i, "false");
    }
    return unknown(a, word, name);
}

static lk_status read_letter(arguments *a, const char *word) {
    for (int i = 0; i < a->count; i++) {
        if (a->table[i].letter == 0 || a->table[i].letter != word[1]) continue;
        if (word[2] == '\0') return take_value(a, i, word, NULL);
        if (a->table[i].type != LK_OPTION_BOOL) return take_value(a, i, word, word + 2 + (word[2] == '='));
        return lk_fail(a->err, LK_ERR_USAGE, "%s: '-%c' takes no value and stands alone, not as in '%s'", a->argv[0],
                       word[1], word);
    }
    return unknown(a, word, NULL);
}

static lk_status require_all(const arguments *a) {
    int help = lk_options_find(a->table, a->count, "help");
    if (help >= 0 && a->seen[help]) return LK_OK;
    for (int i = 0; i < a->count; i++) {
        const lk_option *option = &a->table[i];
        if (a->seen[i] || option->default_text != NULL || (option->type == LK_OPTION_STRING && option->optional))
            continue;
        return lk_fail(a->err, LK_ERR_USAGE, "%s: option '--%s' must be given: %s", a->argv[0], option->name,
                       option->help == NULL ? "it has no default" : option->help);
    }
    return LK_OK;
}

lk_status lk_options_read_argv(const lk_option *table, int count, void *target, int argc, char **argv,
                               int *argument_count, lk_error *err) {
    arguments a = {table, count, target, argc, argv, 1, NULL, err};
    lk_status status = LK_OK;
    int kept = 0;
    bool only_arguments = false;
    *argument_count = 0;
    LK_TRY(LK_NEW(&a.seen, count, "options", err));
    while (a.next < argc) {
        char *word = argv[a.next++];
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            argv[1 + kept++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (word[1] == '-') {
            LK_TRY(read_long(&a, word));
        } else {
            LK_TRY(read_letter(&a, word));
        }
    }
    LK_TRY(require_all(&a));
    *argument_count = kept;
out:
    lk_free(a.seen);
    return status;
}
