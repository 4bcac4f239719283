#include "io/data/folds.h"

#include <stdlib.h>

#include "core/memory.h"
#include "io/data/divide.h"

/* A class can be in every fold only when it has at least as many units, samples or groups, as there are folds. */
static int compare_units(const void *a, const void *b) {
    const lk_divide_sample *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static lk_status check_classes(const lk_divide_sample *samples, int64_t count, const lk_dataset *dataset, int folds,
                               lk_error *err) {
    lk_status status = LK_OK;
    lk_divide_sample *sorted = NULL;
    LK_TRY(LK_NEW(&sorted, count, "the folds", err));
    for (int64_t i = 0; i < count; i++) sorted[i] = samples[i];
    qsort(sorted, (size_t)count, sizeof *sorted, compare_units);
    int64_t fewest = INT64_MAX;
    int32_t label = 0;
    bool grouped = false;
    for (int64_t i = 0; i < count;) {
        int64_t first = i, units = 0;
        bool groups = false;
        for (; i < count && sorted[i].label == sorted[first].label; i++) {
            bool same = i > first && sorted[i].group >= 0 && sorted[i].group == sorted[i - 1].group;
            units += !same;
            groups = groups || same;
        }
        if (units >= fewest) continue;
        fewest = units;
        label = sorted[first].label;
        grouped = groups;
    }
    if (fewest < folds)
        LK_TRY(lk_fail(err, LK_ERR_CONFIG,
                       "%d folds need %d %s of every class, but class '%s' of %s has %lld for training and validation: "
                       "use at most %lld folds%s",
                       folds, folds, grouped ? "groups" : "samples", dataset->class_names[label], dataset->path,
                       (long long)fewest, (long long)fewest,
                       fewest < 2 ? ", that is none, or leave the class out" : ""));
out:
    lk_free(sorted);
    return status;
}

lk_status lk_folds_assign(int32_t *fold, const lk_dataset *dataset, int folds, uint64_t seed, lk_error *err) {
    lk_status status = LK_OK;
    lk_divide_sample *samples = NULL;
    double *parts = NULL;
    int64_t count = 0;
    LK_TRY(LK_NEW(&samples, dataset->count, "the folds", err));
    LK_TRY(LK_NEW(&parts, folds, "the folds", err));
    for (int s = 0; s < folds; s++) parts[s] = 1.0 / folds;
    for (int64_t i = 0; i < dataset->count; i++) {
        const lk_sample_info *info = &dataset->samples[i];
        fold[i] = 0;
        if (info->split != LK_SPLIT_TRAIN && info->split != LK_SPLIT_VALIDATION) continue;
        if (info->label < 0)
            LK_TRY(lk_fail(err, LK_ERR_CONFIG, "%s of %s has no label: folds need one for every sample",
                           dataset->sources[i], dataset->path));
        samples[count++] = (lk_divide_sample){.id = i, .label = info->label, .group = info->group};
    }
    LK_TRY(check_classes(samples, count, dataset, folds, err));
    const lk_divide_spec spec = {
        .classes = dataset->class_count, .parts = parts, .part_count = folds, .seed = seed, .keep_first = false};
    LK_TRY(lk_divide(samples, count, &spec, err));
    for (int64_t i = 0; i < count; i++) fold[samples[i].id] = samples[i].part + 1;
out:
    lk_free(samples);
    lk_free(parts);
    return status;
}
