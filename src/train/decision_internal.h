/* Steps of fitting the decision layer; shared by src/train/decision*.c only. */
#ifndef LK_TRAIN_DECISION_INTERNAL_H
#define LK_TRAIN_DECISION_INTERNAL_H

#include "train/decision.h"

/* decision_temperature.c: of smallest cross-entropy. Pure. */
double lk_decision_find_temperature(const float *logits, const int32_t *labels, int64_t n, int classes);
/* decision_offsets.c: offsets: classes. A class without samples keeps that of the start. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_decision_find_offsets(double *offsets, double temperature, const float *logits,
                                                 const int32_t *labels, int64_t n, int classes, lk_error *err);

#endif
