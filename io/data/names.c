#include "io/data/names.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/memory.h"
#include "io/data/format.h"
#include "io/data/utf8.h"

/* The slot that holds the name, or the free one where it belongs. slots > 0. */
static size_t find_slot(const lk_names *names, const char *name) {
    size_t slot = (size_t)XXH3_64bits(name, strlen(name)) & (names->slots - 1);
    while (names->table[slot] != 0 && strcmp(names->names[names->table[slot] - 1], name) != 0)
        slot = (slot + 1) & (names->slots - 1);
    return slot;
}

static lk_status rebuild(lk_names *names, size_t slots, lk_error *err) {
    int32_t *table = NULL;
    LK_RETURN_IF(LK_NEW(&table, slots, "a table of names", err));
    lk_free(names->table);
    names->table = table;
    names->slots = slots;
    for (int32_t i = 0; i < names->count; i++) names->table[find_slot(names, names->names[i])] = i + 1;
    return LK_OK;
}

int32_t lk_names_find(const lk_names *names, const char *name) {
    return names->slots == 0 ? -1 : names->table[find_slot(names, name)] - 1;
}

lk_status lk_names_add(lk_names *names, const char *name, int32_t *index, lk_error *err) {
    *index = lk_names_find(names, name);
    if (*index >= 0) return LK_OK;
    if (name[0] == '\0' || strlen(name) > LK_FORMAT_NAME_BYTES_MAX || !lk_utf8_is_valid(name))
        return lk_fail(err, LK_ERR_DATA, "the name \"%.80s\" must be UTF-8 text of 1 to %d bytes: rename it", name,
                       LK_FORMAT_NAME_BYTES_MAX);
    if (names->count == INT32_MAX) return lk_fail(err, LK_ERR_DATA, "there are too many different names");
    size_t needed = (size_t)names->count + 1;
    LK_RETURN_IF(lk_grow((void **)&names->names, &names->capacity, needed, sizeof *names->names, "names", err));
    if (needed * 2 > names->slots) LK_RETURN_IF(rebuild(names, names->slots == 0 ? 64 : names->slots * 2, err));
    LK_RETURN_IF(lk_strdup(&names->names[names->count], name, err));
    names->table[find_slot(names, name)] = names->count + 1;
    *index = names->count++;
    return LK_OK;
}

static bool is_integer(const char *name) {
    size_t digits = strspn(name, "0123456789");
    return digits > 0 && digits < 10 && name[digits] == '\0';
}

typedef struct entry {
    char *name;
    long value; /* 0 for all when sorting bytewise */
    int32_t old;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return strcmp(x->name, y->name);
}

lk_status lk_names_sort(lk_names *names, int32_t *new_index, lk_error *err) {
    entry *entries = NULL;
    LK_RETURN_IF(LK_NEW(&entries, names->count, "names", err));
    bool integers = true;
    for (int32_t i = 0; i < names->count; i++) integers = integers && is_integer(names->names[i]);
    for (int32_t i = 0; i < names->count; i++)
        entries[i] = (entry){names->names[i], integers ? strtol(names->names[i], NULL, 10) : 0, i};
    if (names->count > 0) qsort(entries, (size_t)names->count, sizeof *entries, compare_entries);
    for (int32_t i = 0; i < names->count; i++) {
        names->names[i] = entries[i].name;
        new_index[entries[i].old] = i;
    }
    lk_free(entries);
    return names->slots == 0 ? LK_OK : rebuild(names, names->slots, err);
}

void lk_names_free(lk_names *names) {
    for (int32_t i = 0; i < names->count; i++) lk_free(names->names[i]);
    lk_free(names->names);
    lk_free(names->table);
    *names = (lk_names){0};
}
