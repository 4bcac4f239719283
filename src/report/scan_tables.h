/* The findings of a scan as text, CSV and JSON. */
#ifndef LK_REPORT_SCAN_TABLES_H
#define LK_REPORT_SCAN_TABLES_H

#include <stdio.h>

#include "io/scan/scan.h"
#include "report/label_errors.h"

typedef struct lk_scan_report {
    const lk_scan *scan;
    const lk_label_errors *labels; /* NULL: no runs were given */
} lk_scan_report;

/* How many groups, images and classes there is something to say about. Pure. */
int64_t lk_scan_report_findings(const lk_scan_report *report);

/* What was found, with a few examples of each. */
void lk_scan_report_print(const lk_scan_report *report, FILE *out);
/* One line a finding and image, with a header; docs/data.md says what the columns are. */
void lk_scan_report_write_csv(const lk_scan_report *report, FILE *out);
/* All of it. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_scan_report_write_json(const lk_scan_report *report, FILE *out, lk_error *err);

#endif
