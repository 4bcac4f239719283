/* Steps of reading a job; shared by src/train/job*.c only. */
#ifndef LK_TRAIN_JOB_INTERNAL_H
#define LK_TRAIN_JOB_INTERNAL_H

#include "train/job.h"

/* job_base.c: the file and, before it, the one that its key `base` names, and so on. seen: one for each option.
 * Errors: those of lk_options_read_yaml; LK_ERR_CONFIG for bases nested too deep. */
LK_MUST_CHECK lk_status lk_job_read_files(lk_job *job, bool *seen, const char *path, lk_error *err);

/* job_base.c: the path of `base` as seen from the file that names it. Owner of *out: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_job_resolve(char **out, const char *file, const char *base, lk_error *err);

/* job_init.c: gives the input.* keys that nobody has set the values that the weights of job->init were made with.
 * stored: a resolved job to take them from instead, or NULL. notes: may be NULL. */
LK_MUST_CHECK lk_status lk_job_take_init(lk_job *job, lk_job_notes *notes, const bool *seen, const char *stored,
                                         lk_error *err);

#endif
