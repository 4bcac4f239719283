/* Likely label errors by confident learning, from predictions for images that a model was not trained on. */
#ifndef LK_REPORT_LABEL_ERRORS_H
#define LK_REPORT_LABEL_ERRORS_H

#include <stdint.h>

#include "io/data/dataset.h"

typedef struct lk_label_error {
    int32_t image, given, suggested;       /* labels */
    double given_probability, probability; /* of the given label, and of the suggested one */
    double margin;                         /* probability of the given label minus the largest of the others */
} lk_label_error;

typedef struct lk_label_errors {
    lk_label_error *errors; /* by rising margin: the most likely errors first */
    int64_t count;
    int64_t judged; /* images with predictions */
} lk_label_errors;
void lk_label_errors_free(lk_label_errors *errors); /* frees the content, not the struct */

/* Out-of-sample probabilities of images. Owned arrays. */
typedef struct lk_out_of_fold {
    float *probability; /* images x classes: mean over the runs that predicted an image */
    int32_t *runs;      /* images: how many those are */
} lk_out_of_fold;
void lk_out_of_fold_free(lk_out_of_fold *out); /* frees the content, not the struct */

/* Reads the predictions of finished runs (their best_f1 checkpoints, on validation and test): none was trained on the
 * images it predicts. A folder of lockstep kfold, fold-1, fold-2, ..., stands for its folds. The validation images
 * chose the epoch, which makes their probabilities somewhat too sure. Errors: LK_ERR_CONFIG for a folder that is no
 * finished run; LK_ERR_DATA where a run saw other samples or labels; LK_ERR_IO; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_out_of_fold_read(lk_out_of_fold *out, const lk_dataset *dataset, char *const *folders,
                                            int count, lk_error *err);

/* images: how many; labels: of each, -1 for none. The threshold of a class is the mean probability that its own images
 * have for it; an image counts for the class of the largest probability among those that reach their threshold, and is
 * a likely error where that class, and the most probable one, is not the given one: the off-diagonal of the confident
 * joint. Source: Northcutt, Jiang and Chuang 2021, equations 1 and 2, ranking 3.3 (normalised margin).
 * Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_label_errors_find(lk_label_errors *out, const lk_out_of_fold *predictions,
                                             const int32_t *labels, int64_t images, int classes, lk_error *err);

#endif
