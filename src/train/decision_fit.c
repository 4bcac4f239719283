#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "train/decision_internal.h"

lk_status lk_decision_fit(lk_decision *out, const float *logits, const int32_t *labels, int64_t n, int classes,
                          const lk_decision_options *options, lk_error *err) {
    lk_status status = LK_OK;
    *out = (lk_decision){.classes = classes, .temperature = 1, .samples = n, .folds = options->folds};
    LK_TRY(LK_NEW(&out->offsets, classes, "offsets", err));
    if (options->temperature) out->temperature = lk_decision_find_temperature(logits, labels, n, classes);
    if (options->offsets)
        LK_TRY(lk_decision_find_offsets(out->offsets, out->temperature, logits, labels, n, classes, err));
out:
    if (status != LK_OK) lk_decision_free(out);
    return status;
}

/* fold: n. The samples of each class are dealt out in a random order, a group after its first sample. */
static lk_status deal_folds(int *fold, const int32_t *labels, const int32_t *groups, int64_t n, int classes,
                            const lk_decision_options *options, lk_error *err) {
    lk_status status = LK_OK;
    int64_t *order = NULL;
    int *next = NULL, *taken = NULL; /* of a class: its next fold; of a group: its fold from 1 */
    int32_t most = -1;
    const lk_random_key key = {options->seed, 0, LK_RANDOM_DECISION};
    for (int64_t i = 0; groups != NULL && i < n; i++)
        if (groups[i] > most) most = groups[i];
    LK_TRY(LK_NEW(&order, n, "an order", err));
    LK_TRY(LK_NEW(&next, classes, "folds", err));
    LK_TRY(LK_NEW(&taken, (int64_t)most + 1, "folds", err));
    lk_random_permutation(&key, n, order);
    for (int k = 0; k < classes; k++) next[k] = k % options->folds;
    for (int64_t p = 0; p < n; p++) {
        int64_t i = order[p];
        int *group = groups == NULL || groups[i] < 0 ? NULL : &taken[groups[i]];
        if (group != NULL && *group > 0) {
            fold[i] = *group - 1;
            continue;
        }
        fold[i] = next[labels[i]];
        next[labels[i]] = (fold[i] + 1) % options->folds;
        if (group != NULL) *group = fold[i] + 1;
    }
out:
    lk_free(order);
    lk_free(next);
    lk_free(taken);
    return status;
}

/* Fits on the samples outside fold f and applies it to those inside. */
static lk_status fit_fold(float *scaled, float *decided, const float *logits, const int32_t *labels, const int *fold,
                          int f, int64_t n, int classes, const lk_decision_options *options, lk_error *err) {
    lk_status status = LK_OK;
    float *rows = NULL;
    int32_t *kept = NULL;
    lk_decision decision = {0};
    int64_t count = 0;
    size_t row = (size_t)classes * sizeof *rows;
    LK_TRY(LK_NEW(&rows, n * classes, "logits", err));
    LK_TRY(LK_NEW(&kept, n, "labels", err));
    for (int64_t i = 0; i < n; i++) {
        if (fold[i] == f) continue;
        memcpy(rows + count * classes, logits + i * classes, row);
        kept[count++] = labels[i];
    }
    LK_TRY(lk_decision_fit(&decision, rows, kept, count, classes, options, err));
    for (int64_t i = 0; i < n; i++) {
        if (fold[i] != f) continue;
        for (int k = 0; k < classes; k++)
            scaled[i * classes + k] = (float)((double)logits[i * classes + k] / decision.temperature);
        memcpy(decided + i * classes, logits + i * classes, row);
        lk_decision_apply(&decision, decided + i * classes, 1);
    }
out:
    lk_decision_free(&decision);
    lk_free(rows);
    lk_free(kept);
    return status;
}

lk_status lk_decision_cross_fit(float *scaled, float *decided, const float *logits, const int32_t *labels,
                                const int32_t *groups, int64_t n, int classes, const lk_decision_options *options,
                                lk_error *err) {
    int *fold;
    LK_RETURN_IF(LK_NEW(&fold, n, "folds", err));
    lk_status status = deal_folds(fold, labels, groups, n, classes, options, err);
    for (int f = 0; f < options->folds && status == LK_OK; f++)
        status = fit_fold(scaled, decided, logits, labels, fold, f, n, classes, options, err);
    lk_free(fold);
    return status;
}
