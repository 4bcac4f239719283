/* Which samples a job trains and validates on: the splits of its data set, or one fold of them; and in which order. */
#ifndef LK_TRAIN_TRAINING_SET_H
#define LK_TRAIN_TRAINING_SET_H

#include "io/data/dataset.h"
#include "io/data/sampler.h"
#include "train/job.h"

typedef struct lk_training_set {
    int64_t *train, *validation; /* indices into the data set, in file order */
    int64_t train_count, validation_count;
} lk_training_set;

/* Validation is fold `fold` of `folds`, or the split of that name; training the rest. Owner: the caller, with
 * lk_training_set_free, also after an error. Errors: LK_ERR_DATA where either is empty; LK_ERR_CONFIG for folds that
 * the data set does not have; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_training_set_read(lk_training_set *out, const lk_job *job, const lk_dataset *dataset,
                                             lk_error *err);
void lk_training_set_free(lk_training_set *set); /* frees the content, not the struct; NULL is accepted */

/* The sampler that the job names. Owner: the caller, with lk_sampler_free. Errors: LK_ERR_CONFIG for weights that do
 * not fit the classes, and as lk_sampler_create; LK_ERR_DATA for a training sample without a label. */
LK_MUST_CHECK lk_status lk_training_set_sampler(lk_sampler **out, const lk_training_set *set, const lk_job *job,
                                                const lk_dataset *dataset, lk_error *err);

#endif
