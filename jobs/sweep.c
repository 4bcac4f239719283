/* lockstep sweep: variants of a job, each with several seeds, trained one after the other and compared. */
#include "jobs/sweep.h"

#include <stddef.h>

#include "jobs/command.h"

typedef struct sweep_flags {
    char *folder, *slurm;
    int64_t only;
    bool list, report, decision, help;
    double timeout;
} sweep_flags;

#define AT(field) offsetof(sweep_flags, field)
static const lk_option FLAGS[] = {
    {.name = "output",
     .type = LK_OPTION_STRING,
     .offset = AT(folder),
     .optional = true,
     .help = "folder of the runs and of the report; default: runs/ and the sweep file's name",
     .letter = 'o'},
    {.name = "list",
     .type = LK_OPTION_BOOL,
     .offset = AT(list),
     .default_text = "false",
     .help = "only show the runs and how far they are (also --dry-run)"},
    {.name = "dry-run",
     .type = LK_OPTION_BOOL,
     .offset = AT(list),
     .default_text = "false",
     .help = "the same as --list"},
    {.name = "only",
     .type = LK_OPTION_INT,
     .offset = AT(only),
     .default_text = "0",
     .max = LK_SWEEP_MAX_RUNS,
     .help = "train one run, by its number in --list, without the comparison; 0: all"},
    {.name = "report",
     .type = LK_OPTION_BOOL,
     .offset = AT(report),
     .default_text = "false",
     .help = "train nothing: only compare what there is"},
    {.name = "decision",
     .type = LK_OPTION_BOOL,
     .offset = AT(decision),
     .default_text = "false",
     .help = "compare each recipe with the decision layer of 'lockstep calibrate' too"},
    {.name = "slurm",
     .type = LK_OPTION_STRING,
     .offset = AT(slurm),
     .optional = true,
     .help = "submit the runs as an array of this sbatch template (slurm/sweep.sbatch) instead of training here"},
    {.name = "timeout",
     .type = LK_OPTION_DOUBLE,
     .offset = AT(timeout),
     .default_text = "300",
     .min = 1,
     .max = 1e6,
     .help = "seconds that a rank waits for the others before it names the missing one and ends"},
    LK_COMMAND_HELP(AT(help)),
};

/* What needs no other rank. */
static lk_status look(lk_sweep_runs *runs, const sweep_flags *flags, char *const *overrides, int override_count,
                      lk_error *err) {
    if (flags->only > runs->count)
        return lk_fail(err, LK_ERR_USAGE, "--only %lld: the sweep has %d runs", (long long)flags->only, runs->count);
    LK_RETURN_IF(lk_sweep_runs_look(runs, err));
    if (flags->list) {
        lk_sweep_list(runs, stdout);
        return LK_OK;
    }
    LK_RETURN_IF(lk_sweep_runs_check(runs, (int)flags->only, err));
    if (flags->report) return lk_sweep_report(runs, stdout, err);
    if (flags->slurm != NULL) return lk_sweep_submit(runs, flags->slurm, overrides, override_count, stdout, err);
    return LK_OK;
}

/* The end, on all ranks: the comparison, and what failed. */
static lk_status finish(const lk_sweep_runs *runs, bool report, int failed, lk_comm *comm, lk_error *err) {
    lk_status status = LK_OK;
    if (comm->rank == 0) {
        if (report) status = lk_sweep_report(runs, stdout, err);
        if (status == LK_OK && failed > 0)
            status = lk_fail(err, LK_ERR_CONFIG,
                             "%d of %d runs failed, for the reasons given above; the same command tries them again",
                             failed, runs->count);
    }
    return lk_comm_agree(comm, status, err);
}

static lk_status train(lk_sweep_runs *runs, const sweep_flags *flags, lk_comm *comm, lk_signals *signals,
                       lk_error *err) {
    lk_status status = LK_OK;
    lk_topology topology = {0};
    int failed;
    comm->timeout = flags->timeout;
    if (comm->rank == 0) status = look(runs, flags, NULL, 0, err);
    LK_RETURN_IF(lk_comm_agree(comm, status, err));
    LK_TRY(lk_topology_create(&topology, comm, err));
    LK_TRY(lk_sweep_train(runs, (int)flags->only, comm, &topology, signals, &failed, err));
    LK_TRY(finish(runs, flags->only == 0, failed, comm, err));
out:
    lk_topology_free(&topology);
    return status;
}

static lk_status sweep(const sweep_flags *flags, char *const *arguments, int count, lk_error *err) {
    lk_status status;
    lk_sweep_runs runs = {0};
    lk_signals signals = {.fd = -1};
    lk_comm *comm = NULL;
    LK_TRY(lk_sweep_runs_create(&runs, arguments[0], flags->folder, arguments + 1, count - 1, err));
    runs.decision = flags->decision;
    if (flags->decision && 2 * runs.count > LK_SWEEP_MAX_RUNS) {
        status = lk_fail(err, LK_ERR_USAGE, "%d runs with --decision are more than the %d that can be compared",
                         runs.count, LK_SWEEP_MAX_RUNS);
        goto out;
    }
    if (flags->list || flags->report || flags->slurm != NULL) {
        LK_TRY(look(&runs, flags, arguments + 1, count - 1, err));
        goto out;
    }
    LK_TRY(lk_signals_watch(&signals, err)); /* before MPI starts threads */
    LK_TRY(lk_comm_create(&comm, err));
    LK_TRY(train(&runs, flags, comm, &signals, err));
out:
    if (comm != NULL) lk_comm_finish(comm, status, err);
    lk_signals_release(&signals);
    lk_sweep_runs_free(&runs);
    return status;
}

static lk_status run(void *options, char **arguments, int count, lk_error *err) {
    const sweep_flags *flags = options;
    if (flags->list + flags->report + (flags->slurm != NULL) + (flags->only > 0) > 1)
        return lk_fail(err, LK_ERR_USAGE, "--list, --report, --slurm and --only exclude each other");
    return sweep(flags, arguments, count, err);
}

const lk_command lk_command_sweep = {
    .synopsis = "sweep SWEEP.yaml [KEY=VALUE ...] [-o FOLDER] [options]",
    .about =
        "Trains every variant of a job with every seed, one run after the other, and compares them: FOLDER gets a\n"
        "folder for each run, report.html, report.md and report.csv. Finished runs are skipped and stopped ones go\n"
        "on, so the same command is run again after a stop (status 75) or a failure (1). A sweep file has\n\n"
        "  base: base.yaml                 # a job file, seen from the sweep file\n"
        "  set: {epochs: 30}               # keys for all variants\n"
        "  seeds: [1, 2, 3]\n"
        "  variants:\n"
        "    plain: {}\n"
        "    focal: {loss: {cross_entropy: 0, focal: 1}}\n"
        "    small: {base: small.yaml}     # another job file\n\n"
        "KEY=VALUE holds for all variants. mpirun -n N lockstep sweep ... as with train.",
    LK_COMMAND_OPTIONS(FLAGS, sweep_flags),
    .least = 1,
    .most = -1,
    .wrong = "sweep takes a sweep file: lockstep sweep SWEEP.yaml",
    .run = run};
