#include "train/training_set.h"

#include <string.h>

#include "core/memory.h"
#include "io/data/folds.h"

/* Samples of all folds but `job->fold`, and of that one. */
static lk_status read_fold(lk_training_set *out, const lk_job *job, const lk_dataset *dataset, lk_error *err) {
    lk_status status = LK_OK;
    int32_t *fold = NULL;
    LK_TRY(LK_NEW(&fold, dataset->count, "the folds", err));
    LK_TRY(LK_NEW(&out->train, dataset->count, "the training samples", err));
    LK_TRY(LK_NEW(&out->validation, dataset->count, "the validation samples", err));
    LK_TRY(lk_folds_assign(fold, dataset, (int)job->folds, (uint64_t)job->fold_seed, err));
    for (int64_t i = 0; i < dataset->count; i++) {
        if (fold[i] == job->fold)
            out->validation[out->validation_count++] = i;
        else if (fold[i] > 0)
            out->train[out->train_count++] = i;
    }
out:
    lk_free(fold);
    return status;
}

lk_status lk_training_set_read(lk_training_set *out, const lk_job *job, const lk_dataset *dataset, lk_error *err) {
    memset(out, 0, sizeof *out);
    if (job->folds > 0) {
        LK_RETURN_IF(read_fold(out, job, dataset, err));
    } else {
        LK_RETURN_IF(lk_dataset_split(dataset, LK_SPLIT_TRAIN, &out->train, &out->train_count, err));
        LK_RETURN_IF(lk_dataset_split(dataset, LK_SPLIT_VALIDATION, &out->validation, &out->validation_count, err));
    }
    if (out->train_count > 0 && out->validation_count > 0) return LK_OK;
    return lk_fail(err, LK_ERR_DATA,
                   "%s has %lld training and %lld validation samples; training needs both: pack it again with --split, "
                   "or train on folds of it (lockstep kfold)",
                   dataset->path, (long long)out->train_count, (long long)out->validation_count);
}

void lk_training_set_free(lk_training_set *set) {
    if (set == NULL) return;
    lk_free(set->train);
    lk_free(set->validation);
    memset(set, 0, sizeof *set);
}

static lk_status check_weights(const lk_job *job, const lk_dataset *dataset, lk_error *err) {
    if (job->sampler.kind != LK_SAMPLER_WEIGHTED || job->sampler.weights_count == dataset->class_count) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "sampler.weights has %d values, but %s has %d classes: give one for each, in the "
                   "order that 'lockstep inspect' lists them",
                   job->sampler.weights_count, dataset->path, dataset->class_count);
}

lk_status lk_training_set_sampler(lk_sampler **out, const lk_training_set *set, const lk_job *job,
                                  const lk_dataset *dataset, lk_error *err) {
    lk_status status = LK_OK;
    int32_t *labels = NULL;
    *out = NULL;
    LK_TRY(check_weights(job, dataset, err));
    LK_TRY(LK_NEW(&labels, set->train_count, "the labels of a split", err));
    for (int64_t i = 0; i < set->train_count; i++) {
        labels[i] = dataset->samples[set->train[i]].label;
        if (labels[i] < 0)
            LK_TRY(lk_fail(err, LK_ERR_DATA,
                           "'%s' in %s has no label, so it cannot be trained on: pack it into another "
                           "split than train",
                           dataset->sources[set->train[i]], dataset->path));
    }
    const lk_sampler_config config = {.seed = (uint64_t)job->seed,
                                      .batch = job->batch,
                                      .microbatch = job->microbatch,
                                      .drop_last = job->drop_last,
                                      .kind = (lk_sampler_kind)job->sampler.kind,
                                      .labels = labels,
                                      .classes = dataset->class_count,
                                      .weights = job->sampler.weights,
                                      .draws = job->sampler.draws,
                                      .repeats = job->sampler.repeats};
    LK_TRY(lk_sampler_create(out, set->train, set->train_count, &config, err));
out:
    lk_free(labels);
    return status;
}
