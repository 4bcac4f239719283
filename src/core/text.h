/* Text in columns: UTF-8 as a terminal shows it. */
#ifndef LK_CORE_TEXT_H
#define LK_CORE_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Columns that a terminal needs for UTF-8 text: 2 for wide letters (Chinese, emoji), 0 for combining marks. Bytes that
 * are not UTF-8 and control characters count as 1. Unit: columns. */
int lk_text_width(const char *text);

/* Writes text into out (`size` bytes) so that it fills exactly `width` columns, blanks on the right; text that is wider
 * ends in "...", never inside a character; control characters and bytes that are not UTF-8 become '?'. Needs
 * size > 4 * width. Returns out. */
char *lk_text_fit(const char *text, int width, char *out, size_t size);

/* Writes one field of CSV: quoted, with quotes doubled, where RFC 4180 asks for it. */
void lk_text_write_csv(const char *text, FILE *out);

#endif
