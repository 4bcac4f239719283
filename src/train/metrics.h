/* Everything that follows from one integer confusion matrix and the losses in sample order (P1, P2, P3). */
#ifndef LK_TRAIN_METRICS_H
#define LK_TRAIN_METRICS_H

#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

typedef struct lk_class_metrics {
    int64_t support, predicted, correct;
    double precision, recall, f1; /* 0 where the denominator is 0 (scikit-learn: zero_division=0) */
} lk_class_metrics;

typedef struct lk_metrics {
    int64_t samples;
    double loss; /* mean over samples, summed in sample order */
    double accuracy;
    double macro_f1;          /* over the classes that occur as label or prediction: scikit-learn's default */
    double macro_f1_all;      /* over all K classes, absent ones counted as 0 */
    double balanced_accuracy; /* mean recall over classes with support */
    int classes;
    lk_class_metrics *per_class; /* K; owned */
} lk_metrics;

/* confusion: K x K, row = true class, column = prediction, row-major. losses: per sample in sample order, or NULL.
 * Owner: the caller, with lk_metrics_free (which frees the content, not the struct). Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_metrics_compute(lk_metrics *out, const int64_t *confusion, int classes, const double *losses,
                                           int64_t samples, lk_error *err);
void lk_metrics_free(lk_metrics *metrics);

/* Index of the largest logit, the first of equals (as numpy.argmax). */
int lk_argmax(const double *logits, int classes);

/* Table: class, support, precision, recall, F1; the macro lines and the rule for absent classes last. */
void lk_metrics_print(const lk_metrics *metrics, const char *const *class_names, FILE *out);

/* Confusion matrix as text with class names, truncated to what a terminal can hold (up to 20 classes). */
void lk_confusion_print(const int64_t *confusion, const char *const *class_names, int classes, FILE *out);

#endif
