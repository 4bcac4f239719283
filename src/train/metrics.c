#include "train/metrics.h"

#include <math.h>

#include "core/memory.h"

static double ratio(double numerator, double denominator) { return denominator == 0 ? 0 : numerator / denominator; }

static void compute_class(lk_class_metrics *m, const int64_t *confusion, int classes, int k) {
    for (int j = 0; j < classes; j++) {
        m->support += confusion[(int64_t)k * classes + j];
        m->predicted += confusion[(int64_t)j * classes + k];
    }
    m->correct = confusion[(int64_t)k * classes + k];
    m->precision = ratio((double)m->correct, (double)m->predicted);
    m->recall = ratio((double)m->correct, (double)m->support);
    m->f1 = ratio(2 * (double)m->correct, (double)(m->support + m->predicted));
}

lk_status lk_metrics_compute(lk_metrics *out, const int64_t *confusion, int classes, const double *losses,
                             int64_t samples, lk_error *err) {
    *out = (lk_metrics){.samples = samples, .classes = classes};
    LK_RETURN_IF(LK_NEW(&out->per_class, classes, "metrics of each class", err));
    int64_t correct = 0, counted = 0;
    int present = 0, supported = 0;
    double f1 = 0, recall = 0, loss = 0;
    for (int k = 0; k < classes; k++) {
        lk_class_metrics *m = &out->per_class[k];
        compute_class(m, confusion, classes, k);
        correct += m->correct;
        counted += m->support;
        present += m->support + m->predicted > 0;
        supported += m->support > 0;
        f1 += m->f1; /* 0 for an absent class, as is the recall of one without samples */
        recall += m->recall;
    }
    if (counted != samples)
        return lk_fail(err, LK_ERR_INTERNAL, "the confusion matrix holds %lld samples of %lld (P1): report this",
                       (long long)counted, (long long)samples);
    for (int64_t i = 0; losses != NULL && i < samples; i++) loss += losses[i];
    out->loss = ratio(loss, (double)samples);
    out->accuracy = ratio((double)correct, (double)samples);
    out->macro_f1 = ratio(f1, present);
    out->macro_f1_all = ratio(f1, classes);
    out->balanced_accuracy = ratio(recall, supported);
    return LK_OK;
}

void lk_metrics_free(lk_metrics *metrics) {
    if (metrics == NULL) return;
    lk_free(metrics->per_class);
    metrics->per_class = NULL;
}

int lk_argmax(const double *logits, int classes) {
    int best = 0;
    for (int k = 1; k < classes && !isnan(logits[best]); k++)
        if (logits[k] > logits[best] || isnan(logits[k])) best = k;
    return best;
}
