/* The logits of a model on one split of a data set: what eval and calibrate share. */
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "io/data/loader.h"
#include "io/model/checkpoint.h"
#include "jobs/eval.h"
#include "train/training_set.h"

/* Training and validation samples of a run on folds are those of its fold. */
static lk_status read_split(lk_eval_result *result, const lk_job *job, lk_error *err) {
    const lk_dataset *dataset = result->dataset;
    bool same = memcmp(dataset->hash, result->meta->dataset_hash, sizeof dataset->hash) == 0;
    bool divided = result->split == LK_SPLIT_TRAIN || result->split == LK_SPLIT_VALIDATION;
    if (job == NULL || job->folds == 0 || !same || !divided)
        return lk_dataset_split(dataset, result->split, &result->samples, &result->count, err);
    lk_training_set set;
    lk_status status = lk_training_set_read(&set, job, dataset, err);
    bool train = result->split == LK_SPLIT_TRAIN;
    int64_t **taken = train ? &set.train : &set.validation;
    result->samples = *taken;
    result->count = train ? set.train_count : set.validation_count;
    *taken = NULL;
    lk_training_set_free(&set);
    return status;
}

/* Samples of the split with their labels in the model's order. */
static lk_status select_samples(lk_eval_result *result, const lk_job *job, lk_error *err) {
    lk_status status = LK_OK;
    int *map = NULL;
    const lk_dataset *dataset = result->dataset;
    LK_TRY(lk_eval_map_classes(&map, dataset, result->meta, err));
    LK_TRY(read_split(result, job, err));
    if (result->count == 0) {
        status = lk_fail(err, LK_ERR_DATA, "%s has no samples of the split '%s'; 'lockstep inspect' lists its splits",
                         dataset->path, lk_split_name(result->split));
        goto out;
    }
    LK_TRY(LK_NEW(&result->labels, result->count, "labels", err));
    for (int64_t i = 0; i < result->count; i++) {
        int32_t label = dataset->samples[result->samples[i]].label;
        if (label < 0 || label >= dataset->class_count) {
            status = lk_fail(err, LK_ERR_DATA,
                             "'%s' in %s has no label, so it cannot be evaluated; 'lockstep predict' needs none",
                             dataset->sources[result->samples[i]], dataset->path);
            goto out;
        }
        result->labels[i] = map[label];
    }
out:
    lk_free(map);
    return status;
}

/* The job that a checkpoint carries; *found is false for an export. Owner: the caller, with lk_job_free. */
static lk_status read_job(lk_job *out, bool *found, const char *path, lk_error *err) {
    lk_checkpoint *checkpoint = NULL;
    *found = false;
    /* A damaged checkpoint was refused before. */
    if (lk_checkpoint_open(&checkpoint, path, NULL) != LK_OK) return LK_OK;
    const char *text = lk_checkpoint_text(checkpoint, "job");
    lk_status status = text == NULL ? LK_OK : lk_job_parse(out, text, path, err);
    *found = text != NULL && status == LK_OK;
    lk_checkpoint_free(checkpoint);
    return status;
}

/* The loss means what it meant in training: that of the job that the checkpoint carries, with class weights by the
 * counts that it carries. An export carries no job: cross-entropy. */
static lk_status read_loss(lk_eval_result *result, const lk_job *job, lk_error *err) {
    const lk_meta *meta = result->meta;
    result->loss = (lk_loss){.config = {.cross_entropy = 1}, .classes = meta->class_count};
    if (job == NULL) return LK_OK;
    return lk_loss_create(&result->loss, job, (const char *const *)meta->class_names, meta->class_count,
                          meta->training_counts, err);
}

static lk_status submit_all(lk_loader *loader, const lk_eval_result *result, int64_t batch, lk_error *err) {
    for (int64_t first = 0; first < result->count; first += batch) {
        int64_t rows = result->count - first < batch ? result->count - first : batch;
        lk_load_request request = {
            .tag = first, .rows = rows, .samples = result->samples + first, .first_position = first};
        LK_RETURN_IF(lk_loader_submit(loader, &request, 1, NULL, 0, err));
    }
    return LK_OK;
}

static lk_status run_model(lk_eval_result *result, lk_inference *model, lk_loader *loader, double *logits,
                           int64_t batch, lk_error *err) {
    lk_progress progress;
    int64_t done = 0, classes = result->meta->class_count;
    LK_RETURN_IF(submit_all(loader, result, batch, err));
    lk_progress_start(&progress, stderr, lk_split_name(result->split), "images", result->count);
    while (done < result->count) {
        lk_microbatch loaded;
        lk_status status = lk_loader_next(loader, &loaded, err);
        if (status == LK_OK) {
            int64_t rows = loaded.rows, at = loaded.tag;
            status = lk_inference_run(model, loaded.images, rows, logits, err);
            for (int64_t i = 0; status == LK_OK && i < rows * classes; i++)
                result->logits[at * classes + i] = (float)logits[i];
            lk_loader_release(loader, &loaded);
            done += rows;
        }
        if (status != LK_OK) {
            lk_progress_clear(&progress);
            lk_loader_cancel(loader);
            return status;
        }
        lk_progress_update(&progress, done);
    }
    lk_progress_finish(&progress);
    return LK_OK;
}

lk_status lk_eval_compute(lk_eval_result *result, lk_inference *model, int64_t batch, int workers, lk_error *err) {
    lk_status status = LK_OK;
    lk_loader *loader = NULL;
    double *logits = NULL;
    lk_loader_config config = {
        .workers = workers, .prefetch = 2, .microbatch = batch, .preprocess = result->meta->preprocess};
    LK_TRY(LK_NEW(&logits, batch * result->meta->class_count, "logits", err));
    LK_TRY(LK_NEW(&result->logits, result->count * result->meta->class_count, "logits", err));
    LK_TRY(lk_loader_create(&loader, result->dataset, &config, err));
    LK_TRY(run_model(result, model, loader, logits, batch, err));
out:
    lk_loader_free(loader);
    lk_free(logits);
    return status;
}

lk_status lk_eval_prepare(lk_eval_result *result, const lk_meta *meta, const lk_dataset *dataset,
                          const char *model_path, lk_error *err) {
    lk_status status;
    lk_job job;
    bool has_job = false;
    result->meta = meta;
    result->dataset = dataset;
    if (strcmp(meta->stored_rule, dataset->stored_rule) != 0) {
        lk_log log = lk_log_create(stderr, 0, 1);
        lk_log_write(&log, LK_LOG_WARNING,
                     "the model was trained on pixels stored by the rule %s, but %s stores them by the rule %s",
                     meta->stored_rule[0] == '\0' ? "'untouched'" : meta->stored_rule, dataset->path,
                     dataset->stored_rule[0] == '\0' ? "'untouched'" : dataset->stored_rule);
    }
    LK_TRY(read_job(&job, &has_job, model_path, err));
    LK_TRY(select_samples(result, has_job ? &job : NULL, err));
    LK_TRY(read_loss(result, has_job ? &job : NULL, err));
out:
    if (has_job) lk_job_free(&job);
    return status;
}

lk_status lk_eval_find_decision(const lk_decision **out, const lk_meta *meta, const char *path, lk_error *err) {
    *out = meta->decision;
    if (*out == NULL)
        return lk_fail(err, LK_ERR_CONFIG,
                       "%s has no decision layer: 'lockstep calibrate' writes a checkpoint with one", path);
    if ((*out)->folded)
        return lk_fail(err, LK_ERR_CONFIG,
                       "the decision layer of %s is folded into its last layer already: leave --decision out", path);
    return LK_OK;
}
