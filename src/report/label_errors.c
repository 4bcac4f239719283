#include "report/label_errors.h"

#include <stdlib.h>

#include "core/memory.h"

void lk_label_errors_free(lk_label_errors *errors) {
    lk_free(errors->errors);
    *errors = (lk_label_errors){0};
}

/* threshold: classes. A class without judged images has none that could be reached. */
static lk_status find_thresholds(double *threshold, const lk_out_of_fold *p, const int32_t *labels, int64_t images,
                                 int classes, lk_error *err) {
    int64_t *counts = NULL;
    LK_RETURN_IF(LK_NEW(&counts, classes, "thresholds", err));
    for (int64_t i = 0; i < images; i++) {
        if (labels[i] < 0 || p->runs[i] == 0) continue;
        threshold[labels[i]] += (double)p->probability[i * classes + labels[i]];
        counts[labels[i]]++;
    }
    for (int k = 0; k < classes; k++) threshold[k] = counts[k] > 0 ? threshold[k] / (double)counts[k] : 2;
    lk_free(counts);
    return LK_OK;
}

/* The class an image counts for, or -1. */
static int confident_class(const float *probability, const double *threshold, int classes) {
    int best = -1;
    for (int k = 0; k < classes; k++)
        if ((double)probability[k] >= threshold[k] && (best < 0 || probability[k] > probability[best])) best = k;
    return best;
}

static int largest_but(const float *probability, int classes, int except) {
    int best = -1;
    for (int k = 0; k < classes; k++)
        if (k != except && (best < 0 || probability[k] > probability[best])) best = k;
    return best;
}

static int compare_errors(const void *a, const void *b) {
    const lk_label_error *x = a, *y = b;
    if (x->margin != y->margin) return x->margin < y->margin ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

lk_status lk_label_errors_find(lk_label_errors *out, const lk_out_of_fold *p, const int32_t *labels, int64_t images,
                               int classes, lk_error *err) {
    lk_status status = LK_OK;
    double *threshold = NULL;
    size_t capacity = 0;
    *out = (lk_label_errors){0};
    LK_TRY(LK_NEW(&threshold, classes, "thresholds", err));
    LK_TRY(find_thresholds(threshold, p, labels, images, classes, err));
    for (int64_t i = 0; i < images && classes > 1; i++) {
        const float *row = p->probability + i * classes;
        int given = labels[i];
        if (given < 0 || p->runs[i] == 0) continue;
        out->judged++;
        int confident = confident_class(row, threshold, classes), other = largest_but(row, classes, given);
        if (confident < 0 || confident == given || row[other] <= row[given]) continue;
        LK_TRY(lk_grow((void **)&out->errors, &capacity, (size_t)out->count + 1, sizeof *out->errors, "label errors",
                       err));
        out->errors[out->count++] = (lk_label_error){.image = (int32_t)i,
                                                     .given = given,
                                                     .suggested = confident,
                                                     .given_probability = (double)row[given],
                                                     .probability = (double)row[confident],
                                                     .margin = (double)row[given] - (double)row[other]};
    }
    if (out->count > 0) qsort(out->errors, (size_t)out->count, sizeof *out->errors, compare_errors);
out:
    lk_free(threshold);
    if (status != LK_OK) lk_label_errors_free(out);
    return status;
}
