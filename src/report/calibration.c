#include "report/calibration.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "train/metrics.h"

int lk_softmax(const float *logits, int classes, double *probability) {
    double sum = 0;
    for (int k = 0; k < classes; k++) probability[k] = (double)logits[k];
    int best = lk_argmax(probability, classes);
    double most = probability[best];
    for (int k = 0; k < classes; k++) sum += probability[k] = exp(probability[k] - most);
    for (int k = 0; k < classes; k++) probability[k] /= sum;
    return best;
}

static void add_set(lk_calibration *c, const lk_prediction_set *set, double *probability) {
    for (int64_t i = 0; i < set->count; i++) {
        int predicted = lk_softmax(set->logits + i * set->classes, set->classes, probability);
        double confidence = probability[predicted];
        int at = (int)ceil(confidence * LK_CALIBRATION_BINS) - 1;
        if (!(at >= 0)) at = 0; /* NaN: counted, at confidence 0 */
        if (at >= LK_CALIBRATION_BINS) at = LK_CALIBRATION_BINS - 1;
        c->bins[at].samples++;
        c->bins[at].confidence += isnan(confidence) ? 0 : confidence;
        c->bins[at].accuracy += predicted == set->labels[i];
    }
}

lk_status lk_calibration_measure(lk_calibration *out, const lk_prediction_set *const *sets, int count, lk_error *err) {
    int64_t total = 0;
    memset(out, 0, sizeof *out);
    for (int s = 0; s < count; s++) {
        double *probability;
        LK_RETURN_IF(LK_NEW(&probability, sets[s]->classes, "probabilities", err));
        add_set(out, sets[s], probability);
        lk_free(probability);
        total += sets[s]->count;
    }
    for (int b = 0; b < LK_CALIBRATION_BINS; b++) {
        lk_calibration_bin *bin = &out->bins[b];
        if (bin->samples == 0) continue;
        bin->confidence /= (double)bin->samples;
        bin->accuracy /= (double)bin->samples;
        out->error += fabs(bin->confidence - bin->accuracy) * (double)bin->samples / (double)total;
    }
    return LK_OK;
}
