#include "train/meta_decision.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { MOST_OFFSET = 1000000, MOST_FOLDS = 1000 };

json_t *lk_meta_describe_decision(const lk_decision *d) {
    char hash[33];
    const lk_decision_figures *f = &d->figures;
    json_t *offsets = json_array();
    snprintf(hash, sizeof hash, "%016" PRIx64 "%016" PRIx64, d->dataset_hash[0], d->dataset_hash[1]);
    for (int k = 0; k < d->classes; k++) json_array_append_new(offsets, json_real(d->offsets[k]));
    return json_pack("{s:f, s:o, s:b, s:s, s:I, s:i, s:s, s:{s:f, s:f, s:f, s:f, s:f, s:f}}", "temperature",
                     d->temperature, "offsets", offsets, "folded", d->folded, "split", d->split, "samples",
                     (json_int_t)d->samples, "folds", d->folds, "dataset_hash", hash, "figures", "macro_f1",
                     f->f1_before, "macro_f1_cross_fitted", f->f1_after, "loss", f->loss_before, "loss_cross_fitted",
                     f->loss_after, "ece", f->ece_before, "ece_cross_fitted", f->ece_after);
}

static bool read_number(double *out, const json_t *json, const char *field, double low, double high) {
    const json_t *value = json_object_get(json, field);
    *out = json_number_value(value);
    return json_is_number(value) && *out >= low && *out <= high;
}

static bool read_figures(lk_decision_figures *f, const json_t *json) {
    return read_number(&f->f1_before, json, "macro_f1", 0, 1) &&
           read_number(&f->f1_after, json, "macro_f1_cross_fitted", 0, 1) &&
           read_number(&f->loss_before, json, "loss", 0, 1e300) &&
           read_number(&f->loss_after, json, "loss_cross_fitted", 0, 1e300) &&
           read_number(&f->ece_before, json, "ece", 0, 1) && read_number(&f->ece_after, json, "ece_cross_fitted", 0, 1);
}

static bool read_record(lk_decision *d, const json_t *json) {
    const char *split = json_string_value(json_object_get(json, "split"));
    const char *hash = json_string_value(json_object_get(json, "dataset_hash"));
    const json_t *samples = json_object_get(json, "samples"), *folds = json_object_get(json, "folds");
    char half[17] = "";
    if (split == NULL || strlen(split) >= sizeof d->split ||
        strspn(split, "abcdefghijklmnopqrstuvwxyz") != strlen(split))
        return false;
    if (hash == NULL || strlen(hash) != 32 || strspn(hash, "0123456789abcdef") != 32) return false;
    if (!json_is_integer(samples) || json_integer_value(samples) < 1 || !json_is_integer(folds) ||
        json_integer_value(folds) < 2 || json_integer_value(folds) > MOST_FOLDS)
        return false;
    snprintf(d->split, sizeof d->split, "%s", split);
    d->samples = json_integer_value(samples);
    d->folds = (int)json_integer_value(folds);
    for (int i = 0; i < 2; i++) {
        memcpy(half, hash + (ptrdiff_t)16 * i, 16);
        d->dataset_hash[i] = strtoull(half, NULL, 16);
    }
    return read_figures(&d->figures, json_object_get(json, "figures"));
}

static bool read_offsets(lk_decision *d, const json_t *list) {
    if (!json_is_array(list) || json_array_size(list) != (size_t)d->classes) return false;
    for (int k = 0; k < d->classes; k++) {
        const json_t *value = json_array_get(list, (size_t)k);
        d->offsets[k] = json_number_value(value);
        if (!json_is_number(value) || !(fabs(d->offsets[k]) <= MOST_OFFSET)) return false;
    }
    return true;
}

lk_status lk_meta_read_decision(lk_decision **out, const char **reason, const json_t *json, int classes,
                                lk_error *err) {
    lk_status status;
    lk_decision *d = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&d, 1, "a decision layer", err));
    d->classes = classes;
    LK_TRY(LK_NEW(&d->offsets, classes, "offsets", err));
    d->folded = json_is_true(json_object_get(json, "folded"));
    if (!read_number(&d->temperature, json, "temperature", LK_DECISION_MIN_TEMPERATURE, LK_DECISION_MAX_TEMPERATURE))
        *reason = "has no temperature from 0.01 to 100";
    else if (!read_offsets(d, json_object_get(json, "offsets")))
        *reason = "has no offsets: one number for each class";
    else if (!read_record(d, json))
        *reason = "does not say what it was fitted on";
    if (*reason != NULL) goto out;
    *out = d;
    return LK_OK;
out:
    lk_decision_free(d);
    lk_free(d);
    return status;
}
