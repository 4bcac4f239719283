/* The decision layer: a temperature and an offset for each class, fitted on validation data, between the logits z and
 * the prediction: argmax(z / temperature + offset). The temperature makes probabilities mean what they say; the offsets
 * maximise macro-F1. */
#ifndef LK_TRAIN_DECISION_H
#define LK_TRAIN_DECISION_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define LK_DECISION_MIN_TEMPERATURE 0.01
#define LK_DECISION_MAX_TEMPERATURE 100.0

/* What fitting reached on the samples it was fitted on. after: cross-fitted, each sample by what the other folds gave.
 */
typedef struct lk_decision_figures {
    double f1_before, f1_after;     /* macro-F1 */
    double loss_before, loss_after; /* cross-entropy, without and with the temperature (without the offsets) */
    double ece_before, ece_after;   /* expected calibration error, likewise */
} lk_decision_figures;

typedef struct lk_decision {
    int classes;
    double temperature; /* 1: none was fitted */
    double *offsets;    /* classes, their mean 0; added to z / temperature */
    bool folded;        /* both are in the weights of the last layer already */
    char split[16];     /* "validation" */
    int64_t samples;
    int folds;
    uint64_t dataset_hash[2]; /* of the data set that it was fitted on */
    lk_decision_figures figures;
} lk_decision;

typedef struct lk_decision_options {
    bool temperature, offsets; /* which are fitted */
    int folds;                 /* of the cross-fit: at least 2 */
    uint64_t seed;             /* which sample is in which fold */
} lk_decision_options;

/* Can both be fitted? Every class needs two samples, or a fold would be fitted without it (one alone where only the
 * temperature is fitted). class_names may be NULL. Errors: LK_ERR_DATA naming the class; LK_ERR_NUMERIC naming the
 * first sample whose logits are not finite; LK_ERR_MEMORY. logits: n x classes. */
LK_MUST_CHECK lk_status lk_decision_check(const float *logits, const int32_t *labels, int64_t n, int classes,
                                          const char *const *class_names, const lk_decision_options *options,
                                          lk_error *err);

/* Fits on all n samples. The temperature minimises the cross-entropy, which is convex in its inverse (Newton's method,
 * kept inside the bounds above; 1 where each label has the largest logit, so that there is no minimum). The offsets
 * maximise macro-F1 by coordinate ascent: along one class's offset macro-F1 changes only where some sample's prediction
 * does, so the best of all intervals between those points is found exactly; several starts, the best end. Record fields
 * are left 0. Owner: the caller, with lk_decision_free. Errors: LK_ERR_MEMORY. Source: Guo et al. 2017 (temperature);
 * the search is that of Fan and Lin 2007, over argmax.
 */
LK_MUST_CHECK lk_status lk_decision_fit(lk_decision *out, const float *logits, const int32_t *labels, int64_t n,
                                        int classes, const lk_decision_options *options, lk_error *err);
/* scaled, decided: n x classes: each row's z / temperature, and with the offsets, of what was fitted on the folds that
 * the row is not in. Folds are equal in every class as far as they can; samples of one group (groups[i] >= 0; NULL: no
 * groups) stay together. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_decision_cross_fit(float *scaled, float *decided, const float *logits, const int32_t *labels,
                                              const int32_t *groups, int64_t n, int classes,
                                              const lk_decision_options *options, lk_error *err);

/* In place: n x classes. */
void lk_decision_apply(const lk_decision *decision, float *logits, int64_t n);
void lk_decision_apply_double(const lk_decision *decision, double *logits, int64_t n);

LK_MUST_CHECK lk_status lk_decision_copy(lk_decision **out, const lk_decision *from, lk_error *err);
void lk_decision_free(lk_decision *decision); /* frees the content, not the struct; NULL is accepted */

/* "temperature 1.31 and offsets of 10 classes, fitted on validation (372 samples, 5 folds): macro-F1 0.71 -> 0.74".
 * Returns text. */
char *lk_decision_print(const lk_decision *decision, char *text, size_t size);

#endif
