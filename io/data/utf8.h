/* Names and paths go into HDF5 and JSON, which hold UTF-8 only. */
#ifndef LK_IO_DATA_UTF8_H
#define LK_IO_DATA_UTF8_H

#include <stdbool.h>

/* Is the text well-formed UTF-8 without control characters? Pure. Source: RFC 3629. */
bool lk_utf8_is_valid(const char *text);

/* Replaces, in place, every byte that is not part of a valid character by '?'. */
void lk_utf8_clean(char *text);

#endif
