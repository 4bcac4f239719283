/* A comparison as text: for a terminal, as Markdown, CSV or JSON. */
#ifndef LK_REPORT_TABLES_H
#define LK_REPORT_TABLES_H

#include <stdio.h>

#include "report/comparison.h"

/* Aligned columns and the verdicts as sentences. */
void lk_comparison_print(const lk_comparison *comparison, FILE *out);
/* Tables of recipes, of pairs and of what differs between the jobs. */
LK_MUST_CHECK lk_status lk_comparison_write_markdown(const lk_comparison *comparison, FILE *out, lk_error *err);
/* One line a run: its figures at the best checkpoints. */
void lk_comparison_write_csv(const lk_comparison *comparison, FILE *out);
/* Recipes, pairs, runs; numbers that do not exist are null. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_comparison_write_json(const lk_comparison *comparison, FILE *out, lk_error *err);

#endif
