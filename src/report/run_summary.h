/* One run at a glance, for a terminal: how it went, curves in a line of text each, where its checkpoints are. */
#ifndef LK_REPORT_RUN_SUMMARY_H
#define LK_REPORT_RUN_SUMMARY_H

#include <stdio.h>

#include "report/run_record.h"

typedef struct lk_summary_style {
    int width;  /* columns of the terminal */
    bool ascii; /* curves in letters, not in Unicode blocks */
    double now; /* for how long nothing was written. Unit: seconds since 1970 */
} lk_summary_style;

/* A paragraph. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_run_summary_print(const lk_run_record *run, const lk_summary_style *style, FILE *out,
                                             lk_error *err);
/* A line for each run, under a head. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_run_summary_list(lk_run_record *const *runs, int count, const lk_summary_style *style,
                                            FILE *out, lk_error *err);
/* An array with an object for each run. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_run_summary_json(lk_run_record *const *runs, int count, FILE *out, lk_error *err);

/* What all epochs of a run say together. */
typedef struct lk_run_totals {
    double seconds, images_per_second, data_wait; /* sum; means over time; NaN before the first epoch ended */
    double peak_memory_mib;                       /* the largest */
    int64_t epochs, updates;                      /* done */
} lk_run_totals;
lk_run_totals lk_run_total(const lk_run_record *run);

#endif
