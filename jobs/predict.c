/* lockstep predict: the classes of images, as CSV. */
#include "jobs/predict.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "dist/topology.h"
#include "io/model/atomic.h"
#include "jobs/command.h"
#include "jobs/eval.h"
#include "train/inference.h"
#include "train/metrics.h"

typedef struct predict_options {
    char *output, *columns, *split, *device, *path_column, *images;
    int64_t topk, batch, threads, workers;
    int on_bad, compute;
    bool decision, help;
} predict_options;

static const char *const bad_choices[] = {"fail", "skip", NULL};

#define AT(field) offsetof(predict_options, field)
static const lk_option options[] = {
    {"output", LK_OPTION_STRING, AT(output), 0, NULL, 0, 0, NULL, "CSV file; without it: standard output", 'o', true},
    {"topk", LK_OPTION_INT, AT(topk), 0, "1", 1, 100, NULL, "also class_2, probability_2, ... up to this rank", 'k',
     false},
    {"columns", LK_OPTION_STRING, AT(columns), 0, NULL, 0, 0, NULL,
     "columns and their names, as path=file,class=label,probability,class_2; also index, label (of a data set), "
     "probabilities (one a class)",
     0, true},
    {"on-bad", LK_OPTION_CHOICE, AT(on_bad), 0, "fail", 0, 0, bad_choices,
     "unreadable images: fail at the first, or skip and name them", 0, false},
    {"split", LK_OPTION_STRING, AT(split), 0, NULL, 0, 0, NULL,
     "data set: train, validation, test or predict; without it all samples", 0, true},
    {"path-col", LK_OPTION_STRING, AT(path_column), 0, "path", 0, 0, NULL, "CSV: column of image paths", 0, false},
    {"images", LK_OPTION_STRING, AT(images), 0, NULL, 0, 0, NULL,
     "CSV: folder that the paths start from; without it that of the CSV file", 0, true},
    {"batch", LK_OPTION_INT, AT(batch), 0, "32", 1, 65536, NULL, "samples of one forward pass", 'b', false},
    {"device", LK_OPTION_STRING, AT(device), 0, "cpu", 0, 0, NULL,
     "cpu, cuda, auto (cuda where a GPU answers) or reference", 0, false},
    {"compute", LK_OPTION_CHOICE, AT(compute), 0, "float32", 0, 0, LK_COMPUTES,
     "arithmetic: bfloat16 where cpu or GPU has it, tf32 and float16 on cuda", 0, false},
    {"threads", LK_OPTION_INT, AT(threads), 0, "0", 0, 1024, NULL, "of the arithmetic; 0: one for each core", 0, false},
    {"workers", LK_OPTION_INT, AT(workers), 0, "0", 0, 1024, NULL, "threads that decode; 0: one for each core", 0,
     false},
    {"decision", LK_OPTION_BOOL, AT(decision), 0, "false", 0, 0, NULL,
     "apply the decision layer that 'lockstep calibrate' put into the checkpoint", 0, false},
    LK_COMMAND_HELP(AT(help)),
};

/* Everything a run of predict needs; borrowed. */
typedef struct run_state {
    const lk_predict_inputs *inputs;
    const lk_predict_columns *columns;
    const lk_meta *meta;
    const lk_decision *decision; /* NULL: none is applied */
    lk_inference *model;
    lk_predict_reader *reader;
    lk_log log;
    bool skip;
    double *logits; /* batch x classes; become probabilities */
    int *order;     /* classes */
    int64_t skipped;
    FILE *out;
} run_state;

/* In place. Errors: LK_ERR_NUMERIC. */
static lk_status to_probabilities(double *logits, int classes, const char *name, lk_error *err) {
    double top = logits[lk_argmax(logits, classes)], sum = 0;
    for (int k = 0; k < classes; k++) sum += exp(logits[k] - top);
    if (!isfinite(sum))
        return lk_fail(err, LK_ERR_NUMERIC, "%s: the logits are not numbers: the checkpoint is not usable", name);
    for (int k = 0; k < classes; k++) logits[k] = exp(logits[k] - top) / sum;
    return LK_OK;
}

