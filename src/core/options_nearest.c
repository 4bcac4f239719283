#include <ctype.h>
#include <string.h>

#include "core/options_internal.h"

enum { MAX_LENGTH = 64 };

static int smaller(int a, int b) { return a < b ? a : b; }

/* Case and the choice of '-', '_' or '.' between words are free. */
static int fold(char c) { return c == '-' || c == '.' ? '_' : tolower((unsigned char)c); }

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost 1.
 * Source: Damerau 1964. */
static int edit_distance(const char *a, const char *b) {
    size_t rows = strlen(a), columns = strlen(b);
    if (rows > MAX_LENGTH || columns > MAX_LENGTH) return MAX_LENGTH;
    int cost[3][MAX_LENGTH + 1];
    for (size_t j = 0; j <= columns; j++) cost[0][j] = (int)j;
    for (size_t i = 1; i <= rows; i++) {
        int *row = cost[i % 3], *above = cost[(i + 2) % 3], *second = cost[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= columns; j++) {
            int same = fold(a[i - 1]) == fold(b[j - 1]);
            int best = smaller(above[j], row[j - 1]) + 1;
            best = smaller(best, above[j - 1] + !same);
            bool swapped = i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]);
            if (swapped) best = smaller(best, second[j - 2] + 1);
            row[j] = best;
        }
    }
    return cost[rows % 3][columns];
}

/* Index of the nearest name, or -1. names[i] lies i * stride bytes after the first, so that tables need no array of
 * their names. */
static int nearest(const char *name, const void *first, size_t stride, int count) {
    int limit = (int)strlen(name) / 3, best = limit < 1 ? 2 : limit + 1, found = -1;
    for (int i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)((const char *)first + (size_t)i * stride);
        int distance = edit_distance(name, candidate);
        if (distance >= best) continue;
        best = distance;
        found = i;
    }
    return found;
}

const char *lk_nearest_name(const char *name, const char *const *names, int count) {
    int found = nearest(name, names, sizeof *names, count);
    return found < 0 ? NULL : names[found];
}

const char *lk_option_nearest(const lk_option *table, int count, const char *name) {
    int found = count == 0 ? -1 : nearest(name, &table[0].name, sizeof *table, count);
    if (found >= 0) return table[found].name;
    if (strchr(name, '.') != NULL) return NULL;
    for (int i = 0; i < count; i++) {
        const char *dot = strrchr(table[i].name, '.');
        if (dot != NULL && edit_distance(dot + 1, name) <= (strlen(name) > 4 ? 1 : 0)) return table[i].name;
    }
    return NULL;
}
