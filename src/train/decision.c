#include "train/decision.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

static lk_status check_labels(const int32_t *labels, int64_t n, int classes, const char *const *names, int needed,
                              lk_error *err) {
    int64_t *counts;
    lk_status status = LK_OK;
    LK_RETURN_IF(LK_NEW(&counts, classes, "class counts", err));
    for (int64_t i = 0; i < n; i++) counts[labels[i]]++;
    for (int k = 0; k < classes && status == LK_OK; k++) {
        char number[16];
        snprintf(number, sizeof number, "%d", k);
        if (counts[k] < needed)
            status = lk_fail(err, LK_ERR_DATA,
                             "class '%.100s' has %" PRId64
                             " sample%s here and offsets need at least two of each class: take another split, or fit "
                             "the temperature alone (--no-offsets)",
                             names == NULL ? number : names[k], counts[k], counts[k] == 1 ? "" : "s");
    }
    lk_free(counts);
    return status;
}

lk_status lk_decision_check(const float *logits, const int32_t *labels, int64_t n, int classes,
                            const char *const *class_names, const lk_decision_options *options, lk_error *err) {
    for (int64_t i = 0; i < n * classes; i++)
        if (!isfinite(logits[i]))
            return lk_fail(err, LK_ERR_NUMERIC, "the logits of sample %" PRId64 " of %" PRId64 " are not numbers",
                           i / classes + 1, n);
    if (n < options->folds)
        return lk_fail(err, LK_ERR_DATA, "%" PRId64 " samples are too few for %d folds", n, options->folds);
    return options->offsets ? check_labels(labels, n, classes, class_names, 2, err) : LK_OK;
}

void lk_decision_apply_double(const lk_decision *d, double *logits, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < d->classes; k++) {
            double *z = &logits[i * d->classes + k];
            *z = *z / d->temperature + d->offsets[k];
        }
}

void lk_decision_apply(const lk_decision *d, float *logits, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < d->classes; k++) {
            float *z = &logits[i * d->classes + k];
            *z = (float)((double)*z / d->temperature + d->offsets[k]);
        }
}

lk_status lk_decision_copy(lk_decision **out, const lk_decision *from, lk_error *err) {
    lk_decision *copy = NULL;
    lk_status status;
    LK_TRY(LK_NEW(&copy, 1, "a decision layer", err));
    *copy = *from;
    copy->offsets = NULL;
    LK_TRY(LK_NEW(&copy->offsets, from->classes, "offsets", err));
    memcpy(copy->offsets, from->offsets, (size_t)from->classes * sizeof *from->offsets);
    *out = copy;
    copy = NULL;
out:
    lk_decision_free(copy);
    lk_free(copy);
    return status;
}

void lk_decision_free(lk_decision *decision) {
    if (decision == NULL) return;
    lk_free(decision->offsets);
    decision->offsets = NULL;
}

char *lk_decision_print(const lk_decision *d, char *text, size_t size) {
    double largest = 0;
    for (int k = 0; k < d->classes; k++) largest = fmax(largest, fabs(d->offsets[k]));
    snprintf(text, size,
             "temperature %.4g, offsets up to %.3g, fitted on %s (%" PRId64
             " samples): cross-fitted macro-F1 %.4f -> %.4f, calibration error %.4f -> %.4f%s",
             d->temperature, largest, d->split, d->samples, d->figures.f1_before, d->figures.f1_after,
             d->figures.ece_before, d->figures.ece_after, d->folded ? "; folded into the last layer" : "");
    return text;
}
