#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "jobs/sweep.h"
#include "jobs/train_job.h"

/* Collective; errors are those of lk_train. */
static lk_status train_run(const lk_sweep_run *run, lk_comm *comm, const lk_topology *topology, lk_signals *signals,
                           lk_error *err) {
    lk_status status;
    lk_job job = {0};
    lk_job_notes notes = {0};
    lk_train_result result = {0};
    lk_train_options options = {.run = run->folder,
                                .mode = LK_RUN_RESUME,
                                .notes = &notes,
                                .topology = topology,
                                .signals = signals,
                                .started = lk_clock_seconds(),
                                .result = &result};
    LK_TRY(
        lk_train_read_job(&job, &notes, &options, comm, run->variant->job, run->overrides, run->override_count, err));
    LK_TRY(lk_train(comm, &job, &options, err));
    if (result.epoch == 0)
        status =
            lk_fail(err, LK_ERR_CONFIG, "it ended before its first epoch, so it has no figures: raise max_updates");
    status = lk_comm_agree(comm, status, err);
out:
    lk_job_free(&job);
    lk_job_notes_free(&notes);
    return status;
}

/* The states that rank 0 has found. */
static lk_status share_states(lk_sweep_runs *runs, lk_comm *comm, lk_error *err) {
    lk_status status;
    int64_t *states = NULL;
    LK_TRY(LK_NEW(&states, runs->count, "states", err));
    for (int i = 0; i < runs->count; i++) states[i] = runs->runs[i].state;
    LK_TRY(lk_comm_broadcast(comm, states, (int64_t)sizeof *states * runs->count, 0, err));
    for (int i = 0; i < runs->count; i++) runs->runs[i].state = (lk_sweep_state)states[i];
out:
    lk_free(states);
    return status;
}

static lk_status stopped(const lk_sweep_run *run, const lk_comm *comm, lk_error *err) {
    lk_error_clear(err);
    if (comm->rank != 0) return lk_fail(err, LK_STOPPED, "%s", "");
    return lk_fail(err, LK_STOPPED, "stopped at %s with its state saved: the same command goes on", run->folder);
}

static void announce(const lk_sweep_runs *runs, int i, const lk_comm *comm) {
    static const char *const how[] = {"", ", going on", ": finished already", ""};
    const lk_sweep_run *run = &runs->runs[i];
    if (comm->rank != 0) return;
    printf("run %d of %d: %s%s\n", i + 1, runs->count, run->folder, how[run->state]);
    fflush(stdout);
}

/* *failed grows where the run fails for a reason that all ranks know: then the next may run. */
static lk_status attempt(const lk_sweep_run *run, lk_comm *comm, const lk_topology *topology, lk_signals *signals,
                         int *failed, lk_error *err) {
    lk_error problem = {0};
    lk_status status = train_run(run, comm, topology, signals, &problem);
    if (status == LK_OK) return LK_OK;
    if (status == LK_STOPPED) return stopped(run, comm, err);
    if (status == LK_ERR_COMM || status == LK_ERR_INTERNAL || !lk_comm_failed_together(comm)) {
        *err = problem;
        return status;
    }
    if (comm->rank == 0) fprintf(stderr, "lockstep: %s failed: %s\n", run->folder, problem.message);
    (*failed)++;
    return LK_OK;
}

lk_status lk_sweep_train(lk_sweep_runs *runs, int only, lk_comm *comm, const lk_topology *topology, lk_signals *signals,
                         int *failed, lk_error *err) {
    *failed = 0;
    LK_RETURN_IF(share_states(runs, comm, err));
    for (int i = 0; i < runs->count; i++) {
        if (only != 0 && only != i + 1) continue;
        announce(runs, i, comm);
        if (runs->runs[i].state == LK_SWEEP_FINISHED) continue;
        LK_RETURN_IF(attempt(&runs->runs[i], comm, topology, signals, failed, err));
        int64_t stop = lk_signals_requested(signals);
        LK_RETURN_IF(lk_comm_max(comm, &stop, err));
        if (stop) return stopped(&runs->runs[i], comm, err);
    }
    return LK_OK;
}
