#include "nn/choices.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

#define HEAD "lockstep-choices 1\n"
#define BETWEEN " = "

typedef struct item {
    char *key, *choice;
} item;

struct lk_choices {
    item *items;
    int count;
    size_t capacity;
};

lk_status lk_choices_create(lk_choices **out, lk_error *err) { return LK_NEW(out, 1, "a list of choices", err); }

void lk_choices_free(lk_choices *choices) {
    if (choices == NULL) return;
    for (int i = 0; i < choices->count; i++) {
        lk_free(choices->items[i].key);
        lk_free(choices->items[i].choice);
    }
    lk_free(choices->items);
    lk_free(choices);
}

char *lk_choice_key(char *text, size_t size, const char *layer, const lk_op_desc *desc, lk_op_pass pass) {
    const lk_act_desc *x = &desc->x;
    snprintf(text, size, "%s %s %s %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64, layer, lk_op_pass_name(pass),
             lk_dtype_name(desc->tf32 ? LK_TF32 : desc->compute), x->n, x->c, x->h, x->w);
    return text;
}

const char *lk_choices_find(const lk_choices *choices, const char *key) {
    for (int i = 0; choices != NULL && i < choices->count; i++)
        if (strcmp(choices->items[i].key, key) == 0) return choices->items[i].choice;
    return NULL;
}

int lk_choices_count(const lk_choices *choices) { return choices->count; }

lk_status lk_choices_add(lk_choices *choices, const char *key, const char *choice, lk_error *err) {
    const char *known = lk_choices_find(choices, key);
    if (known != NULL && strcmp(known, choice) == 0) return LK_OK;
    if (known != NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "%s was planned in two ways: %s and %s", key, known, choice);
    if (choices->count == LK_CHOICES_MOST)
        return lk_fail(err, LK_ERR_INTERNAL, "a list of choices holds at most %d", LK_CHOICES_MOST);
    LK_RETURN_IF(lk_grow((void **)&choices->items, &choices->capacity, (size_t)choices->count + 1,
                         sizeof *choices->items, "a list of choices", err));
    item *added = &choices->items[choices->count++]; /* counted first: what fails half-way is freed with the list */
    *added = (item){NULL, NULL};
    LK_RETURN_IF(lk_strdup(&added->key, key, err));
    return lk_strdup(&added->choice, choice, err);
}

lk_status lk_choices_write(const lk_choices *choices, char **text, lk_error *err) {
    size_t bytes = sizeof HEAD;
    *text = NULL;
    for (int i = 0; i < choices->count; i++)
        bytes += strlen(choices->items[i].key) + strlen(choices->items[i].choice) + sizeof BETWEEN;
    LK_RETURN_IF(LK_NEW(text, bytes, "a list of choices", err));
    char *at = *text + sprintf(*text, "%s", HEAD);
    for (int i = 0; i < choices->count; i++)
        at += sprintf(at, "%s%s%s\n", choices->items[i].key, BETWEEN, choices->items[i].choice);
    return LK_OK;
}

static bool printable(const char *text) {
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~') return false;
    return true;
}

/* Four words, and something behind them. */
static const char *line_fault(const char *line, const char *between) {
    if (!printable(line)) return "holds bytes that are no text";
    if (between == NULL) return "is not a layer's pass = its choice";
    size_t key = (size_t)(between - line), choice = strlen(between + strlen(BETWEEN));
    if (key >= LK_CHOICE_KEY_SIZE || choice >= LK_CHOICE_SIZE) return "is too long";
    int blanks = 0;
    for (const char *at = line; at < between; at++) blanks += *at == ' ';
    return blanks != 3 || key < 7 || choice == 0 ? "is not a layer's pass = its choice" : NULL;
}

static lk_status parse_line(lk_choices *choices, char *line, int number, const char *where, lk_error *err) {
    char *between = strstr(line, BETWEEN);
    const char *fault = line_fault(line, between);
    if (fault == NULL && choices->count == LK_CHOICES_MOST) fault = "is one too many";
    if (fault == NULL) {
        *between = '\0';
        if (lk_choices_find(choices, line) != NULL) fault = "names a pass for the second time";
    }
    if (fault != NULL) return lk_fail(err, LK_ERR_DATA, "%s: line %d of its list of engines %s", where, number, fault);
    return lk_choices_add(choices, line, between + strlen(BETWEEN), err);
}

lk_status lk_choices_parse(lk_choices **out, const char *text, const char *where, lk_error *err) {
    lk_status status = LK_OK;
    lk_choices *choices = NULL;
    char *line = NULL;
    *out = NULL;
    if (strncmp(text, HEAD, strlen(HEAD)) != 0)
        return lk_fail(err, LK_ERR_DATA, "%s: its list of engines is not one that this program (%s) reads", where,
                       LK_VERSION);
    LK_TRY(LK_NEW(&line, LK_CHOICE_KEY_SIZE + LK_CHOICE_SIZE + sizeof BETWEEN, "a line", err));
    LK_TRY(lk_choices_create(&choices, err));
    int number = 2;
    for (const char *at = text + strlen(HEAD); *at != '\0'; number++) {
        size_t length = strcspn(at, "\n");
        if (at[length] == '\0' || length >= LK_CHOICE_KEY_SIZE + LK_CHOICE_SIZE)
            LK_TRY(lk_fail(err, LK_ERR_DATA, "%s: line %d of its list of engines is %s", where, number,
                           at[length] == '\0' ? "cut off" : "too long"));
        memcpy(line, at, length);
        line[length] = '\0';
        LK_TRY(parse_line(choices, line, number, where, err));
        at += length + 1;
    }
    *out = choices;
    choices = NULL;
out:
    lk_choices_free(choices);
    lk_free(line);
    return status;
}
