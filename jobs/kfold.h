/* Shared by jobs/kfold*.c only. */
#ifndef LK_JOBS_KFOLD_H
#define LK_JOBS_KFOLD_H

#include <stdio.h>

#include "train/trainer.h"

/* Samples of each class in each fold of the job's data set. Errors: as lk_folds_assign, lk_dataset_open; LK_ERR_MEMORY;
 * LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_kfold_list(const lk_job *job, int folds, bool json, FILE *out, lk_error *err);

/* One line a fold, then mean and standard deviation (of the sample: over folds - 1). Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_kfold_print(const lk_train_result *results, int folds, bool json, FILE *out, lk_error *err);

#endif
