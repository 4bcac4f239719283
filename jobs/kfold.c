/* lockstep kfold: every fold of a job, one after the other, and what they reach together. */
#include "jobs/kfold.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "jobs/command.h"
#include "jobs/train_job.h"

typedef struct kfold_flags {
    char *run;
    bool resume, overwrite, list, json, help;
    double timeout;
} kfold_flags;

#define AT(field) offsetof(kfold_flags, field)
static const lk_option FLAGS[] = {
    {"run", LK_OPTION_STRING, AT(run), 0, NULL, 0, 0, NULL,
     "folder of the runs fold-1, fold-2, ...; default: runs/ and the job file's name with -folds", 0, true},
    {"resume", LK_OPTION_BOOL, AT(resume), 0, "false", 0, 0, NULL,
     "go on from checkpoints/last.h5 of each fold where there is one, else start", 0, false},
    {"overwrite", LK_OPTION_BOOL, AT(overwrite), 0, "false", 0, 0, NULL, "replace the runs that the folders hold", 0,
     false},
    {"list", LK_OPTION_BOOL, AT(list), 0, "false", 0, 0, NULL,
     "only show what each fold holds (--json: of each sample)", 0, false},
    {"json", LK_OPTION_BOOL, AT(json), 0, "false", 0, 0, NULL, "the result as JSON at the end of the output", 0, false},
    {"timeout", LK_OPTION_DOUBLE, AT(timeout), 0, "300", 1, 1e6, NULL,
     "seconds that a rank waits for the others before it names the missing one and ends", 0, false},
    LK_COMMAND_HELP(AT(help)),
};
enum { FLAG_COUNT = sizeof FLAGS / sizeof FLAGS[0], FOLDS_MAX = 1000 };

typedef struct kfold {
    const kfold_flags *flags;
    const char *job_path;
    char **overrides; /* of the command line, then folds=K and fold=I */
    int override_count;
    int folds;
    lk_comm *comm;
    const lk_topology *topology;
    lk_signals *signals;
} kfold;

static lk_status parse_folds(int *out, const char *text, lk_error *err) {
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < 2 || value > FOLDS_MAX)
        return lk_fail(err, LK_ERR_USAGE, "'%.40s' is no number of folds: lockstep kfold JOB.yaml K, with K of 2 to %d",
                       text, FOLDS_MAX);
    *out = (int)value;
    return LK_OK;
}

/* The overrides, with room for folds=K and fold=I behind them. */
static lk_status set_overrides(kfold *k, int argc, char **argv, lk_error *err) {
    k->override_count = argc + 2;
    LK_RETURN_IF(LK_NEW(&k->overrides, k->override_count, "the overrides", err));
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "fold=", 5) == 0 || strncmp(argv[i], "folds=", 6) == 0)
            return lk_fail(err, LK_ERR_USAGE, "kfold sets '%s' itself: lockstep kfold JOB.yaml K", argv[i]);
        k->overrides[i] = argv[i];
    }
    return LK_OK;
}

/* options: of the run that the job is read for, or NULL to look at the job alone. */
static lk_status read_job(lk_job *job, lk_job_notes *notes, const kfold *k, int fold, lk_train_options *options,
                          lk_error *err) {
    char folds_text[32], fold_text[32];
    snprintf(folds_text, sizeof folds_text, "folds=%d", k->folds);
    snprintf(fold_text, sizeof fold_text, "fold=%d", fold);
    k->overrides[k->override_count - 2] = folds_text;
    k->overrides[k->override_count - 1] = fold_text;
    if (options == NULL) return lk_job_read(job, k->job_path, k->overrides, k->override_count, err);
    return lk_train_read_job(job, notes, options, k->comm, k->job_path, k->overrides, k->override_count, err);
}

