/* predictions.h5: sample, label and logits of a split for one checkpoint (docs/formats.md).
 * Groups "/best_loss/validation", "/best_f1/test", ... each with data sets sample (int64), label (int32), logits (N x K
 * float32), and the root's class_names. */
#ifndef LK_IO_LOG_PREDICTIONS_H
#define LK_IO_LOG_PREDICTIONS_H

#include <stdint.h>

#include "core/error.h"

typedef struct lk_predictions {
    const char *group; /* "best_f1/test" */
    int64_t count;
    int classes;
    const int64_t *samples; /* count: index in the data set */
    const int32_t *labels;  /* count */
    const float *logits;    /* count x classes */
} lk_predictions;

/* Writes all groups in one atomic file. Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_predictions_write(const char *path, const lk_predictions *groups, int group_count,
                                             const char *const *class_names, lk_error *err);

#endif
