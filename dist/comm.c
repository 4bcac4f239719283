/* The calls of dist/comm.h, built from what an implementation supplies: chunks, time limits, checks. */
#include "dist/comm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dist/comm_impl.h"
#include "dist/launcher.h"

#define SECOND_VOICE_SECONDS 0.5 /* longer than FORWARD_SECONDS: one voice is usually all that is heard */
#define FORWARD_SECONDS 0.3

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static char *environment(const char *name) { return getenv(name); }

lk_status lk_comm_create(lk_comm **out, lk_error *err) {
    lk_launcher launcher = lk_launcher_detect(environment);
    return launcher.size == 1 ? lk_comm_self_create(out, err) : lk_comm_mpi_create(out, err);
}

void lk_comm_free(lk_comm *comm) {
    if (comm != NULL) comm->functions->free(comm);
}

void lk_comm_abort(lk_comm *comm, int exit_status, const char *message) {
    const lk_comm_state *state = lk_comm_state_of(comm);
    /* After a roll call all that are alive know the same: one of them says it, the others only take over from one that
     * doesn't get to it. */
    if (state->speaker >= 0 && state->speaker != comm->rank) lk_comm_sleep(LK_ROLL_CALL_SECONDS);
    fflush(stdout);
    if (message != NULL && message[0] != '\0') {
        if (comm->size > 1)
            fprintf(stderr, "lockstep: rank %d of %d (%s): %s\n", comm->rank, comm->size, comm->hosts[comm->rank],
                    message);
        else
            fprintf(stderr, "lockstep: %s\n", message);
    }
    fflush(stderr);
    /* The launcher forwards the sentence; MPICH's sometimes dropped it when the job was ended at once. */
    if (comm->size > 1) lk_comm_sleep(FORWARD_SECONDS);
    comm->functions->abort(comm, exit_status);
}

bool lk_comm_failed_together(const lk_comm *comm) { return comm->size == 1 || lk_comm_state_of(comm)->agreed; }

void lk_comm_finish(lk_comm *comm, lk_status status, const lk_error *err) {
    if (comm == NULL) return;
    if (status == LK_OK || status == LK_STOPPED || lk_comm_failed_together(comm)) {
        lk_comm_free(comm);
        return;
    }
    /* Where all ranks failed alike without agreeing on it, the lowest speaks for all. */
    if (comm->rank > 0) lk_comm_sleep(SECOND_VOICE_SECONDS);
    lk_comm_abort(comm, lk_exit_status(status), err->message);
}

