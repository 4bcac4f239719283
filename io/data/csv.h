/* Comma-separated tables with a header line. Source: RFC 4180; a byte order mark and lone LF are accepted too. */
#ifndef LK_IO_DATA_CSV_H
#define LK_IO_DATA_CSV_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct lk_csv lk_csv;

/* Opens and reads the header. Owner: the caller, with lk_csv_free. Errors: LK_ERR_IO; LK_ERR_DATA (empty, two columns
 * of one name, bad quoting). */
LK_MUST_CHECK lk_status lk_csv_open(lk_csv **out, const char *path, lk_error *err);
void lk_csv_free(lk_csv *csv);

/* Index of the column with this name. Errors: LK_ERR_DATA listing the names there are. */
LK_MUST_CHECK lk_status lk_csv_find(const lk_csv *csv, const char *name, int *column, lk_error *err);

/* Reads the next row; *more is false at the end. Empty lines are skipped. Errors: LK_ERR_DATA with path and line: bad
 * quoting, another number of fields than the header, a zero byte, a field over 64 KiB; LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_csv_next(lk_csv *csv, bool *more, lk_error *err);
/* A field of the row just read; borrowed until the next call of lk_csv_next. */
const char *lk_csv_field(const lk_csv *csv, int column);
/* Line on which the row began, from 1. */
int64_t lk_csv_line(const lk_csv *csv);

#endif
