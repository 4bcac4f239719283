#include <string.h>

#include "core/memory.h"
#include "io/log/predictions.h"
#include "train/trainer_internal.h"

enum { BEST_KINDS = 2, SPLITS = 2 };
static const char *const BEST_NAMES[BEST_KINDS] = {"best_loss", "best_f1"};
static const char *const SPLIT_NAMES[SPLITS] = {"validation", "test"};

typedef struct final_results {
    lk_evaluation evaluations[BEST_KINDS][SPLITS];
    int32_t *labels[SPLITS];
} final_results;

static lk_status load_best(lk_trainer *t, const char *name, lk_error *err) {
    lk_status status;
    char *path = NULL;
    lk_checkpoint *checkpoint = NULL;
    LK_TRY(lk_format(&path, err, "%s/%s.h5", t->checkpoints, name));
    LK_TRY(lk_checkpoint_open(&checkpoint, path, err));
    LK_TRY(lk_snapshot_restore_model(t->network, checkpoint, err));
out:
    lk_checkpoint_free(checkpoint);
    lk_free(path);
    return status;
}

static lk_status evaluate_best(lk_trainer *t, int kind, final_results *results, lk_error *err) {
    const int64_t *samples[SPLITS] = {t->samples.validation, t->test};
    const int64_t counts[SPLITS] = {t->samples.validation_count, t->test_count};
    LK_RETURN_IF(lk_comm_agree(t->comm, load_best(t, BEST_NAMES[kind], err), err));
    for (int split = 0; split < SPLITS; split++) {
        if (counts[split] == 0) continue;
        lk_evaluation_config config = {
            .samples = samples[split], .count = counts[split], .batch = t->job->evaluate.batch, .keep_logits = true};
        lk_comm_set_phase(t->comm, "evaluation of %s on %s", BEST_NAMES[kind], SPLIT_NAMES[split]);
        LK_RETURN_IF(
            lk_evaluate(&results->evaluations[kind][split], t->network, t->lanes, t->comm, t->loader, &config, err));
        LK_RETURN_IF(lk_report_final(t, BEST_NAMES[kind], SPLIT_NAMES[split], &results->evaluations[kind][split], err));
    }
    return LK_OK;
}

static lk_status write_predictions(lk_trainer *t, final_results *results, lk_error *err) {
    lk_status status;
    const int64_t *samples[SPLITS] = {t->samples.validation, t->test};
    const int64_t counts[SPLITS] = {t->samples.validation_count, t->test_count};
    lk_predictions groups[BEST_KINDS * SPLITS];
    char names[BEST_KINDS * SPLITS][32];
    char *path = NULL;
    int count = 0;
    for (int split = 0; split < SPLITS; split++) {
        LK_TRY(LK_NEW(&results->labels[split], counts[split], "labels", err));
        for (int64_t i = 0; i < counts[split]; i++)
            results->labels[split][i] = t->dataset->samples[samples[split][i]].label;
    }
    for (int at = 0; at < BEST_KINDS * SPLITS; at++) {
        int kind = at / SPLITS, split = at % SPLITS;
        if (counts[split] == 0) continue;
        snprintf(names[count], sizeof names[count], "%s/%s", BEST_NAMES[kind], SPLIT_NAMES[split]);
        groups[count] = (lk_predictions){.group = names[count],
                                         .count = counts[split],
                                         .classes = t->dataset->class_count,
                                         .samples = samples[split],
                                         .labels = results->labels[split],
                                         .logits = results->evaluations[kind][split].logits};
        count++;
    }
    LK_TRY(lk_run_folder_join(&t->folder, &path, "predictions.h5", err));
    LK_TRY(lk_predictions_write(path, groups, count, (const char *const *)t->dataset->class_names, err));
out:
    lk_free(path);
    return status;
}

static lk_train_figures figures_of(const lk_evaluation *evaluation, int64_t samples) {
    const lk_metrics *m = &evaluation->metrics;
    if (samples == 0) return (lk_train_figures){0};
    return (lk_train_figures){m->samples, m->loss, m->accuracy, m->macro_f1};
}

static void give_result(const lk_trainer *t, const final_results *results) {
    enum { BEST_F1 = 1, VALIDATION = 0, TEST = 1 };
    const lk_evaluation *best = results->evaluations[BEST_F1];
    if (t->options->result == NULL) return;
    *t->options->result = (lk_train_result){.epoch = t->counters.f1.epoch,
                                            .validation = figures_of(&best[VALIDATION], t->samples.validation_count),
                                            .test = figures_of(&best[TEST], t->test_count)};
}

lk_status lk_trainer_finish(lk_trainer *t, lk_error *err) {
    lk_status status = LK_OK;
    final_results results = {0};
    if (t->counters.loss.epoch == 0 || t->counters.f1.epoch == 0) return LK_OK; /* no epoch was completed */
    for (int kind = 0; kind < BEST_KINDS; kind++) LK_TRY(evaluate_best(t, kind, &results, err));
    give_result(t, &results);
    if (t->comm->rank == 0) status = write_predictions(t, &results, err);
    status = lk_comm_agree(t->comm, status, err);
out:
    for (int at = 0; at < BEST_KINDS * SPLITS; at++) lk_evaluation_free(&results.evaluations[at / SPLITS][at % SPLITS]);
    for (int split = 0; split < SPLITS; split++) lk_free(results.labels[split]);
    return status;
}
