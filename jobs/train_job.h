/* What the commands that train have in common. */
#ifndef LK_JOBS_TRAIN_JOB_H
#define LK_JOBS_TRAIN_JOB_H

#include "train/trainer.h"

/* The job file with its overrides, for the run that options names; sets options->resuming. Rank 0 looks whether the run
 * goes on, since it alone need see the folder yet. Owner of job and notes: the caller. Collective. Errors, agreed:
 * those of lk_job_read_run. */
LK_MUST_CHECK lk_status lk_train_read_job(lk_job *job, lk_job_notes *notes, lk_train_options *options, lk_comm *comm,
                                          const char *path, char *const *overrides, int count, lk_error *err);

/* "runs/NAME" and the ending, for FOLDER/NAME.yaml. Owner of *out: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_train_default_folder(char **out, const char *file, const char *ending, lk_error *err);

#endif
