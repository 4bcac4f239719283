/* Telling who is missing when a wait has reached its time limit. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "dist/comm_impl.h"

#define NAMED_RANKS 4 /* missing ranks described in full */

/* What is known of each rank; answered: by itself, now. */
typedef struct roll {
    lk_comm *comm;
    bool *answered;
    lk_rank_record *known;    /* size entries; process 0: nothing known */
    lk_rank_record *outgoing; /* own node's records, the own one first */
    lk_rank_record *incoming; /* size x size entries */
    lk_request **sends, **receives;
    int missing; /* ranks that didn't answer */
    int ended;   /* of these: whose process is known to be gone */
} roll;

static lk_status roll_alloc(roll *r, lk_comm *comm, lk_error *err) {
    size_t n = (size_t)comm->size;
    r->comm = comm;
    LK_RETURN_IF(LK_NEW(&r->answered, n, "the roll call", err));
    LK_RETURN_IF(LK_NEW(&r->known, n, "the roll call", err));
    LK_RETURN_IF(LK_NEW(&r->outgoing, n, "the roll call", err));
    LK_RETURN_IF(LK_NEW(&r->incoming, n * n, "the roll call", err));
    LK_RETURN_IF(LK_NEW(&r->sends, n, "the roll call", err));
    return LK_NEW(&r->receives, n, "the roll call", err);
}

static lk_status roll_start(roll *r, lk_error *err) {
    lk_comm *comm = r->comm;
    lk_comm_state *state = lk_comm_state_of(comm);
    int own = state->record_count > 1 ? comm->node_rank : 0;
    int count = 0;
    lk_record_read(&r->outgoing[count++], &state->records[own]);
    for (int i = 0; i < state->record_count; i++) {
        if (i == own) continue;
        lk_rank_record *copy = &r->outgoing[count++];
        lk_record_read(copy, &state->records[i]);
        copy->ended = lk_record_ended(comm, &state->records[i]);
        r->known[copy->rank] = *copy;
    }
    r->known[comm->rank] = r->outgoing[0];
    r->answered[comm->rank] = true;
    int64_t record = sizeof *r->outgoing;
    for (int rank = 0; rank < comm->size; rank++) {
        if (rank == comm->rank) continue;
        LK_RETURN_IF(comm->functions->receive(comm, LK_CHANNEL_ALARM, r->incoming + (size_t)rank * (size_t)comm->size,
                                              comm->size * record, rank, 0, &r->receives[rank], err));
        LK_RETURN_IF(
            comm->functions->send(comm, LK_CHANNEL_ALARM, r->outgoing, count * record, rank, 0, &r->sends[rank], err));
    }
    return LK_OK;
}

/* An answer tells of the rank itself and of its neighbours, answering or not. */
static void roll_take(roll *r, int from) {
    lk_rank_record *entries = r->incoming + (size_t)from * (size_t)r->comm->size;
    r->answered[from] = true;
    for (int i = 0; i < r->comm->size; i++) {
        int rank = entries[i].rank;
        if (entries[i].process == 0) break;
        if (rank < 0 || rank >= r->comm->size || (i > 0 && r->answered[rank])) continue;
        r->known[rank] = entries[i];
    }
}

/* Ranks of which neither an answer nor the end is known yet. */
static int roll_count(roll *r) {
    r->missing = 0;
    r->ended = 0;
    for (int rank = 0; rank < r->comm->size; rank++) {
        if (r->answered[rank]) continue;
        r->missing++;
        r->ended += r->known[rank].ended != 0;
    }
    return r->missing - r->ended;
}

static lk_status roll_collect(roll *r, lk_error *err) {
    lk_comm *comm = r->comm;
    double end = lk_clock_seconds() + LK_ROLL_CALL_SECONDS;
    bool sending = true;
    /* Sends to the living must be over before this rank ends; those to the missing never will be. */
    while ((roll_count(r) > 0 || sending) && lk_clock_seconds() < end) {
        sending = false;
        for (int rank = 0; rank < comm->size; rank++) {
            bool done = false;
            if (r->sends[rank] != NULL) LK_RETURN_IF(comm->functions->test(comm, &r->sends[rank], &done, err));
            sending = sending || (r->sends[rank] != NULL && !r->known[rank].ended);
            if (r->receives[rank] == NULL) continue;
            LK_RETURN_IF(comm->functions->test(comm, &r->receives[rank], &done, err));
            if (r->receives[rank] != NULL) continue;
            roll_take(r, rank);
        }
        lk_comm_sleep(1e-3);
    }
    return LK_OK;
}

/* Appends to text; a full text stays as it is. */
__attribute__((format(printf, 4, 5))) static void append(char *text, size_t size, size_t *used, const char *format,
                                                         ...) {
    va_list args;
    va_start(args, format);
    if (*used < size) {
        int wrote = vsnprintf(text + *used, size - *used, format, args);
        *used += wrote > 0 ? (size_t)wrote : 0;
    }
    va_end(args);
}