static lk_status train_fold(const kfold *k, int fold, const char *folder, lk_train_result *result, lk_error *err) {
    lk_status status;
    lk_job job = {0};
    lk_job_notes notes = {0};
    char *run = NULL;
    LK_TRY(lk_format(&run, err, "%s/fold-%d", folder, fold));
    lk_train_options options = {.run = run,
                                .mode = k->flags->resume      ? LK_RUN_RESUME
                                        : k->flags->overwrite ? LK_RUN_OVERWRITE
                                                              : LK_RUN_NEW,
                                .notes = &notes,
                                .topology = k->topology,
                                .signals = k->signals,
                                .started = lk_clock_seconds(),
                                .result = result};
    LK_TRY(read_job(&job, &notes, k, fold, &options, err));
    if (k->comm->rank == 0) {
        printf("%sfold %d of %d: %s\n", fold > 1 ? "\n" : "", fold, k->folds, run);
        fflush(stdout);
    }
    LK_TRY(lk_train(k->comm, &job, &options, err));
    if (result->epoch == 0)
        status = lk_fail(err, LK_ERR_CONFIG,
                         "fold %d ended before its first epoch, so it has no figures: raise max_updates", fold);
    status = lk_comm_agree(k->comm, status, err);
out:
    lk_job_free(&job);
    lk_job_notes_free(&notes);
    lk_free(run);
    return status;
}

static lk_status train_all(kfold *k, lk_error *err) {
    lk_status status = LK_OK;
    lk_topology topology = {0};
    lk_train_result *results = NULL;
    char *folder = NULL;
    k->comm->timeout = k->flags->timeout;
    LK_TRY(lk_topology_create(&topology, k->comm, err));
    k->topology = &topology;
    LK_TRY(LK_NEW(&results, k->folds, "the figures of the folds", err));
    if (k->flags->run == NULL) LK_TRY(lk_train_default_folder(&folder, k->job_path, "-folds", err));
    for (int fold = 1; fold <= k->folds; fold++)
        LK_TRY(train_fold(k, fold, folder != NULL ? folder : k->flags->run, &results[fold - 1], err));
    if (k->comm->rank == 0) status = lk_kfold_print(results, k->folds, k->flags->json, stdout, err);
    status = lk_comm_agree(k->comm, status, err);
out:
    lk_topology_free(&topology);
    lk_free(results);
    lk_free(folder);
    return status;
}

static lk_status list(const kfold *k, lk_error *err) {
    lk_job job = {0};
    LK_RETURN_IF(read_job(&job, NULL, k, 1, NULL, err));
    lk_status status = lk_kfold_list(&job, k->folds, k->flags->json, stdout, err);
    lk_job_free(&job);
    return status;
}

static lk_status run(void *options, char **arguments, int count, lk_error *err) {
    lk_status status;
    kfold_flags *flags = options;
    lk_signals signals = {.fd = -1};
    kfold k = {.flags = flags, .signals = &signals, .job_path = arguments[0]};
    if (flags->resume && flags->overwrite)
        return lk_fail(err, LK_ERR_USAGE, "--resume and --overwrite exclude each other");
    LK_TRY(parse_folds(&k.folds, arguments[1], err));
    LK_TRY(set_overrides(&k, count - 2, arguments + 2, err));
    if (flags->list) {
        LK_TRY(list(&k, err));
        goto out;
    }
    LK_TRY(lk_signals_watch(&signals, err)); /* before MPI starts threads */
    LK_TRY(lk_comm_create(&k.comm, err));
    LK_TRY(train_all(&k, err));
out:
    if (k.comm != NULL) lk_comm_finish(k.comm, status, err);
    lk_signals_release(&signals);
    lk_free(k.overrides);
    return status;
}

const lk_command lk_command_kfold = {
    .synopsis = "kfold JOB.yaml K [KEY=VALUE ...] [options]",
    .about =
        "Trains a job K times: each time another K-th of its training and validation samples validates, and the\n"
        "others train. Folds are equal in every class, whole groups stay together, and a division depends on the\n"
        "data set, K and fold_seed alone. Prints each fold's figures, their mean and standard deviation.\n"
        "mpirun -n N lockstep kfold ... as with train; one fold alone: lockstep train JOB.yaml folds=K fold=I.",
    LK_COMMAND_OPTIONS(FLAGS, kfold_flags),
    .least = 2,
    .most = -1,
    .wrong = "kfold takes a job file and a number of folds: lockstep kfold JOB.yaml K",
    .run = run};
