/* lockstep eval: the metrics of a checkpoint on one split of a data set. */
#include "jobs/eval.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/memory.h"
#include "dist/topology.h"
#include "io/log/predictions.h"
#include "jobs/command.h"
#include "train/inference.h"

typedef struct eval_options {
    char *split, *device, *predictions;
    int64_t batch, threads, workers;
    int compute;
    bool decision, json, help;
} eval_options;

#define AT(field) offsetof(eval_options, field)
static const lk_option options[] = {
    {"split", LK_OPTION_STRING, AT(split), 0, "test", 0, 0, NULL, "train, validation or test", 0, false},
    {"batch", LK_OPTION_INT, AT(batch), 0, "32", 1, 65536, NULL, "samples of one forward pass", 'b', false},
    {"device", LK_OPTION_STRING, AT(device), 0, "cpu", 0, 0, NULL,
     "cpu, cuda, auto (cuda where a GPU answers) or reference", 0, false},
    {"compute", LK_OPTION_CHOICE, AT(compute), 0, "float32", 0, 0, LK_COMPUTES,
     "arithmetic: bfloat16 where cpu or GPU has it, tf32 and float16 on cuda", 0, false},
    {"threads", LK_OPTION_INT, AT(threads), 0, "0", 0, 1024, NULL, "of the arithmetic; 0: one for each core", 0, false},
    {"workers", LK_OPTION_INT, AT(workers), 0, "0", 0, 1024, NULL, "threads that decode; 0: one for each core", 0,
     false},
    {"predictions", LK_OPTION_STRING, AT(predictions), 0, NULL, 0, 0, NULL,
     "also write sample, label and logits into this HDF5 file", 0, true},
    {"decision", LK_OPTION_BOOL, AT(decision), 0, "false", 0, 0, NULL,
     "apply the decision layer that 'lockstep calibrate' put into the checkpoint", 0, false},
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "the result as JSON", 0, false},
    LK_COMMAND_HELP(AT(help)),
};

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

/* Figures on the samples that the decision layer was fitted on flatter it; on other data it may not fit. */
static void warn_of_decision(const lk_eval_result *result) {
    const lk_decision *d = result->decision;
    lk_log log = lk_log_create(stderr, 0, 1);
    if (memcmp(d->dataset_hash, result->dataset->hash, sizeof d->dataset_hash) != 0)
        lk_log_write(&log, LK_LOG_WARNING,
                     "the decision layer was fitted on another data set than %s: where classes are differently "
                     "frequent, it makes predictions worse",
                     result->dataset->path);
    else if (strcmp(d->split, lk_split_name(result->split)) == 0)
        lk_log_write(&log, LK_LOG_WARNING,
                     "the decision layer was fitted on this split, so these figures flatter it; its cross-fitted "
                     "macro-F1 is %.4f",
                     d->figures.f1_after);
}

static lk_status evaluate(const eval_options *given, const char *model_path, const char *data_path, lk_error *err) {
    lk_status status = LK_OK;
    lk_inference *model = NULL;
    lk_dataset *dataset = NULL;
    lk_eval_result result = {0};
    lk_inference_options inference = {.device = given->device,
                                      .batch = given->batch,
                                      .compute = lk_compute_of(given->compute),
                                      .threads = (int)given->threads};
    LK_TRY(lk_split_parse(&result.split, given->split, err));
    LK_TRY(lk_inference_open(&model, model_path, &inference, err));
    LK_TRY(lk_dataset_open(&dataset, data_path, err));
    LK_TRY(lk_eval_prepare(&result, lk_inference_get_meta(model), dataset, model_path, err));
    if (given->decision) LK_TRY(lk_eval_find_decision(&result.decision, result.meta, model_path, err));
    LK_TRY(lk_eval_compute(&result, model, given->batch, (int)given->workers, err));
    if (result.decision != NULL) {
        warn_of_decision(&result);
        lk_decision_apply(result.decision, result.logits, result.count);
    }
    LK_TRY(lk_eval_count(&result, err));
    if (given->predictions != NULL) LK_TRY(write_predictions(&result, given->predictions, err));
    if (given->json) {
        LK_TRY(lk_eval_print_json(&result, stdout, err));
    } else {
        lk_eval_print(&result, stdout);
    }
out:
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

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    eval_options *given = flags;
    (void)count;
    LK_RETURN_IF(use_all_cores(given, err));
    return evaluate(given, arguments[0], arguments[1], err);
}

const lk_command lk_command_eval = {
    .synopsis = "eval CHECKPOINT DATA [options]",
    .about =
        "Evaluates a checkpoint or an export on one split of a packed data set: every sample once, classes\n"
        "matched by name, metrics as scikit-learn defines them.",
    LK_COMMAND_OPTIONS(options, eval_options),
    .least = 2,
    .most = 2,
    .wrong = "eval needs a checkpoint and a data set: lockstep eval CHECKPOINT DATA",
    .run = run};