/* The call that the others are in: the latest one that an answering rank waits in. */
static const lk_rank_record *roll_place(const roll *r) {
    const lk_rank_record *place = &r->known[r->comm->rank];
    for (int rank = 0; rank < r->comm->size; rank++)
        if (r->answered[rank] && r->known[rank].inside && r->known[rank].number > place->number)
            place = &r->known[rank];
    return place;
}

static void describe_missing(const roll *r, int rank, char *text, size_t size, size_t *used) {
    const lk_rank_record *known = &r->known[rank];
    append(text, size, used, "rank %d (%s", rank, r->comm->hosts[rank]);
    if (known->process == 0) {
        append(text, size, used, ")");
        return;
    }
    append(text, size, used, ", process %lld) last in phase '%s'", (long long)known->process, known->phase);
    if (known->number > 0)
        append(text, size, used, ", %s %s (call %lld)", known->inside ? "inside" : "after", known->call,
               (long long)known->number);
}

/* Dead ranks explain the silence of all others. */
static lk_status roll_report_ended(const roll *r, lk_error *err) {
    char text[700] = "";
    size_t used = 0;
    int named = 0;
    const lk_rank_record *place = roll_place(r);
    for (int rank = 0; rank < r->comm->size && named < NAMED_RANKS; rank++) {
        if (r->answered[rank] || !r->known[rank].ended) continue;
        if (named++ > 0) append(text, sizeof text, &used, "; ");
        describe_missing(r, rank, text, sizeof text, &used);
    }
    if (r->ended > named) append(text, sizeof text, &used, "; and %d more", r->ended - named);
    return lk_fail(
        err, LK_ERR_COMM,
        "a process ended while others waited in %s (call %lld, phase '%s'): %s: see its message above, or the "
        "system's log for a kill (out of memory?)",
        place->call, (long long)place->number, place->phase, text);
}

static lk_status roll_report_missing(const roll *r, lk_error *err) {
    char text[700] = "";
    size_t used = 0;
    int named = 0;
    const lk_rank_record *place = roll_place(r);
    for (int rank = 0; rank < r->comm->size && named < NAMED_RANKS; rank++) {
        if (r->answered[rank]) continue;
        if (named++ > 0) append(text, sizeof text, &used, "; ");
        describe_missing(r, rank, text, sizeof text, &used);
    }
    if (r->missing > named) append(text, sizeof text, &used, "; and %d more", r->missing - named);
    const lk_rank_record *met = &lk_comm_state_of(r->comm)->met;
    if (met->number > 0 && r->missing > 0)
        append(text, sizeof text, &used, "; all ranks last met in %s (call %lld) of phase '%s'", met->call,
               (long long)met->number, met->phase);
    return lk_fail(err, LK_ERR_COMM,
                   "no answer for %g s in %s (call %lld, phase '%s') from %s: stopped, dead or too slow",
                   r->comm->timeout, place->call, (long long)place->number, place->phase, text);
}

/* All ranks answered: either they are in different calls, or the messages between them don't arrive. */
static lk_status roll_report_present(const roll *r, lk_error *err) {
    const lk_rank_record *place = roll_place(r);
    for (int rank = 0; rank < r->comm->size; rank++) {
        const lk_rank_record *other = &r->known[rank];
        if (other->number == place->number && strcmp(other->call, place->call) == 0) continue;
        return lk_fail(err, LK_ERR_COMM,
                       "rank %d (%s) waits in %s (call %lld, phase '%s') while rank %d waits in %s (call %lld, phase "
                       "'%s'): the ranks went different ways, look for an error of rank %d above",
                       rank, r->comm->hosts[rank], other->call, (long long)other->number, other->phase, place->rank,
                       place->call, (long long)place->number, place->phase, rank);
    }
    return lk_fail(
        err, LK_ERR_COMM,
        "no progress for %g s in %s (call %lld, phase '%s') although all ranks are in it: the messages between "
        "them don't arrive in full, check the network (lockstep doctor)",
        r->comm->timeout, place->call, (long long)place->number, place->phase);
}

static void roll_free(roll *r) {
    lk_free(r->answered);
    lk_free(r->known);
    lk_free(r->sends);
    lk_free(r->receives);
    /* Messages to missing ranks may still be under way. */
    lk_comm_state *state = lk_comm_state_of(r->comm);
    state->abandoned[0] = r->outgoing;
    state->abandoned[1] = r->incoming;
}

lk_status lk_comm_roll_call(lk_comm *comm, lk_error *err) {
    lk_status status = LK_OK;
    roll r = {0};
    lk_comm_state_of(comm)->broken = true;
    LK_TRY(roll_alloc(&r, comm, err));
    LK_TRY(roll_start(&r, err));
    LK_TRY(roll_collect(&r, err));
    for (int rank = comm->size - 1; rank >= 0; rank--)
        if (r.answered[rank]) lk_comm_state_of(comm)->speaker = rank;
    if (r.ended > 0)
        status = roll_report_ended(&r, err);
    else
        status = r.missing > 0 ? roll_report_missing(&r, err) : roll_report_present(&r, err);
out:
    roll_free(&r);
    return status;
}
