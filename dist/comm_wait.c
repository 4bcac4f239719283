/* Waiting with a time limit, and the note of what this rank is doing. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "dist/comm_impl.h"

#define SPIN_SECONDS 50e-6      /* about the price of one sleep */
#define SHORTEST_SLEEP 10e-6    /* the kernel's timer slack adds some 50 us */
#define PROBE_SECONDS 20e-3     /* between looks for alarms and dead neighbours */
#define RECORD_ATTEMPTS 2000    /* the later ones 100 us apart */
#define CHUNK_BYTES (1LL << 30) /* MPI counts are int */

void lk_comm_sleep(double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

/* Processes of different containers on one machine may have the same number. */
static uint64_t process_space(void) {
    struct stat space;
    return stat("/proc/self/ns/pid", &space) == 0 ? (uint64_t)space.st_ino : 0;
}

bool lk_record_ended(const lk_comm *comm, const lk_rank_record *record) {
    const lk_rank_record *own = lk_comm_own_record(comm);
    if (record == own || record->space == 0 || record->space != own->space || record->process <= 0) return false;
    return kill((pid_t)record->process, 0) != 0 && errno == ESRCH;
}

static bool neighbour_ended(const lk_comm *comm) {
    const lk_comm_state *state = lk_comm_state_of(comm);
    for (int i = 0; i < state->record_count; i++)
        if (lk_record_ended(comm, &state->records[i])) return true;
    return false;
}

void lk_comm_state_init(lk_comm *comm) {
    lk_comm_state *state = lk_comm_state_of(comm);
    state->chunk_bytes = CHUNK_BYTES;
    state->speaker = -1;
    memset(&state->met, 0, sizeof state->met);
    lk_rank_record *record = lk_comm_own_record(comm);
    memset(record, 0, sizeof *record);
    record->rank = comm->rank;
    record->process = getpid();
    record->space = process_space();
    snprintf(record->phase, sizeof record->phase, "start");
}

void lk_comm_state_free(lk_comm_state *state) {
    lk_free(state->abandoned[0]);
    lk_free(state->abandoned[1]);
}

void lk_record_read(lk_rank_record *copy, lk_rank_record *record) {
    /* A writer is between its two increments for nanoseconds, or until it is scheduled again. One that was stopped just
     * there never ends: then the torn copy serves. */
    for (int attempt = 0; attempt < RECORD_ATTEMPTS; attempt++) {
        unsigned before = atomic_load(&record->version);
        memcpy(copy, record, sizeof *copy);
        atomic_thread_fence(memory_order_acquire);
        if (before % 2 == 0 && atomic_load(&record->version) == before) break;
        if (attempt > 100) lk_comm_sleep(100e-6);
    }
    copy->call[LK_CALL_SIZE - 1] = '\0';
    copy->phase[LK_PHASE_SIZE - 1] = '\0';
}

#ifndef NDEBUG
/* What a rank believes the current call to be. */
typedef struct call_site {
    int64_t number, count;
    int32_t root, rank;
    char call[LK_CALL_SIZE];
} call_site;

static bool same_site(const call_site *a, const call_site *b) {
    return a->number == b->number && a->count == b->count && a->root == b->root && strcmp(a->call, b->call) == 0;
}

/* The site that most ranks are at; the lowest rank's where two have as many. */
static int commonest_site(const call_site *all, int count) {
    int best = 0, most = 0;
    for (int i = 0; i < count; i++) {
        int same = 0;
        for (int j = 0; j < count; j++) same += same_site(&all[i], &all[j]);
        if (same > most) most = same, best = i;
    }
    return best;
}

static lk_status compare_sites(lk_comm *comm, const call_site *all, lk_error *err) {
    int common = commonest_site(all, comm->size);
    for (int i = 0; i < comm->size; i++) {
        if (same_site(&all[i], &all[common])) continue;
        lk_comm_state_of(comm)->broken = true;
        lk_comm_state_of(comm)->speaker = 0; /* all know the same */
        return lk_fail(err, LK_ERR_INTERNAL,
                       "rank %d is in %s(count %lld, root %d) as call %lld where rank %d is in %s(count %lld, root %d) "
                       "as call %lld: the ranks of this program went different ways, report it",
                       i, all[i].call, (long long)all[i].count, (int)all[i].root, (long long)all[i].number, common,
                       all[common].call, (long long)all[common].count, (int)all[common].root,
                       (long long)all[common].number);
    }
    return LK_OK;
}

static lk_status check_sites(lk_comm *comm, int64_t number, const char *call, int64_t count, int root, lk_error *err) {
    lk_status status = LK_OK;
    call_site *all = NULL;
    lk_request *request = NULL;
    call_site mine = {.number = number, .count = count, .root = root, .rank = comm->rank};
    snprintf(mine.call, sizeof mine.call, "%s", call);
    LK_TRY(LK_NEW(&all, comm->size, "a check of calls", err));
    LK_TRY(comm->functions->allgather(comm, LK_CHANNEL_CHECK, &mine, all, sizeof mine, sizeof mine, &request, err));
    LK_TRY(lk_comm_wait_request(comm, &request, err));
    LK_TRY(compare_sites(comm, all, err));
out:
    lk_free(all);
    return status;
}
#endif

lk_status lk_comm_enter(lk_comm *comm, const char *call, int64_t count, int root, lk_error *err) {
    if (lk_comm_state_of(comm)->broken)
        return lk_fail(err, LK_ERR_COMM, "%s is impossible: this run's communication failed before", call);
    lk_comm_state_of(comm)->agreed = false; /* life went on after a failure */
    lk_rank_record *record = lk_comm_own_record(comm);
    atomic_fetch_add(&record->version, 1);
    record->number++;
    record->inside = 1;
    snprintf(record->call, sizeof record->call, "%s", call);
    atomic_fetch_add(&record->version, 1);
#ifndef NDEBUG
    return check_sites(comm, record->number, call, count, root, err);
#else
    (void)count, (void)root;
    return LK_OK;
#endif
}

void lk_comm_leave(lk_comm *comm, bool everyone) {
    lk_rank_record *record = lk_comm_own_record(comm);
    atomic_fetch_add(&record->version, 1);
    record->inside = 0;
    atomic_fetch_add(&record->version, 1);
    if (everyone) lk_record_read(&lk_comm_state_of(comm)->met, record);
}

lk_status lk_comm_wait_for(lk_comm *comm, lk_comm_step step, void *context, double longest_sleep, lk_error *err) {
    lk_comm_state *state = lk_comm_state_of(comm);
    double begun = lk_clock_seconds(), probed = begun;
    for (;;) {
        bool done = false, moved = false;
        lk_status status = step(context, &done, &moved, err);
        if (status != LK_OK) {
            state->broken = true;
            return status;
        }
        if (done) return LK_OK;
        double now = lk_clock_seconds();
        if (moved) begun = now;
        double waited = now - begun;
        if (waited > comm->timeout) return lk_comm_roll_call(comm, err);
        if (now - probed > PROBE_SECONDS) {
            bool alarm = false;
            probed = now;
            LK_RETURN_IF(comm->functions->probe(comm, LK_CHANNEL_ALARM, &alarm, err));
            if (alarm || neighbour_ended(comm)) return lk_comm_roll_call(comm, err);
        }
        if (waited < SPIN_SECONDS && !state->crowded) continue;
        double nap = waited / 8;
        if (nap < SHORTEST_SLEEP) nap = SHORTEST_SLEEP;
        lk_comm_sleep(nap < longest_sleep ? nap : longest_sleep);
    }
}

typedef struct request_wait {
    lk_comm *comm;
    lk_request **request;
} request_wait;

static lk_status request_step(void *context, bool *done, bool *moved, lk_error *err) {
    (void)moved;
    request_wait *wait = context;
    return wait->comm->functions->test(wait->comm, wait->request, done, err);
}

lk_status lk_comm_wait_request(lk_comm *comm, lk_request **request, lk_error *err) {
    if (*request == NULL) return LK_OK;
    request_wait wait = {comm, request};
    return lk_comm_wait_for(comm, request_step, &wait, 1e-3, err);
}
