/* lockstep eval: the metrics of a checkpoint on one split of a data set. */
#include "jobs/eval.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "dist/topology.h"
#include "io/data/loader.h"
#include "io/log/predictions.h"
#include "io/model/checkpoint.h"
#include "jobs/command.h"
#include "jobs/usage.h"
#include "train/inference.h"
#include "train/training_set.h"

typedef struct eval_options {
    char *split, *device, *predictions;
    int64_t batch, threads, workers;
    int compute;
    bool json, help;
} eval_options;

static const char *const computes[] = {"float32", "bfloat16", NULL};

#define AT(field) offsetof(eval_options, field)
static const lk_option options[] = {
    {"split", LK_OPTION_STRING, AT(split), 0, "test", 0, 0, NULL, "train, validation or test", 0, false},
    {"batch", LK_OPTION_INT, AT(batch), 0, "32", 1, 65536, NULL, "samples of one forward pass", 'b', false},
    {"device", LK_OPTION_STRING, AT(device), 0, "cpu", 0, 0, NULL, "cpu or reference", 0, false},
    {"compute", LK_OPTION_CHOICE, AT(compute), 0, "float32", 0, 0, computes, "arithmetic of the cpu device", 0, false},
    {"threads", LK_OPTION_INT, AT(threads), 0, "0", 0, 1024, NULL, "of the arithmetic; 0: one for each core", 0, false},
    {"workers", LK_OPTION_INT, AT(workers), 0, "0", 0, 1024, NULL, "threads that decode; 0: one for each core", 0,
     false},
    {"predictions", LK_OPTION_STRING, AT(predictions), 0, NULL, 0, 0, NULL,
     "also write sample, label and logits into this HDF5 file", 0, true},
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "the result as JSON", 0, false},
    {"help", LK_OPTION_BOOL, AT(help), 0, "false", 0, 0, NULL, "this text", 'h', false},
};
enum { OPTION_COUNT = sizeof options / sizeof *options };

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
    lk_progress_start(&progress, stderr, "eval", "images", result->count);
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

static lk_status compute_logits(lk_eval_result *result, lk_inference *model, const eval_options *given, lk_error *err) {
    lk_status status = LK_OK;
    lk_loader *loader = NULL;
    double *logits = NULL;
    lk_loader_config config = {.workers = (int)given->workers,
                               .prefetch = 2,
                               .microbatch = given->batch,
                               .preprocess = result->meta->preprocess};
    LK_TRY(LK_NEW(&logits, given->batch * result->meta->class_count, "logits", err));
    LK_TRY(LK_NEW(&result->logits, result->count * result->meta->class_count, "logits", err));
    LK_TRY(lk_loader_create(&loader, result->dataset, &config, err));
    LK_TRY(run_model(result, model, loader, logits, given->batch, err));
out:
    lk_loader_free(loader);
    lk_free(logits);
    return status;
}

static lk_status write_predictions(const lk_eval_result *result, const char *path, lk_error *err) {
    char group[64];
    snprintf(group, sizeof group, "eval/%s", lk_split_name(result->split));
    lk_predictions predictions = {.group = group,
                                  .count = result->count,
                                  .classes = result->meta->class_count,
                                  .samples = result->samples,
                                  .labels = result->labels,
                                  .logits = result->logits};
    return lk_predictions_write(path, &predictions, 1, (const char *const *)result->meta->class_names, err);
}

static lk_status evaluate(const eval_options *given, const char *model_path, const char *data_path, lk_error *err) {
    lk_status status = LK_OK;
    lk_inference *model = NULL;
    lk_dataset *dataset = NULL;
    lk_eval_result result = {0};
    lk_job job;
    bool has_job = false;
    lk_inference_options inference = {.device = given->device,
                                      .batch = given->batch,
                                      .compute = given->compute == 1 ? LK_BF16 : LK_F32,
                                      .threads = (int)given->threads};
    LK_TRY(lk_split_parse(&result.split, given->split, err));
    LK_TRY(lk_inference_open(&model, model_path, &inference, err));
    LK_TRY(lk_dataset_open(&dataset, data_path, err));
    result.meta = lk_inference_get_meta(model);
    result.dataset = dataset;
    if (strcmp(result.meta->stored_rule, dataset->stored_rule) != 0) {
        lk_log log = lk_log_create(stderr, 0, 1);
        lk_log_write(&log, LK_LOG_WARNING,
                     "the model was trained on pixels stored by the rule %s, but %s stores them by the rule %s",
                     result.meta->stored_rule[0] == '\0' ? "'untouched'" : result.meta->stored_rule, data_path,
                     dataset->stored_rule[0] == '\0' ? "'untouched'" : dataset->stored_rule);
    }
    LK_TRY(read_job(&job, &has_job, model_path, err));
    LK_TRY(select_samples(&result, has_job ? &job : NULL, err));
    LK_TRY(read_loss(&result, has_job ? &job : NULL, err));
    LK_TRY(compute_logits(&result, model, given, err));
    LK_TRY(lk_eval_count(&result, err));
    if (given->predictions != NULL) LK_TRY(write_predictions(&result, given->predictions, err));
    if (given->json) {
        LK_TRY(lk_eval_print_json(&result, stdout, err));
    } else {
        lk_eval_print(&result, stdout);
    }
out:
    if (has_job) lk_job_free(&job);
    lk_eval_result_free(&result);
    lk_dataset_free(dataset);
    lk_inference_free(model);
    return status;
}

static lk_status use_all_cores(eval_options *given, lk_error *err) {
    int cores;
    LK_RETURN_IF(lk_topology_cores(&cores, err));
    if (given->threads == 0) given->threads = cores;
    if (given->workers == 0) given->workers = cores;
    return LK_OK;
}

lk_status lk_command_eval(int argc, char **argv, lk_error *err) {
    lk_status status = LK_OK;
    eval_options given;
    int arguments;
    LK_TRY(lk_options_defaults(options, OPTION_COUNT, &given, err));
    LK_TRY(lk_options_read_argv(options, OPTION_COUNT, &given, argc, argv, &arguments, err));
    if (given.help) {
        lk_usage_print(
            "eval CHECKPOINT DATA [options]",
            "Evaluates a checkpoint or an export on one split of a packed data set: every sample once, classes\n"
            "matched by name, metrics as scikit-learn defines them.",
            options, OPTION_COUNT, stdout);
    } else if (arguments != 2) {
        status = lk_fail(err, LK_ERR_USAGE, "eval needs a checkpoint and a data set: lockstep eval CHECKPOINT DATA");
    } else {
        LK_TRY(use_all_cores(&given, err));
        LK_TRY(evaluate(&given, argv[1], argv[2], err));
    }
out:
    lk_options_free(options, OPTION_COUNT, &given);
    return status;
}