/* The `best` classes of largest probability, equal ones in the model's order. */
static void rank_classes(const double *probabilities, int classes, int best, int *order) {
    for (int i = 0; i < best; i++) {
        int found = -1;
        for (int k = 0; k < classes; k++) {
            bool used = false;
            for (int j = 0; j < i; j++) used = used || order[j] == k;
            if (!used && (found < 0 || probabilities[k] > probabilities[found])) found = k;
        }
        order[i] = found;
    }
}

/* P14: a bad image is named with its reason; it ends the run, or is left out. No memory is never a bad image. */
static lk_status report_bad(run_state *run, const char *name, const lk_error *bad, lk_progress *progress,
                            lk_error *err) {
    if (!run->skip || bad->status == LK_ERR_MEMORY)
        return lk_fail(err, bad->status, "%s: %s%s", name, bad->message,
                       run->skip ? "" : "; --on-bad=skip leaves such images out");
    lk_progress_clear(progress);
    lk_log_write(&run->log, LK_LOG_WARNING, "skipped %s: %s", name, bad->message);
    run->skipped++;
    return LK_OK;
}

static lk_status predict_batch(run_state *run, const lk_predict_batch *batch, lk_progress *progress, lk_error *err) {
    int classes = run->meta->class_count;
    LK_RETURN_IF(lk_inference_run(run->model, batch->images, batch->rows, run->logits, err));
    for (int64_t row = 0; row < batch->rows; row++) {
        const lk_predict_item *item = &run->inputs->items[batch->first + row];
        double *logits = run->logits + row * classes;
        if (batch->errors[row].status != LK_OK) {
            LK_RETURN_IF(report_bad(run, item->name, &batch->errors[row], progress, err));
            continue;
        }
        if (run->decision != NULL) lk_decision_apply_double(run->decision, logits, 1);
        LK_RETURN_IF(to_probabilities(logits, classes, item->name, err));
        rank_classes(logits, classes, run->columns->best, run->order);
        lk_predict_columns_print_row(run->columns, run->meta, item, run->order, logits, run->out);
    }
    return LK_OK;
}

static lk_status predict_all(run_state *run, bool silent, lk_error *err) {
    lk_status status = LK_OK;
    lk_progress progress;
    lk_predict_batch batch;
    lk_progress_start(&progress, silent ? NULL : stderr, "predict", "images", run->inputs->count);
    lk_predict_columns_print_heading(run->columns, run->meta, run->out);
    for (;;) {
        LK_TRY(lk_predict_reader_next(run->reader, &batch, err));
        if (batch.rows == 0) break;
        LK_TRY(predict_batch(run, &batch, &progress, err));
        lk_progress_update(&progress, batch.first + batch.rows);
    }
    lk_progress_finish(&progress);
    if (run->skipped == run->inputs->count)
        status = lk_fail(err, LK_ERR_DATA, "none of the %" PRId64 " images can be read", run->skipped);
    else if (run->skipped > 0)
        lk_log_write(&run->log, LK_LOG_WARNING, "%" PRId64 " of %" PRId64 " images were skipped", run->skipped,
                     run->inputs->count);
out:
    if (status != LK_OK) lk_progress_clear(&progress);
    return status;
}

static lk_status predict_to_file(run_state *run, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    lk_atomic_file file = {.fd = -1};
    FILE *out = NULL;
    LK_TRY(lk_atomic_create(&file, path, err));
    int fd = dup(file.fd);
    out = fd < 0 ? NULL : fdopen(fd, "w");
    if (out == NULL) {
        status = lk_fail_errno(err, "write", path);
        if (fd >= 0) close(fd);
        goto out;
    }
    run->out = out;
    LK_TRY(predict_all(run, false, err));
    int failed = ferror(out) ? EIO : 0;
    if (fclose(out) != 0) failed = errno;
    out = NULL;
    if (failed != 0) {
        status = lk_fail_write(err, failed, path);
        goto out;
    }
    LK_TRY(lk_atomic_commit(&file, err));
out:
    if (out != NULL) fclose(out);
    lk_atomic_discard(&file);
    return status;
}