void lk_comm_set_phase(lk_comm *comm, const char *format, ...) {
    lk_rank_record *record = lk_comm_own_record(comm);
    char phase[LK_PHASE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(phase, sizeof phase, format, args);
    va_end(args);
    atomic_fetch_add(&record->version, 1);
    memcpy(record->phase, phase, sizeof phase);
    atomic_fetch_add(&record->version, 1);
}

lk_status lk_comm_barrier(lk_comm *comm, lk_error *err) {
    if (comm->size == 1) return LK_OK;
    LK_RETURN_IF(lk_comm_enter(comm, "barrier", 0, 0, err));
    lk_request *request = NULL;
    LK_RETURN_IF(comm->functions->barrier(comm, &request, err));
    LK_RETURN_IF(lk_comm_wait_request(comm, &request, err));
    lk_comm_leave(comm, true);
    return LK_OK;
}

static lk_status broadcast_chunks(lk_comm *comm, void *data, int64_t bytes, int root, lk_error *err) {
    int64_t chunk = lk_comm_state_of(comm)->chunk_bytes;
    for (int64_t at = 0; at < bytes; at += chunk) {
        lk_request *request = NULL;
        LK_RETURN_IF(
            comm->functions->broadcast(comm, (char *)data + at, least(chunk, bytes - at), root, &request, err));
        LK_RETURN_IF(lk_comm_wait_request(comm, &request, err));
    }
    return LK_OK;
}

lk_status lk_comm_broadcast(lk_comm *comm, void *data, int64_t bytes, int root, lk_error *err) {
    if (comm->size == 1) return LK_OK;
    LK_RETURN_IF(lk_comm_enter(comm, "broadcast", bytes, root, err));
    LK_RETURN_IF(broadcast_chunks(comm, data, bytes, root, err));
    lk_comm_leave(comm, false);
    return LK_OK;
}

static lk_status allgather_chunks(lk_comm *comm, const void *mine, void *all, int64_t bytes, lk_error *err) {
    /* The result holds size chunks: it must stay countable too. */
    int64_t chunk = lk_comm_state_of(comm)->chunk_bytes / comm->size;
    if (chunk < 1) chunk = 1;
    for (int64_t at = 0; at < bytes; at += chunk) {
        lk_request *request = NULL;
        LK_RETURN_IF(comm->functions->allgather(comm, LK_CHANNEL_CONTROL, (const char *)mine + at, (char *)all + at,
                                                least(chunk, bytes - at), bytes, &request, err));
        LK_RETURN_IF(lk_comm_wait_request(comm, &request, err));
    }
    return LK_OK;
}

lk_status lk_comm_allgather(lk_comm *comm, const void *mine, void *all, int64_t bytes, lk_error *err) {
    if (comm->size == 1) {
        memmove(all, mine, (size_t)bytes);
        return LK_OK;
    }
    LK_RETURN_IF(lk_comm_enter(comm, "allgather", bytes, 0, err));
    LK_RETURN_IF(allgather_chunks(comm, mine, all, bytes, err));
    lk_comm_leave(comm, bytes > 0);
    return LK_OK;
}

static lk_status allreduce_chunks(lk_comm *comm, int64_t *values, int64_t count, lk_reduction reduction,
                                  lk_error *err) {
    int64_t chunk = lk_comm_state_of(comm)->chunk_bytes / (int64_t)sizeof *values;
    if (chunk < 1) chunk = 1;
    for (int64_t at = 0; at < count; at += chunk) {
        lk_request *request = NULL;
        LK_RETURN_IF(comm->functions->allreduce(comm, values + at, least(chunk, count - at), reduction, &request, err));
        LK_RETURN_IF(lk_comm_wait_request(comm, &request, err));
    }
    return LK_OK;
}

lk_status lk_comm_allreduce_i64(lk_comm *comm, int64_t *values, int64_t count, lk_error *err) {
    if (comm->size == 1) return LK_OK;
    LK_RETURN_IF(lk_comm_enter(comm, "allreduce", count, 0, err));
    LK_RETURN_IF(allreduce_chunks(comm, values, count, LK_REDUCE_SUM, err));
    lk_comm_leave(comm, count > 0);
    return LK_OK;
}

lk_status lk_comm_max(lk_comm *comm, int64_t *value, lk_error *err) {
    if (comm->size == 1) return LK_OK;
    LK_RETURN_IF(lk_comm_enter(comm, "max", 1, 0, err));
    LK_RETURN_IF(allreduce_chunks(comm, value, 1, LK_REDUCE_MAX, err));
    lk_comm_leave(comm, true);
    return LK_OK;
}

/* Requests of a gather that are still open. */
typedef struct gather_wait {
    lk_comm *comm;
    lk_request **requests;
    int count;
} gather_wait;

static lk_status gather_step(void *context, bool *done, bool *moved, lk_error *err) {
    gather_wait *wait = context;
    *done = true;
    for (int i = 0; i < wait->count; i++) {
        if (wait->requests[i] == NULL) continue;
        bool over = false;
        LK_RETURN_IF(wait->comm->functions->test(wait->comm, &wait->requests[i], &over, err));
        if (over)
            *moved = true;
        else
            *done = false;
    }
    return LK_OK;
}

/* Point to point: counts differ, may exceed what an MPI count holds, and only the root needs the data. */
static lk_status gather_messages(lk_comm *comm, const void *mine, const int64_t *counts, char *all, int root,
                                 lk_request **requests, lk_error *err) {
    const int tag = 1;
    gather_wait wait = {comm, requests, comm->size};
    if (comm->rank != root) {
        if (counts[comm->rank] > 0)
            LK_RETURN_IF(comm->functions->send(comm, LK_CHANNEL_CONTROL, mine, counts[comm->rank], root, tag,
                                               &requests[0], err));
        return lk_comm_wait_for(comm, gather_step, &wait, 1e-3, err);
    }
    for (int rank = 0; rank < comm->size; rank++) {
        if (rank == root)
            memmove(all, mine, (size_t)counts[rank]);
        else if (counts[rank] > 0)
            LK_RETURN_IF(
                comm->functions->receive(comm, LK_CHANNEL_CONTROL, all, counts[rank], rank, tag, &requests[rank], err));
        all += counts[rank];
    }
    return lk_comm_wait_for(comm, gather_step, &wait, 1e-3, err);
}

lk_status lk_comm_gather(lk_comm *comm, const void *mine, const int64_t *counts, void *all, int root, lk_error *err) {
    if (comm->size == 1) {
        memmove(all, mine, (size_t)counts[0]);
        return LK_OK;
    }
    lk_status status = LK_OK;
    lk_request **requests = NULL;
    LK_TRY(lk_comm_enter(comm, "gather", -1, root, err));
    LK_TRY(LK_NEW(&requests, comm->size, "a gather", err));
    LK_TRY(gather_messages(comm, mine, counts, all, root, requests, err));
    lk_comm_leave(comm, false);
out:
    lk_free(requests);
    return status;
}

lk_status lk_comm_gather_group(lk_comm *comm, const void *mine, int64_t bytes, void *all, int64_t room, int first,
                               int ranks, lk_error *err) {
    const int tag = 2;
    lk_status status = LK_OK;
    lk_request **requests = NULL;
    LK_TRY(LK_NEW(&requests, 2 * (int64_t)ranks, "a gather", err));
    gather_wait wait = {comm, requests, 2 * ranks};
    for (int i = 0; i < ranks; i++) {
        int peer = first + i;
        char *to = (char *)all + i * room;
        if (peer == comm->rank) {
            memmove(to, mine, (size_t)bytes);
            continue;
        }
        LK_TRY(comm->functions->send(comm, LK_CHANNEL_CONTROL, mine, bytes, peer, tag, &requests[2 * i], err));
        LK_TRY(comm->functions->receive(comm, LK_CHANNEL_CONTROL, to, room, peer, tag, &requests[2 * i + 1], err));
    }
    LK_TRY(lk_comm_wait_for(comm, gather_step, &wait, 1e-3, err));
out:
    lk_free(requests);
    return status;
}

/* Of all statuses: the worst, and the lowest rank that has it. */
static lk_status worst_of(const int32_t *all, int count, int *rank) {
    *rank = 0;
    for (int i = 1; i < count; i++)
        if (all[i] > all[*rank]) *rank = i;
    return (lk_status)all[*rank];
}

static lk_status agree_on(lk_comm *comm, lk_status mine, int32_t *all, lk_error *err) {
    lk_error own = {0};
    int32_t value = (int32_t)mine;
    LK_RETURN_IF(allgather_chunks(comm, &value, all, sizeof value, err));
    int from = 0;
    lk_status worst = worst_of(all, comm->size, &from);
    lk_comm_state_of(comm)->agreed = worst != LK_OK;
    if (worst == LK_OK) return LK_OK;

    char message[LK_ERROR_SIZE] = {0};
    if (comm->rank == from) {
        if (err != NULL && err->status != LK_OK) own = *err;
        if (own.message[0] == '\0') snprintf(own.message, sizeof own.message, "%s error", lk_status_name(worst));
        memcpy(message, own.message, sizeof message);
    }
    LK_RETURN_IF(broadcast_chunks(comm, message, sizeof message, from, err));
    message[sizeof message - 1] = '\0';
    if (comm->rank == from) return lk_fail(err, worst, "%s", message);
    return lk_fail(err, worst, "rank %d: %s", from, message);
}

lk_status lk_comm_agree(lk_comm *comm, lk_status mine, lk_error *err) {
    if (comm->size == 1) return mine == LK_OK ? LK_OK : lk_fail(err, mine, "%s error", lk_status_name(mine));
    lk_status status = LK_OK;
    int32_t *all = NULL;
    LK_TRY(lk_comm_enter(comm, "agree", 0, 0, err));
    LK_TRY(LK_NEW(&all, comm->size, "an agreement", err));
    LK_TRY(agree_on(comm, mine, all, err));
out:
    lk_free(all);
    if (!lk_comm_state_of(comm)->broken) lk_comm_leave(comm, true);
    return status;
}

/* theirs: room for rank 0's bytes. Compares the bytes themselves: no collision can hide a difference. */
static lk_status compare_with_first(lk_comm *comm, const void *data, int64_t bytes, int64_t first_bytes, void *theirs,
                                    const char *what, lk_error *err) {
    if (comm->rank == 0) memcpy(theirs, data, (size_t)bytes);
    LK_RETURN_IF(broadcast_chunks(comm, theirs, first_bytes, 0, err));
    bool equal = bytes == first_bytes && memcmp(data, theirs, (size_t)bytes) == 0;
    int64_t odd = equal ? comm->size : comm->rank;
    LK_RETURN_IF(allreduce_chunks(comm, &odd, 1, LK_REDUCE_MIN, err));
    lk_comm_leave(comm, true);
    lk_comm_state_of(comm)->agreed = odd != comm->size;
    if (odd == comm->size) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "%s of rank %d (%s) differs from that of rank 0 (%s): start all ranks with the same program, files "
                   "and settings",
                   what, (int)odd, comm->hosts[odd], comm->hosts[0]);
}

