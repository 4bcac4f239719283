/* Sections of the page; page.c puts them in order. */
#ifndef LK_REPORT_PAGE_INTERNAL_H
#define LK_REPORT_PAGE_INTERNAL_H

#include <stdio.h>

#include "report/comparison.h"

/* Which line is which recipe. */
void lk_page_legend(FILE *out, const lk_comparison *comparison);

/* page_runs.c: curves, and both best checkpoints of each run. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_page_curves(FILE *out, const lk_comparison *comparison, lk_error *err);
void lk_page_bests(FILE *out, const lk_comparison *comparison);
/* page_classes.c: F1 of each class, confusion, calibration. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_page_classes(FILE *out, const lk_comparison *comparison, lk_error *err);
LK_MUST_CHECK lk_status lk_page_confusions(FILE *out, const lk_comparison *comparison, lk_error *err);
LK_MUST_CHECK lk_status lk_page_calibration(FILE *out, const lk_comparison *comparison, lk_error *err);
/* page_images.c: what was wrong. Errors: LK_ERR_MEMORY; a data set that is not there is said on the page. */
LK_MUST_CHECK lk_status lk_page_images(FILE *out, const lk_comparison *comparison, int count, lk_error *err);

#endif
