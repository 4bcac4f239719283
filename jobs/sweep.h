/* Parts of `lockstep sweep`; shared by jobs/sweep*.c only. */
#ifndef LK_JOBS_SWEEP_H
#define LK_JOBS_SWEEP_H

#include <stdio.h>

#include "train/sweep.h"
#include "train/trainer.h"

typedef enum lk_sweep_state {
    LK_SWEEP_NEW,        /* no checkpoint to go on from */
    LK_SWEEP_UNFINISHED, /* goes on from checkpoints/last.h5 */
    LK_SWEEP_FINISHED,   /* trained to the end that the job names, with its predictions */
    LK_SWEEP_REFUSED     /* the folder holds another run; reason says how it differs */
} lk_sweep_state;

typedef struct lk_sweep_run {
    const lk_sweep_variant *variant; /* borrowed */
    int64_t seed;
    char *folder;     /* FOLDER/VARIANT-seed-SEED */
    char **overrides; /* override_count: of the variant, of the command line, seed=SEED. The texts are borrowed */
    int override_count;
    char seed_text[32];
    lk_sweep_state state;
    int64_t epochs; /* that stand in its metrics.jsonl */
    double best_f1; /* on validation, of those epochs; NaN: none yet */
    char reason[LK_ERROR_SIZE];
} lk_sweep_run;

typedef struct lk_sweep_runs {
    const char *path; /* of the sweep file; borrowed */
    char *folder;
    bool decision; /* the comparison has each recipe with a decision layer too */
    lk_sweep sweep;
    lk_sweep_run *runs; /* all variants with the first seed, then with the second, ... */
    int count;
} lk_sweep_runs;

/* Reads the sweep and expands it. folder NULL: runs/ and the file's name. overrides: KEY=VALUE of the command line, for
 * all variants; borrowed. Owner: the caller, with lk_sweep_runs_free, which frees the content. Errors: those of
 * lk_sweep_read; LK_ERR_USAGE for overrides that a sweep sets itself. Not Collective. */
LK_MUST_CHECK lk_status lk_sweep_runs_create(lk_sweep_runs *out, const char *path, const char *folder,
                                             char *const *overrides, int override_count, lk_error *err);
void lk_sweep_runs_free(lk_sweep_runs *runs);

/* Reads the job of each run, checks that the variants can be compared, and finds the state of each run in its folder.
 * Errors: LK_ERR_CONFIG for jobs that are wrong, that are equal, or that name different data sets or folds; LK_ERR_IO;
 * LK_ERR_DATA for a damaged folder. A run of state LK_SWEEP_REFUSED is no error here. Not Collective. */
LK_MUST_CHECK lk_status lk_sweep_runs_look(lk_sweep_runs *runs, lk_error *err);
/* The first refused run as an error: LK_ERR_CONFIG. only: a run's number from 1; 0: all. */
LK_MUST_CHECK lk_status lk_sweep_runs_check(const lk_sweep_runs *runs, int only, lk_error *err);

/* sweep_train.c: trains what is unfinished, one run after the other, and goes on after one that fails. only: a run's
 * number from 1; 0: all. *failed: how many failed. Collective. Errors: LK_STOPPED after a signal, with the state saved;
 * a failure that not all ranks share. */
LK_MUST_CHECK lk_status lk_sweep_train(lk_sweep_runs *runs, int only, lk_comm *comm, const lk_topology *topology,
                                       lk_signals *signals, int *failed, lk_error *err);

/* sweep_report.c: the runs as a table. */
void lk_sweep_list(const lk_sweep_runs *runs, FILE *out);
/* Compares the runs that have begun: FOLDER/report.html, report.md and report.csv, and the table on out. Where none is
 * finished it says so and writes nothing. Errors: those of lk_comparison_create and lk_page_write. */
LK_MUST_CHECK lk_status lk_sweep_report(const lk_sweep_runs *runs, FILE *out, lk_error *err);

/* sweep_slurm.c: submits the runs that are not finished as an array of the sbatch template, and a job for the
 * comparison that waits for them. overrides as above. Errors: LK_ERR_IO where sbatch fails or is missing. */
LK_MUST_CHECK lk_status lk_sweep_submit(const lk_sweep_runs *runs, const char *template, char *const *overrides,
                                        int override_count, FILE *out, lk_error *err);

#endif
