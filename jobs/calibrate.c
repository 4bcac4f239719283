/* lockstep calibrate: fits the decision layer of a model and writes a checkpoint that carries it. */
#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/memory.h"
#include "dist/topology.h"
#include "jobs/command.h"
#include "jobs/eval.h"
#include "report/decided.h"
#include "train/export.h"
#include "train/meta_decision.h"

typedef struct calibrate_options {
    char *output, *split, *device;
    int64_t folds, seed, batch, threads, workers;
    bool temperature, offsets, force, json, help;
} calibrate_options;

#define AT(field) offsetof(calibrate_options, field)
static const lk_option options[] = {
    {"output", LK_OPTION_STRING, AT(output), 0, NULL, 0, 0, NULL, "the checkpoint to write (.h5)", 'o', true},
    {"split", LK_OPTION_STRING, AT(split), 0, "validation", 0, 0, NULL, "that is fitted on: train, validation or test",
     0, false},
    {"temperature", LK_OPTION_BOOL, AT(temperature), 0, "true", 0, 0, NULL,
     "fit a temperature, so that probabilities mean what they say", 0, false},
    {"offsets", LK_OPTION_BOOL, AT(offsets), 0, "true", 0, 0, NULL,
     "fit an offset for each class, so that macro-F1 is largest", 0, false},
    {"folds", LK_OPTION_INT, AT(folds), 0, "5", 2, 1000, NULL,
     "of the cross-fit: the figures are those of samples that were not fitted on", 0, false},
    {"seed", LK_OPTION_INT, AT(seed), 0, "1", 0, 9007199254740992.0, NULL, "which sample is in which fold", 0, false},
    {"batch", LK_OPTION_INT, AT(batch), 0, "32", 1, 65536, NULL, "samples of one forward pass", 'b', false},
    {"device", LK_OPTION_STRING, AT(device), 0, "cpu", 0, 0, NULL,
     "cpu, cuda, auto (cuda where a GPU answers) or reference", 0, false},
    {"threads", LK_OPTION_INT, AT(threads), 0, "0", 0, 1024, NULL, "of the arithmetic; 0: one for each core", 0, false},
    {"workers", LK_OPTION_INT, AT(workers), 0, "0", 0, 1024, NULL, "threads that decode; 0: one for each core", 0,
     false},
    {"force", LK_OPTION_BOOL, AT(force), 0, "false", 0, 0, NULL, "replace the output when it exists", 'f', false},
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "the result as JSON", 0, false},
    LK_COMMAND_HELP(AT(help)),
};

/* A checkpoint never changes: the output is another file (P11). */
static lk_status check_output(const calibrate_options *given, const char *model, lk_error *err) {
    struct stat in, out;
    size_t length = given->output == NULL ? 0 : strlen(given->output);
    if (length < 4 || strcmp(given->output + length - 3, ".h5") != 0)
        return lk_fail(err, LK_ERR_USAGE, "calibrate writes a checkpoint: give -o OUT.h5");
    if (stat(given->output, &out) != 0) return LK_OK;
    if (stat(model, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return lk_fail(err, LK_ERR_CONFIG, "%s is the model itself, and a checkpoint never changes: name another file",
                       given->output);
    if (given->force) return LK_OK;
    return lk_fail(err, LK_ERR_IO, "%s exists and was left as it is; give --force to replace it", given->output);
}

static lk_status evaluate(lk_eval_result *result, lk_model_file *file, const lk_dataset *dataset, const char *path,
                          const calibrate_options *given, lk_error *err) {
    lk_status status;
    lk_inference *model = NULL;
    const lk_inference_options inference = {
        .device = given->device, .batch = given->batch, .compute = LK_F32, .threads = (int)given->threads};
    LK_TRY(lk_split_parse(&result->split, given->split, err));
    LK_TRY(lk_inference_borrow(&model, file, &inference, err));
    LK_TRY(lk_eval_prepare(result, &file->meta, dataset, path, err));
    LK_TRY(lk_eval_compute(result, model, given->batch, (int)given->workers, err));
out:
    lk_inference_free(model);
    return status;
}

/* Groups of the samples: those of one group stay in one fold. Owner of *out: the caller, with lk_free. */
static lk_status list_groups(int32_t **out, const lk_eval_result *result, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, result->count, "groups", err));
    for (int64_t i = 0; i < result->count; i++) (*out)[i] = result->dataset->samples[result->samples[i]].group;
    return LK_OK;
}

