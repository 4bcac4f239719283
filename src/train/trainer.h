/* A whole run: set up, epochs, checkpoints, final evaluation. */
#ifndef LK_TRAIN_TRAINER_H
#define LK_TRAIN_TRAINER_H

#include "dist/comm.h"
#include "dist/topology.h"
#include "train/job.h"
#include "train/run_folder.h"
#include "train/signals.h"

/* What the checkpoint best_f1 reaches; samples 0: that split is empty. */
typedef struct lk_train_figures {
    int64_t samples;
    double loss, accuracy, macro_f1;
} lk_train_figures;

typedef struct lk_train_result {
    int64_t epoch; /* of best_f1, from 1; 0: no epoch was completed */
    lk_train_figures validation, test;
} lk_train_result;

typedef struct lk_train_options {
    const char *run; /* folder of the run */
    lk_run_mode mode;
    bool share_gpus;             /* ranks may share one */
    bool resuming;               /* there is a last.h5 to go on from: lk_run_folder_can_resume */
    const lk_job_notes *notes;   /* borrowed; NULL: none */
    const lk_topology *topology; /* borrowed */
    lk_signals *signals;         /* borrowed */
    double started;              /* lk_clock_seconds() at the start of the program */
    lk_train_result *result;     /* filled when training ends, equal on all ranks; NULL: not wanted */
} lk_train_options;

/* Trains. Collective; job, run and mode equal on all ranks.
 * Errors: LK_STOPPED after a signal, with the state saved; else what failed, agreed by all ranks. After LK_ERR_COMM the
 * caller must abort the communicator. */
LK_MUST_CHECK lk_status lk_train(lk_comm *comm, const lk_job *job, const lk_train_options *options, lk_error *err);

#endif
