#include "report/sparkline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LEVELS = 8 };

/* Mean of the finite values of a column; NaN where there is none. */
static double column_of(const double *values, size_t count, int column, int columns) {
    size_t first = count * (size_t)column / (size_t)columns, end = count * (size_t)(column + 1) / (size_t)columns;
    double sum = 0;
    int finite = 0;
    for (size_t i = first; i < end; i++)
        if (isfinite(values[i])) {
            sum += values[i];
            finite++;
        }
    return finite > 0 ? sum / finite : NAN;
}

char *lk_sparkline(const double *values, size_t count, int width, bool ascii, char *text) {
    static const char *const blocks[2][LEVELS] = {{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
                                                  {"_", ".", ":", "-", "=", "+", "*", "#"}};
    double columns[LK_SPARKLINE_MAX], low = INFINITY, high = -INFINITY;
    if (width > LK_SPARKLINE_MAX) width = LK_SPARKLINE_MAX;
    if (width > 0 && (size_t)width > count) width = (int)count;
    text[0] = '\0';
    for (int c = 0; c < width; c++) {
        columns[c] = column_of(values, count, c, width);
        if (columns[c] < low) low = columns[c];
        if (columns[c] > high) high = columns[c];
    }
    for (int c = 0; c < width; c++) {
        if (isnan(columns[c])) {
            strcat(text, " ");
            continue;
        }
        int level = high > low ? (int)((columns[c] - low) / (high - low) * LEVELS) : 0;
        strcat(text, blocks[ascii][level < LEVELS ? level : LEVELS - 1]);
    }
    return text;
}

bool lk_locale_is_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || value[0] == '\0') continue;
        const char *dot = strchr(value, '.');
        return dot != NULL && (strncasecmp(dot, ".utf-8", 6) == 0 || strncasecmp(dot, ".utf8", 5) == 0);
    }
    return false;
}
