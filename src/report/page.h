/* The page that compares runs: one self-contained HTML file. */
#ifndef LK_REPORT_PAGE_H
#define LK_REPORT_PAGE_H

#include "report/comparison.h"

/* Writes the page atomically. thumbnails: wrongly classified images of each recipe, most confident first; they need the
 * data set that the job names, and the page says so where it is not there. Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_page_write(const lk_comparison *comparison, const char *path, int thumbnails, lk_error *err);

#endif
