/* The loss of a job: its keys, and what follows from how many training samples each class has. */
#ifndef LK_TRAIN_LOSS_H
#define LK_TRAIN_LOSS_H

#include "device/loss.h"
#include "io/data/dataset.h"
#include "train/job.h"
#include "train/metrics.h"

typedef enum lk_weighting {
    LK_WEIGHTING_NONE,
    LK_WEIGHTING_GIVEN,     /* loss.class_weights as they are */
    LK_WEIGHTING_INVERSE,   /* N / (K n). Source: scikit-learn's class_weight="balanced" */
    LK_WEIGHTING_EFFECTIVE, /* (1 - beta) / (1 - beta^n), scaled to sum K. Source: Cui et al. 2019, equation 4 */
    LK_WEIGHTING_COUNT
} lk_weighting;

typedef struct lk_loss {
    lk_loss_config config; /* its arrays lie in values */
    int classes;
    lk_weighting weighting;
    double *values;
} lk_loss;

/* counts: training samples of each class, in the order of class_names, or NULL where they are not known, which is an
 * error only for a job that needs them. Owner: the caller, with lk_loss_free (the content, not the struct).
 * Errors: LK_ERR_CONFIG for fewer than 2 classes, a list that is not one number per class, and a class without samples
 * that needs some, by name; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_loss_create(lk_loss *out, const lk_job *job, const char *const *class_names, int classes,
                                       const int64_t *counts, lk_error *err);
void lk_loss_free(lk_loss *loss);

/* What one key cannot tell alone, without the classes. Errors: LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_loss_check(const lk_job *job, lk_error *err);

/* How many of the training samples have each class. Owner of *counts: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_loss_count(int64_t **counts, const lk_dataset *dataset, const int64_t *samples,
                                      int64_t count, lk_error *err);

/* lk_run.weight_scale for these samples as one window: their number over the sum of their class weights, added in
 * order; 0 where that sum is 0, 1 without weights. Mixing does not change it: each microbatch has one lambda, and each
 * of its rows is the partner of one. Pure. */
double lk_loss_weight_scale(const lk_loss_config *config, const lk_dataset *dataset, const int64_t *samples,
                            int64_t count);

/* The loss of a whole split from the mean of its samples' losses (metrics->loss, at weight_scale 1): the sum of class
 * weights instead of their number, and the F1 term of its soft counts (NULL without one). Pure. */
double lk_loss_of_split(const lk_loss_config *config, const lk_metrics *metrics, const double *f1_counts);

/* Is it cross-entropy and nothing else? Pure. */
bool lk_loss_is_plain(const lk_loss *loss);
/* One line: terms, rules, numbers by class as far as there is room. Returns text. */
char *lk_loss_print(const lk_loss *loss, const char *const *class_names, char *text, size_t size);

#endif
