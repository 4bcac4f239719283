/* A curve in one line of text. */
#ifndef LK_REPORT_SPARKLINE_H
#define LK_REPORT_SPARKLINE_H

#include <stdbool.h>
#include <stddef.h>

enum { LK_SPARKLINE_MAX = 200, LK_SPARKLINE_SIZE = 4 * LK_SPARKLINE_MAX }; /* columns; bytes for the text */

/* Draws `count` values in at most `width` columns (as many as values where they fit; else each column is the mean of
 * its share), the smallest at the bottom and the largest at the top; a column without a finite value is blank. ascii:
 * eight letters instead of Unicode's block elements. text: LK_SPARKLINE_SIZE bytes. Returns text. Pure. */
char *lk_sparkline(const double *values, size_t count, int width, bool ascii, char *text);

/* May text be UTF-8? By LC_ALL, LC_CTYPE, LANG, the first that is set. */
bool lk_locale_is_utf8(void);

#endif
