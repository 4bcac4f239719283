/* K-fold cross-validation over a data set's training and validation samples (P18). */
#ifndef LK_IO_DATA_FOLDS_H
#define LK_IO_DATA_FOLDS_H

#include "io/data/dataset.h"

/* fold[i] of each sample: 1 .. folds for those of the splits train and validation, 0 for the others (test stays test).
 * Folds are equal, stratified by class, whole groups at a time; a function of (data set, folds, seed) alone. fold:
 * dataset->count. Source of the task: sklearn.model_selection.StratifiedGroupKFold. Errors: LK_ERR_CONFIG for more
 * folds than the smallest class has samples or groups, or a sample without a label; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_folds_assign(int32_t *fold, const lk_dataset *dataset, int folds, uint64_t seed,
                                        lk_error *err);

#endif
