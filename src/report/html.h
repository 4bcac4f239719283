/* The frame of a self-contained page: escaping, style, sortable tables. No network is needed to read it. */
#ifndef LK_REPORT_HTML_H
#define LK_REPORT_HTML_H

#include <stdio.h>

#include "core/error.h"

/* Text between tags or in a double-quoted attribute: & < > " ' are escaped, control characters dropped. */
void lk_html_text(FILE *out, const char *text);
/* From <!doctype> to the start of <main>. */
void lk_html_begin(FILE *out, const char *title);
void lk_html_end(FILE *out);

/* Head of a table with a sorting button in each column; heads ends with NULL. texts: bit i is set where column i holds
 * text, which begins on the left; column 0 always does. */
void lk_html_table_begin(FILE *out, const char *caption, const char *const *heads, unsigned texts);
void lk_html_table_end(FILE *out);
/* <td>, right-aligned, "-" for NaN. */
void lk_html_number(FILE *out, double value, int digits);
/* Writes a page atomically: `body` puts all of it, lk_html_begin and lk_html_end included, into a stream. Errors:
 * those of body; LK_ERR_IO. */
typedef lk_status (*lk_html_body)(FILE *out, const void *context, lk_error *err);
LK_MUST_CHECK lk_status lk_html_write(const char *path, lk_html_body body, const void *context, lk_error *err);

/* Colours of series, safe for colour-blind readers (Okabe and Ito 2008, without the yellow, which is too light for
 * lines). `index` may be any number >= 0: after the seventh colour they come again, dashed. */
enum { LK_HTML_COLORS = 7 };
const char *lk_html_color(int index);
/* stroke-dasharray of series `index`, or "" for a solid line. */
const char *lk_html_dashes(int index);

#endif