static lk_status fit(lk_decision *out, const lk_eval_result *result, const calibrate_options *given, lk_error *err) {
    lk_status status;
    int32_t *groups = NULL;
    const lk_decision_options how = {given->temperature, given->offsets, (int)given->folds, (uint64_t)given->seed};
    const lk_prediction_set set = {.count = result->count,
                                   .classes = result->meta->class_count,
                                   .samples = result->samples,
                                   .labels = result->labels,
                                   .logits = result->logits};
    LK_TRY(lk_decision_check(set.logits, set.labels, set.count, set.classes,
                             (const char *const *)result->meta->class_names, &how, err));
    LK_TRY(list_groups(&groups, result, err));
    LK_TRY(lk_decided_fit(out, &set, groups, &how, err));
    snprintf(out->split, sizeof out->split, "%s", lk_split_name(result->split));
    memcpy(out->dataset_hash, result->dataset->hash, sizeof out->dataset_hash);
out:
    lk_free(groups);
    return status;
}

static lk_status print_json(const lk_decision *decision, lk_error *err) {
    json_t *json = lk_meta_describe_decision(decision);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(json);
    if (text == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot write the result as JSON: out of memory");
    puts(text);
    free(text);
    return LK_OK;
}

static void print_text(const lk_decision *d, const lk_meta *meta, const char *output) {
    const lk_decision_figures *f = &d->figures;
    printf("fitted on %" PRId64 " samples of the split '%s'; figures are cross-fitted (%d folds)\n\n", d->samples,
           d->split, d->folds);
    printf("%-28s  %8s  %8s\n", "", "before", "after");
    printf("%-28s  %8.4f  %8.4f\n", "macro-F1", f->f1_before, f->f1_after);
    printf("%-28s  %8.4f  %8.4f\n", "cross-entropy", f->loss_before, f->loss_after);
    printf("%-28s  %8.4f  %8.4f\n\n", "expected calibration error", f->ece_before, f->ece_after);
    printf("temperature %.4f\n", d->temperature);
    for (int k = 0; k < d->classes; k++) printf("%+9.4f  %s\n", d->offsets[k], meta->class_names[k]);
    printf("\nwrote %s: 'lockstep eval --decision', 'predict --decision' and 'convert --decision' use it\n", output);
}

static lk_status calibrate(const calibrate_options *given, const char *model_path, const char *data_path,
                           lk_error *err) {
    lk_status status;
    lk_model_file file = {0};
    lk_dataset *dataset = NULL;
    lk_eval_result result = {0};
    lk_decision decision = {0};
    LK_TRY(check_output(given, model_path, err));
    LK_TRY(lk_model_file_open(&file, model_path, err));
    if (file.meta.decision != NULL && file.meta.decision->folded)
        LK_TRY(lk_fail(err, LK_ERR_CONFIG,
                       "%s has a decision layer in its weights already: calibrate the checkpoint it was made from",
                       model_path));
    LK_TRY(lk_dataset_open(&dataset, data_path, err));
    LK_TRY(evaluate(&result, &file, dataset, model_path, given, err));
    LK_TRY(fit(&decision, &result, given, err));
    LK_TRY(lk_model_file_set_decision(&file, &decision, err));
    LK_TRY(lk_export_checkpoint(&file, given->output, err));
    if (given->json)
        LK_TRY(print_json(&decision, err));
    else
        print_text(&decision, &file.meta, given->output);
out:
    lk_decision_free(&decision);
    lk_eval_result_free(&result);
    lk_dataset_free(dataset);
    lk_model_file_free(&file);
    return status;
}

static lk_status use_all_cores(calibrate_options *given, lk_error *err) {
    int cores;
    LK_RETURN_IF(lk_topology_cores(&cores, err));
    if (given->threads == 0) given->threads = cores;
    if (given->workers == 0) given->workers = cores;
    return LK_OK;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    calibrate_options *given = flags;
    (void)count;
    if (!given->temperature && !given->offsets)
        return lk_fail(err, LK_ERR_USAGE, "--no-temperature and --no-offsets together leave nothing to fit");
    LK_RETURN_IF(use_all_cores(given, err));
    return calibrate(given, arguments[0], arguments[1], err);
}

const lk_command lk_command_calibrate = {
    .synopsis = "calibrate CHECKPOINT DATA -o OUT.h5 [options]",
    .about =
        "Fits the decision layer on one split of a packed data set: a temperature (smallest cross-entropy) and an\n"
        "offset for each class (largest macro-F1), so that the class is argmax(logits / temperature + offsets).\n"
        "OUT is the checkpoint with that layer beside its weights; nothing uses it unless --decision is given to\n"
        "eval, predict, or convert, which folds it into the last layer.",
    LK_COMMAND_OPTIONS(options, calibrate_options),
    .least = 2,
    .most = 2,
    .wrong = "calibrate needs a checkpoint and a data set: lockstep calibrate CHECKPOINT DATA -o OUT.h5",
    .run = run};