lk_status lk_comm_check_equal(lk_comm *comm, const void *data, int64_t bytes, const char *what, lk_error *err) {
    if (comm->size == 1) return LK_OK;
    lk_status status = LK_OK;
    void *theirs = NULL;
    int64_t first_bytes = bytes;
    LK_TRY(lk_comm_enter(comm, "check_equal", -1, 0, err));
    LK_TRY(broadcast_chunks(comm, &first_bytes, sizeof first_bytes, 0, err));
    LK_TRY(lk_alloc(&theirs, (size_t)first_bytes, 1, what, err));
    LK_TRY(compare_with_first(comm, data, bytes, first_bytes, theirs, what, err));
out:
    lk_free(theirs);
    return status;
}

lk_status lk_comm_send(lk_comm *comm, const void *data, int64_t bytes, int to, int tag, lk_request **out,
                       lk_error *err) {
    return comm->functions->send(comm, LK_CHANNEL_DATA, data, bytes, to, tag, out, err);
}

lk_status lk_comm_receive(lk_comm *comm, void *data, int64_t bytes, int from, int tag, lk_request **out,
                          lk_error *err) {
    return comm->functions->receive(comm, LK_CHANNEL_DATA, data, bytes, from, tag, out, err);
}

lk_status lk_comm_test(lk_comm *comm, lk_request **request, bool *done, lk_error *err) {
    return comm->functions->test(comm, request, done, err);
}
