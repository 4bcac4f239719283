/* How sure is a macro-F1, and a difference of two: the paired bootstrap over samples and seeds. */
#ifndef LK_REPORT_BOOTSTRAP_H
#define LK_REPORT_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Macro-F1 of every run on every resample of the test set. All runs see the same resamples, so that differences are
 * paired. */
typedef struct lk_bootstrap {
    int resamples, runs;
    uint64_t seed;
    double *score; /* runs: of the set as it is */
    double *draws; /* resamples x runs */
} lk_bootstrap;

typedef struct lk_interval {
    double estimate, low, high;
    double p; /* two-sided: twice the smaller share of resamples at or beyond 0, the sample itself counted */
} lk_interval;

/* labels: n, 0..classes-1. predictions: runs x n. Resample b draws element i as lk_random_below(n) of (seed, epoch b,
 * purpose RESAMPLE, index i). Macro-F1 as lk_metrics: over the classes that occur as label or prediction.
 * Owner: the caller, with lk_bootstrap_free. Errors: LK_ERR_MEMORY; LK_ERR_CONFIG for no samples or no runs.
 * Source: Efron and Tibshirani 1993, chapters 13 and 16. */
LK_MUST_CHECK lk_status lk_bootstrap_create(lk_bootstrap **out, const int32_t *labels, int64_t n, int classes,
                                            const int32_t *const *predictions, int runs, int resamples, uint64_t seed,
                                            lk_error *err);
void lk_bootstrap_free(lk_bootstrap *bootstrap);

/* Mean macro-F1 of the runs `members` (the seeds of one recipe). With two or more of them the seeds are drawn anew in
 * each resample too. level: 0.95. Percentile interval, quantiles as numpy's default. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_bootstrap_mean(const lk_bootstrap *bootstrap, const int *members, int count, double level,
                                          lk_interval *out, lk_error *err);
/* Mean of recipe a minus mean of recipe b, on the same samples. */
LK_MUST_CHECK lk_status lk_bootstrap_difference(const lk_bootstrap *bootstrap, const int *a, int a_count, const int *b,
                                                int b_count, double level, lk_interval *out, lk_error *err);

/* Ascending; no value may be NaN. */
void lk_sort_doubles(double *values, size_t count);

/* Holm's step-down correction in place: p[i] becomes the smallest family-wise level at which comparison i is rejected.
 * Source: Holm 1979. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_holm(double *p, int count, lk_error *err);

#endif
