/* What a set of runs says about which recipe is better. Runs whose jobs differ in nothing but the seed (and in keys
 * that leave the results alone) are one recipe. */
#ifndef LK_REPORT_COMPARISON_H
#define LK_REPORT_COMPARISON_H

#include "report/bootstrap.h"
#include "report/run_record.h"

typedef struct lk_comparison_config {
    lk_best best;         /* whose predictions are compared */
    int resamples;        /* of the bootstrap */
    uint64_t seed;        /* of the bootstrap */
    bool allow_different; /* runs of different data sets or splits: compared by their figures alone */
} lk_comparison_config;

typedef struct lk_recipe {
    char *name;   /* of its first run, without the "-seed-1" of a sweep */
    int *members; /* indices of runs, count of them */
    int count;
    int predicted; /* members that finished, first in the list; the figures below are theirs */
    lk_interval f1;
    double validation_f1, accuracy, loss;               /* means over members; NaN where there is none */
    double seconds, images_per_second, peak_memory_mib; /* means; of all epochs, the median epoch, the largest */
} lk_recipe;

typedef struct lk_recipe_pair {
    int a, b;               /* recipes; a is the one with the higher macro-F1 */
    lk_interval difference; /* 95%, p uncorrected */
    double low, high;       /* simultaneous interval of all pairs (Bonferroni) */
    double p;               /* corrected by Holm */
    bool shown;             /* p <= 0.05 */
} lk_recipe_pair;

typedef struct lk_comparison {
    lk_run_record **runs; /* borrowed */
    int run_count;
    lk_recipe *recipes; /* by falling macro-F1, those without predictions last */
    int recipe_count;
    lk_recipe_pair *pairs;
    int pair_count;
    lk_final_split split; /* test, or validation where some run has no test predictions */
    bool same_data;       /* the same samples and labels everywhere: intervals and pairs are there */
    bool same_classes;    /* and the same class names */
    int classes;          /* of the first run */
    int resamples;
    lk_best best;
} lk_comparison;

/* Errors: LK_ERR_CONFIG when runs do not belong together (naming two and how they differ) or none has predictions;
 * LK_ERR_MEMORY. Owner: the caller, with lk_comparison_free; the runs stay the caller's. */
LK_MUST_CHECK lk_status lk_comparison_create(lk_comparison **out, lk_run_record **runs, int count,
                                             const lk_comparison_config *config, lk_error *err);
void lk_comparison_free(lk_comparison *comparison);

/* What is compared of a run: its predictions and its figures, of the best checkpoint and split chosen. Borrowed. */
const lk_prediction_set *lk_comparison_predictions(const lk_comparison *comparison, int run);
const lk_run_record_final *lk_comparison_final(const lk_comparison *comparison, int run);

/* The smallest p there can be is 2 / (resamples + 1), and Holm multiplies it by the number of pairs: resamples that so
 * many pairs need for any difference to be shown; 0 where there are enough. */
int lk_comparison_wanted_resamples(int resamples, int pairs);

/* The verdict on a pair as a sentence, e.g. "a is better than b by 1.2 points (95% interval 0.4 to 2.1)" or "no
 * difference shown between a and b". Returns text. */
char *lk_comparison_verdict(const lk_comparison *comparison, const lk_recipe_pair *pair, char *text, size_t size);

/* Does this key of a job leave the results alone, or is it the seed? */
bool lk_comparison_ignores(const char *key);

/* Do the jobs differ in nothing but keys that lk_comparison_ignores? */
bool lk_comparison_same_recipe(const lk_job *a, const lk_job *b);

/* Calls row for each key whose values differ between recipes; values: recipe_count texts. */
typedef lk_status (*lk_job_difference)(void *context, const char *key, const char *const *values, lk_error *err);
LK_MUST_CHECK lk_status lk_comparison_job_differences(const lk_comparison *comparison, lk_job_difference row,
                                                      void *context, lk_error *err);

#endif
