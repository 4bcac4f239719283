/* One rank of a run in which something goes wrong; run_fault.py looks at how it ends. Usage: faults MODE */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/memory.h"
#include "dist/comm_impl.h"
#include "dist/reducer.h"
#include "dist/topology.h"

#define TIMEOUT 2.0

static bool is(const char *mode, const char *name) { return strcmp(mode, name) == 0; }

/* The last rank does what the mode says in the middle of its work. */
static void misbehave(const char *mode) {
    if (is(mode, "stopped") || is(mode, "stopped_reduce")) raise(SIGSTOP);
    if (is(mode, "killed")) raise(SIGKILL);
    if (is(mode, "sleeping")) sleep(60);
}

static lk_status reduce(lk_comm *comm, const char *mode, lk_error *err) {
    lk_status status = LK_OK;
    lk_reducer *reducer = NULL;
    float *slab = NULL;
    enum { COUNT = 1 << 20 };
    int64_t ends[2] = {COUNT / 2, COUNT};
    lk_reducer_config config = {
        .leaves = comm->size, .count = COUNT, .dtype = LK_F32, .bucket_ends = ends, .buckets = 2};
    LK_TRY(LK_NEW(&slab, COUNT, "a slab", err));
    LK_TRY(lk_reducer_create(&reducer, comm, &config, err));
    for (int update = 1; update <= 3; update++) {
        lk_comm_set_phase(comm, "epoch 1 update %d backward", update);
        LK_TRY(lk_reducer_begin(reducer, slab, comm->size, err));
        LK_TRY(lk_reducer_submit(reducer, 0, err));
        if (update == 3 && comm->rank == comm->size - 1) misbehave(mode);
        LK_TRY(lk_reducer_submit(reducer, 1, err));
        LK_TRY(lk_reducer_wait(reducer, err));
    }
out:
    lk_reducer_free(reducer);
    lk_free(slab);
    return status;
}

/* While one rank works for a second the others must not burn the cores that it may need. */
static lk_status stay_idle(lk_comm *comm, bool busy, lk_error *err) {
    struct rusage before, after;
    comm->timeout = 30;
    getrusage(RUSAGE_SELF, &before);
    if (busy) lk_comm_sleep(1.0);
    LK_RETURN_IF(lk_comm_barrier(comm, err));
    getrusage(RUSAGE_SELF, &after);
    int64_t used =
        (after.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_utime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
        after.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_utime.tv_usec - before.ru_stime.tv_usec;
    LK_RETURN_IF(lk_comm_max(comm, &used, err));
    if (comm->rank == 0) printf("a rank that waited a second used %.3f s of its core\n", (double)used * 1e-6);
    return used < 300000 ? LK_OK : lk_fail(err, LK_ERR_INTERNAL, "waiting burns a core");
}

static lk_status run(lk_comm *comm, const char *mode, lk_error *err) {
    int64_t value = 1;
    bool last = comm->rank == comm->size - 1;
    lk_status status = LK_OK;
    lk_comm_set_phase(comm, "epoch 1 update 1");
    LK_RETURN_IF(lk_comm_allreduce_i64(comm, &value, 1, err));
    if (is(mode, "stopped_reduce")) return reduce(comm, mode, err);
    lk_comm_set_phase(comm, "epoch 1 update 2 loading");
    if (last) misbehave(mode);
    if (is(mode, "unequal")) return lk_comm_check_equal(comm, last ? "a" : "b", 1, "the job file", err);
    if (is(mode, "error") && last) status = lk_fail(err, LK_ERR_DATA, "cat.jpg is no image");
    if (is(mode, "error")) return lk_comm_agree(comm, status, err);
    if (is(mode, "finished") && last) _exit(3);
    /* Ranks that go different ways: a promise broken, which a time limit must end all the same. */
    if (is(mode, "astray") && last) return lk_comm_broadcast(comm, &value, 8, 0, err);
    if (is(mode, "count") && last) return lk_comm_broadcast(comm, &value, 4, 0, err);
    if (is(mode, "count")) return lk_comm_broadcast(comm, &value, 8, 0, err);
    if (is(mode, "lonely") && last) return lk_fail(err, LK_ERR_DATA, "dog.jpg is no image");
    if (is(mode, "alike")) return lk_fail(err, LK_ERR_NUMERIC, "the loss of update 2 is not finite");
    if (is(mode, "idle")) return stay_idle(comm, last, err);
    lk_comm_set_phase(comm, "epoch 1 update 2");
    return lk_comm_barrier(comm, err);
}

static void ignore(int number) { (void)number; }

int main(int argc, char **argv) {
    lk_comm *comm = NULL;
    signal(SIGTERM, ignore); /* as the program, which then saves its state */
    lk_error err = {0};
    lk_status status = lk_comm_create(&comm, &err);
    if (status != LK_OK) {
        fprintf(stderr, "lockstep: %s\n", err.message);
        return lk_exit_status(status);
    }
    comm->timeout = TIMEOUT;
    const char *mode = argc > 1 ? argv[1] : "none";
    status = run(comm, mode, &err);
    bool told = status != LK_ERR_COMM && status != LK_ERR_INTERNAL && !is(mode, "lonely");
    if (status != LK_OK && comm->rank == 0 && told) fprintf(stderr, "lockstep: %s\n", err.message);
    if (status == LK_OK && comm->rank == 0) printf("all well on %d\n", comm->size);
    lk_comm_finish(comm, status, &err);
    return lk_exit_status(status);
}
