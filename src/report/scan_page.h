/* The page of a scan: one self-contained HTML file. */
#ifndef LK_REPORT_SCAN_PAGE_H
#define LK_REPORT_SCAN_PAGE_H

#include "report/scan_tables.h"

/* Writes the page atomically, with pictures of at most `pictures` images, together below 1.5 MB; what has no room is
 * counted on the page. Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_scan_page_write(const lk_scan_report *report, const char *path, int pictures, lk_error *err);

#endif
