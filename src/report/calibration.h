/* Do the probabilities mean what they say? */
#ifndef LK_REPORT_CALIBRATION_H
#define LK_REPORT_CALIBRATION_H

#include "io/log/predictions.h"

enum { LK_CALIBRATION_BINS = 15 };

typedef struct lk_calibration_bin {
    double confidence, accuracy; /* means over the bin's samples; 0 where there is none */
    int64_t samples;
} lk_calibration_bin;

typedef struct lk_calibration {
    lk_calibration_bin bins[LK_CALIBRATION_BINS]; /* equal widths of confidence; a bin owns its upper end */
    double error;                                 /* expected calibration error */
} lk_calibration;

/* Softmax of one row of logits, in double. probability: classes. Returns the predicted class (lk_argmax's). */
int lk_softmax(const float *logits, int classes, double *probability);

/* Over several sets together (the seeds of a recipe). Source: Guo et al. 2017, equation 3. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_calibration_measure(lk_calibration *out, const lk_prediction_set *const *sets, int count,
                                               lk_error *err);

#endif