static lk_status collect(lk_predict_inputs *inputs, const predict_options *given, char **paths, int count,
                         lk_error *err) {
    lk_predict_rules rules = {.path_column = given->path_column, .images = given->images, .split = -1};
    if (given->split != NULL) {
        lk_split split;
        LK_RETURN_IF(lk_split_parse(&split, given->split, err));
        rules.split = (int)split;
    }
    for (int i = 0; i < count; i++) LK_RETURN_IF(lk_predict_inputs_add(inputs, paths[i], &rules, err));
    return LK_OK;
}

static lk_status predict(const predict_options *given, const char *model_path, char **paths, int count, lk_error *err) {
    lk_status status = LK_OK;
    lk_predict_inputs inputs = {0};
    lk_predict_columns columns;
    run_state run = {.inputs = &inputs, .columns = &columns, .skip = given->on_bad == 1, .out = stdout};
    lk_inference_options inference = {.device = given->device,
                                      .batch = given->batch,
                                      .compute = lk_compute_of(given->compute),
                                      .threads = (int)given->threads};
    run.log = lk_log_create(stderr, 0, 1);
    LK_TRY(collect(&inputs, given, paths, count, err));
    if (inputs.ignored > 0)
        lk_log_write(&run.log, LK_LOG_WARNING,
                     "ignored %" PRId64 " file(s) in folders whose names do not end as images' do", inputs.ignored);
    LK_TRY(lk_inference_open(&run.model, model_path, &inference, err));
    run.meta = lk_inference_get_meta(run.model);
    if (given->decision) LK_TRY(lk_eval_find_decision(&run.decision, run.meta, model_path, err));
    if (run.decision != NULL) {
        char text[512];
        lk_log_write(&run.log, LK_LOG_INFO, "decision layer: %s", lk_decision_print(run.decision, text, sizeof text));
    }
    LK_TRY(lk_predict_columns_parse(&columns, given->columns, given->topk, run.meta->class_count, err));
    LK_TRY(LK_NEW(&run.logits, given->batch * run.meta->class_count, "logits", err));
    LK_TRY(LK_NEW(&run.order, run.meta->class_count, "classes", err));
    LK_TRY(
        lk_predict_reader_create(&run.reader, &inputs, &run.meta->preprocess, given->batch, (int)given->workers, err));
    if (given->output != NULL && strcmp(given->output, "-") != 0) {
        LK_TRY(predict_to_file(&run, given->output, err));
    } else {
        LK_TRY(predict_all(&run, true, err));
    }
out:
    lk_predict_reader_free(run.reader);
    lk_free(run.order);
    lk_free(run.logits);
    lk_inference_free(run.model);
    lk_predict_inputs_free(&inputs);
    return status;
}

static lk_status use_all_cores(predict_options *given, lk_error *err) {
    int cores;
    LK_RETURN_IF(lk_topology_cores(&cores, err));
    if (given->threads == 0) given->threads = cores;
    if (given->workers == 0) given->workers = cores;
    return LK_OK;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    predict_options *given = flags;
    LK_RETURN_IF(use_all_cores(given, err));
    return predict(given, arguments[0], arguments + 1, count - 1, err);
}

const lk_command lk_command_predict = {
    .synopsis = "predict CHECKPOINT INPUT ... [-o OUT.csv] [options]",
    .about =
        "Writes the classes of images as CSV, in the order given. INPUT is an image, a folder (searched\n"
        "recursively, sorted), a .csv file that names images, or a packed data set. Images are prepared as\n"
        "the checkpoint says, as in training.",
    LK_COMMAND_OPTIONS(options, predict_options),
    .least = 2,
    .most = -1,
    .wrong = "predict needs a checkpoint and images: lockstep predict CHECKPOINT INPUT ...",
    .run = run};
