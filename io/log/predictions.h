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

/* What was read back of one group. Owned arrays. */
typedef struct lk_prediction_set {
    int64_t count; /* 0: the file has no such group */
    int classes;
    int64_t *samples; /* count */
    int32_t *labels;  /* count; 0..classes-1 */
    float *logits;    /* count x classes */
} lk_prediction_set;

/* Reads one group ("best_f1/test"); *out is empty where the file has none. Owner: the caller, with
 * lk_prediction_set_free (the content). Errors: LK_ERR_IO; LK_ERR_DATA for a file or group that is not what
 * lk_predictions_write makes, labels outside the classes included; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_predictions_read(lk_prediction_set *out, const char *path, const char *group, lk_error *err);
void lk_prediction_set_free(lk_prediction_set *set);

#endif
