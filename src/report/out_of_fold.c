#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/log/predictions.h"
#include "report/calibration.h"
#include "report/label_errors.h"

typedef struct reading {
    lk_out_of_fold *out;
    const lk_dataset *dataset;
    double *row; /* classes */
} reading;

void lk_out_of_fold_free(lk_out_of_fold *out) {
    lk_free(out->probability);
    lk_free(out->runs);
    *out = (lk_out_of_fold){0};
}

static lk_status check_sample(const reading *r, const lk_prediction_set *set, int64_t i, const char *path,
                              lk_error *err) {
    const lk_dataset *d = r->dataset;
    int64_t sample = set->samples[i];
    if (sample < 0 || sample >= d->count)
        return lk_fail(err, LK_ERR_DATA,
                       "%s predicts sample %lld, but %s has %lld: give the data set that the run was trained on", path,
                       (long long)sample, d->path, (long long)d->count);
    if (d->samples[sample].label != set->labels[i])
        return lk_fail(err, LK_ERR_DATA,
                       "%s has class %d for sample %lld (%s), which %s calls %s: give the data set that the run was "
                       "trained on",
                       path, (int)set->labels[i], (long long)sample, d->sources[sample], d->path,
                       d->samples[sample].label < 0 ? "unlabelled" : d->class_names[d->samples[sample].label]);
    return LK_OK;
}

static lk_status add_set(const reading *r, const lk_prediction_set *set, const char *path, lk_error *err) {
    int classes = r->dataset->class_count;
    if (set->count > 0 && set->classes != classes)
        return lk_fail(err, LK_ERR_DATA,
                       "%s has %d classes, but %s has %d: give the data set that the run was trained on", path,
                       set->classes, r->dataset->path, classes);
    for (int64_t i = 0; i < set->count; i++) {
        LK_RETURN_IF(check_sample(r, set, i, path, err));
        lk_softmax(set->logits + i * classes, classes, r->row);
        float *sum = r->out->probability + set->samples[i] * classes;
        for (int k = 0; k < classes; k++) sum[k] += (float)r->row[k];
        r->out->runs[set->samples[i]]++;
    }
    return LK_OK;
}

static lk_status add_file(const reading *r, const char *path, lk_error *err) {
    static const char *const groups[] = {"best_f1/validation", "best_f1/test"};
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        lk_prediction_set set;
        LK_RETURN_IF(lk_predictions_read(&set, path, groups[g], err));
        lk_status status = add_set(r, &set, path, err);
        lk_prediction_set_free(&set);
        LK_RETURN_IF(status);
    }
    return LK_OK;
}

static bool exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

/* A run; *found tells whether the folder is there at all. */
static lk_status add_run(const reading *r, const char *folder, bool *found, lk_error *err) {
    lk_status status = LK_OK;
    char *job = NULL, *path = NULL;
    LK_TRY(lk_format(&job, err, "%s/job.yaml", folder));
    LK_TRY(lk_format(&path, err, "%s/predictions.h5", folder));
    *found = exists(job) || exists(path);
    if (!*found) goto out;
    if (!exists(path))
        status =
            lk_fail(err, LK_ERR_CONFIG,
                    "%s has no predictions.h5, which a run writes when it ends: let it finish with --resume", folder);
    else
        status = add_file(r, path, err);
out:
    lk_free(job);
    lk_free(path);
    return status;
}

/* A run, or the folds fold-1, fold-2, ... of one. */
static lk_status add_folder(const reading *r, const char *folder, lk_error *err) {
    bool found;
    LK_RETURN_IF(add_run(r, folder, &found, err));
    if (found) return LK_OK;
    for (int fold = 1;; fold++) {
        char *path = NULL;
        LK_RETURN_IF(lk_format(&path, err, "%s/fold-%d", folder, fold));
        lk_status status = add_run(r, path, &found, err);
        lk_free(path);
        LK_RETURN_IF(status);
        if (found) continue;
        if (fold > 1) return LK_OK;
        return lk_fail(err, LK_ERR_CONFIG, "%s is no run: give folders that lockstep train or lockstep kfold wrote",
                       folder);
    }
}

lk_status lk_out_of_fold_read(lk_out_of_fold *out, const lk_dataset *dataset, char *const *folders, int count,
                              lk_error *err) {
    lk_status status = LK_OK;
    reading r = {.out = out, .dataset = dataset};
    size_t classes = (size_t)dataset->class_count;
    *out = (lk_out_of_fold){0};
    LK_TRY(LK_NEW(&out->probability, (size_t)dataset->count * classes, "the probabilities of images", err));
    LK_TRY(LK_NEW(&out->runs, dataset->count, "the probabilities of images", err));
    LK_TRY(LK_NEW(&r.row, classes, "the probabilities of images", err));
    for (int f = 0; f < count; f++) LK_TRY(add_folder(&r, folders[f], err));
    for (int64_t i = 0; i < dataset->count; i++)
        for (size_t k = 0; out->runs[i] > 1 && k < classes; k++)
            out->probability[(size_t)i * classes + k] /= (float)out->runs[i];
out:
    lk_free(r.row);
    if (status != LK_OK) lk_out_of_fold_free(out);
    return status;
}
