#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "dist/topology.h"
#include "jobs/command.h"
#include "jobs/train_job.h"
#include "train/trainer.h"

typedef struct train_flags {
    char *run;
    bool resume, overwrite, share_gpus, help;
    double timeout;
} train_flags;

#define AT(field) offsetof(train_flags, field)
static const lk_option FLAGS[] = {
    {.name = "run",
     .type = LK_OPTION_STRING,
     .offset = AT(run),
     .optional = true,
     .help = "folder of the run; default: runs/ and the job file's name"},
    {.name = "resume",
     .type = LK_OPTION_BOOL,
     .offset = AT(resume),
     .default_text = "false",
     .help = "go on from checkpoints/last.h5 where there is one, else start"},
    {.name = "overwrite",
     .type = LK_OPTION_BOOL,
     .offset = AT(overwrite),
     .default_text = "false",
     .help = "replace the run that the folder holds"},
    {.name = "timeout",
     .type = LK_OPTION_DOUBLE,
     .offset = AT(timeout),
     .default_text = "300",
     .min = 1,
     .max = 1e6,
     .help = "seconds that a rank waits for the others before it names the missing one and ends"},
    {.name = "share-gpus",
     .type = LK_OPTION_BOOL,
     .offset = AT(share_gpus),
     .default_text = "false",
     .help = "let ranks share GPUs where there are fewer than ranks (NCCL 2.30 or later); it saves no time"},
    LK_COMMAND_HELP(AT(help)),
};

static void print_job_keys(FILE *out) {
    int count;
    const lk_option *keys = lk_job_options(&count);
    fputs("\nkeys of a job file (nested: \"optimizer: {lr: 0.1}\"; on the command line: optimizer.lr=0.1):\n", out);
    lk_options_help(keys, count, "", out);
}

static lk_status train(const train_flags *flags, lk_train_options *options, const lk_job *job, lk_comm *comm,
                       lk_error *err) {
    comm->timeout = flags->timeout;
    lk_topology topology = {0};
    LK_RETURN_IF(lk_topology_create(&topology, comm, err));
    options->topology = &topology;
    lk_status status = lk_train(comm, job, options, err);
    lk_topology_free(&topology);
    return status;
}

static lk_status run(void *options, char **arguments, int count, lk_error *err) {
    lk_status status;
    train_flags *flags = options;
    lk_job job = {0};
    lk_job_notes notes = {0};
    lk_comm *comm = NULL;
    lk_signals signals = {.fd = -1};
    if (flags->resume && flags->overwrite)
        return lk_fail(err, LK_ERR_USAGE, "--resume and --overwrite exclude each other");
    if (flags->run == NULL) LK_TRY(lk_train_default_folder(&flags->run, arguments[0], "", err));
    LK_TRY(lk_signals_watch(&signals, err)); /* before MPI starts threads */
    LK_TRY(lk_comm_create(&comm, err));
    lk_train_options how = {.run = flags->run,
                            .mode = flags->resume      ? LK_RUN_RESUME
                                    : flags->overwrite ? LK_RUN_OVERWRITE
                                                       : LK_RUN_NEW,
                            .share_gpus = flags->share_gpus,
                            .notes = &notes,
                            .signals = &signals,
                            .started = lk_clock_seconds() - lk_clock_process_age()};
    LK_TRY(lk_train_read_job(&job, &notes, &how, comm, arguments[0], arguments + 1, count - 1, err));
    LK_TRY(train(flags, &how, &job, comm, err));
out:
    lk_comm_finish(comm, status, err);
    lk_signals_release(&signals);
    lk_job_free(&job);
    lk_job_notes_free(&notes);
    return status;
}

const lk_command lk_command_train = {
    .synopsis =
        "train JOB.yaml [KEY=VALUE ...] [--run DIR] [--resume | --overwrite]\n"
        "       mpirun -n N lockstep train ...    srun lockstep train ...",
    .about =
        "Trains the job. The same job gives the same bits on every number of ranks that works.\n"
        "Ends with status 0, 1 (failed), 2 (wrong usage) or 75 (stopped by a signal, state saved: run again with\n"
        "--resume).",
    LK_COMMAND_OPTIONS(FLAGS, train_flags),
    .least = 1,
    .most = -1,
    .wrong = "train takes a job file: lockstep train JOB.yaml",
    .more = print_job_keys,
    .run = run};
