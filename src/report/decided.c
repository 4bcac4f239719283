#include "report/decided.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "report/calibration.h"
#include "train/metrics.h"

/* Confusion matrix, classes x classes, and mean cross-entropy of a set. */
static lk_status count_set(int64_t *confusion, double *loss, const lk_prediction_set *set, lk_error *err) {
    double *probability;
    LK_RETURN_IF(LK_NEW(&probability, set->classes, "probabilities", err));
    *loss = 0;
    for (int64_t i = 0; i < set->count; i++) {
        int predicted = lk_softmax(set->logits + i * set->classes, set->classes, probability);
        confusion[(int64_t)set->labels[i] * set->classes + predicted]++;
        *loss -= log(fmax(probability[set->labels[i]], 1e-300)) / (double)set->count;
    }
    lk_free(probability);
    return LK_OK;
}

static lk_status measure(lk_metrics *out, double *loss, const lk_prediction_set *set, lk_error *err) {
    int64_t *confusion;
    LK_RETURN_IF(LK_NEW(&confusion, (int64_t)set->classes * set->classes, "a confusion matrix", err));
    lk_status status = count_set(confusion, loss, set, err);
    if (status == LK_OK) status = lk_metrics_compute(out, confusion, set->classes, NULL, set->count, err);
    lk_free(confusion);
    return status;
}

static lk_status measure_f1(double *f1, double *loss, double *ece, const lk_prediction_set *set, lk_error *err) {
    lk_metrics metrics = {0};
    lk_calibration calibration;
    LK_RETURN_IF(measure(&metrics, loss, set, err));
    *f1 = metrics.macro_f1;
    lk_metrics_free(&metrics);
    LK_RETURN_IF(lk_calibration_measure(&calibration, &set, 1, err));
    *ece = calibration.error;
    return LK_OK;
}

lk_status lk_decided_fit(lk_decision *out, const lk_prediction_set *set, const int32_t *groups,
                         const lk_decision_options *options, lk_error *err) {
    lk_status status;
    lk_prediction_set scaled = *set, decided = *set;
    double ignored;
    scaled.logits = decided.logits = NULL;
    memset(out, 0, sizeof *out);
    LK_TRY(LK_NEW(&scaled.logits, set->count * set->classes, "logits", err));
    LK_TRY(LK_NEW(&decided.logits, set->count * set->classes, "logits", err));
    LK_TRY(lk_decision_cross_fit(scaled.logits, decided.logits, set->logits, set->labels, groups, set->count,
                                 set->classes, options, err));
    LK_TRY(lk_decision_fit(out, set->logits, set->labels, set->count, set->classes, options, err));
    lk_decision_figures *f = &out->figures;
    LK_TRY(measure_f1(&f->f1_before, &f->loss_before, &f->ece_before, set, err));
    LK_TRY(measure_f1(&ignored, &f->loss_after, &f->ece_after, &scaled, err));
    LK_TRY(measure_f1(&f->f1_after, &ignored, &ignored, &decided, err));
out:
    lk_free(scaled.logits);
    lk_free(decided.logits);
    if (status != LK_OK) lk_decision_free(out);
    return status;
}

/* The figures of a split after its predictions changed. The loss is that of the job's training, which has no meaning
 * for decided logits. */
static lk_status refigure(lk_run_record_final *final, const lk_prediction_set *set, lk_error *err) {
    lk_metrics metrics = {0};
    double loss;
    LK_RETURN_IF(measure(&metrics, &loss, set, err));
    final->loss = NAN;
    final->accuracy = metrics.accuracy;
    final->macro_f1 = metrics.macro_f1;
    for (int k = 0; k < final->class_count && k < metrics.classes; k++) final->classes[k].f1 = metrics.per_class[k].f1;
    lk_metrics_free(&metrics);
    return LK_OK;
}

static lk_status decide_best(lk_run_record *record, int best, lk_error *err) {
    static const lk_decision_options how = {.temperature = true, .offsets = true, .folds = 5, .seed = 1};
    lk_status status;
    lk_decision decision = {0};
    float *scaled = NULL, *decided = NULL;
    lk_error problem = {0};
    lk_prediction_set *validation = &record->predictions[best][LK_FINAL_VALIDATION];
    lk_prediction_set *test = &record->predictions[best][LK_FINAL_TEST];
    if (validation->count == 0)
        return lk_fail(err, LK_ERR_DATA, "%s has no validation predictions to fit a decision layer on", record->folder);
    status = lk_decision_check(validation->logits, validation->labels, validation->count, validation->classes, NULL,
                               &how, &problem);
    if (status != LK_OK) return lk_fail(err, status, "%s, validation predictions: %s", record->folder, problem.message);
    LK_TRY(LK_NEW(&scaled, validation->count * validation->classes, "logits", err));
    LK_TRY(LK_NEW(&decided, validation->count * validation->classes, "logits", err));
    LK_TRY(lk_decision_fit(&decision, validation->logits, validation->labels, validation->count, validation->classes,
                           &how, err));
    LK_TRY(lk_decision_cross_fit(scaled, decided, validation->logits, validation->labels, NULL, validation->count,
                                 validation->classes, &how, err));
    memcpy(validation->logits, decided, (size_t)(validation->count * validation->classes) * sizeof *decided);
    LK_TRY(refigure(&record->finals[best][LK_FINAL_VALIDATION], validation, err));
    if (test->count > 0) {
        lk_decision_apply(&decision, test->logits, test->count);
        LK_TRY(refigure(&record->finals[best][LK_FINAL_TEST], test, err));
    }
out:
    lk_decision_free(&decision);
    lk_free(scaled);
    lk_free(decided);
    return status;
}

lk_status lk_run_record_decide(lk_run_record *record, lk_error *err) {
    char *name;
    for (int best = 0; best < LK_BEST_COUNT; best++) LK_RETURN_IF(decide_best(record, best, err));
    LK_RETURN_IF(lk_format(&name, err, "%s%s", record->name, LK_DECIDED_ENDING));
    lk_free(record->name);
    record->name = name;
    record->decided = true;
    return LK_OK;
}
