/* Inside of the communicator: what comm.c builds every call from, and what an implementation (self, MPI, a test's
 * loopback) supplies. Only files of dist/ and tests include it. */
#ifndef LK_DIST_COMM_IMPL_H
#define LK_DIST_COMM_IMPL_H

#include <stdatomic.h>
#include <stdint.h>

#include "dist/comm.h"

/* Separate message spaces: no message of one is ever taken for one of another. */
typedef enum lk_channel {
    LK_CHANNEL_DATA,    /* lk_comm_send and lk_comm_receive */
    LK_CHANNEL_CONTROL, /* collectives */
    LK_CHANNEL_CHECK,   /* debug builds: are all ranks in the same call? */
    LK_CHANNEL_ALARM,   /* roll call after a time limit */
    LK_CHANNEL_COUNT
} lk_channel;

typedef enum lk_reduction { LK_REDUCE_SUM, LK_REDUCE_MAX, LK_REDUCE_MIN } lk_reduction;

/* Every function but test, abort and free starts something and returns at once; test says when it is over. At most
 * chunk_bytes (lk_comm_state) a call. *request may be NULL when it was over at once. */
struct lk_comm_functions {
    lk_status (*barrier)(lk_comm *comm, lk_request **request, lk_error *err);
    lk_status (*broadcast)(lk_comm *comm, void *data, int64_t bytes, int root, lk_request **request, lk_error *err);
    /* Rank r's bytes go to all + r * stride. */
    lk_status (*allgather)(lk_comm *comm, lk_channel channel, const void *mine, void *all, int64_t bytes,
                           int64_t stride, lk_request **request, lk_error *err);
    lk_status (*allreduce)(lk_comm *comm, int64_t *values, int64_t count, lk_reduction reduction, lk_request **request,
                           lk_error *err);
    lk_status (*send)(lk_comm *comm, lk_channel channel, const void *data, int64_t bytes, int to, int tag,
                      lk_request **request, lk_error *err);
    /* bytes: capacity; a shorter message is accepted. */
    lk_status (*receive)(lk_comm *comm, lk_channel channel, void *data, int64_t bytes, int from, int tag,
                         lk_request **request, lk_error *err);
    lk_status (*test)(lk_comm *comm, lk_request **request, bool *done, lk_error *err);
    /* Has any message arrived on the channel? Takes none. */
    lk_status (*probe)(lk_comm *comm, lk_channel channel, bool *found, lk_error *err);
    void (*abort)(lk_comm *comm, int exit_status);
    void (*free)(lk_comm *comm);
};

#define LK_CALL_SIZE 24
#define LK_PHASE_SIZE 128

/* What a rank is doing. Lies in memory that the ranks of a node share, so that a neighbour can tell it even of a rank
 * that is stopped. Written by its rank only; version is odd while it is being written. */
typedef struct lk_rank_record {
    atomic_uint version;
    int32_t rank;
    int32_t inside; /* 1 while it waits in the call, 0 after */
    int32_t ended;  /* in copies that travel: a neighbour saw that its process is gone */
    int64_t process;
    uint64_t space; /* of process numbers (containers): comparable where equal, 0 where unknown */
    int64_t number; /* of collective calls so far; the same on all ranks that agree */
    char call[LK_CALL_SIZE];
    char phase[LK_PHASE_SIZE];
} lk_rank_record;

/* First member of every implementation's comm->impl. */
typedef struct lk_comm_state {
    lk_rank_record *records; /* node_size entries; the own one is [node_rank]. Owner: the implementation */
    int record_count;        /* node_size, or 1 where nothing is shared: then the own one is [0] */
    lk_rank_record met;      /* own record at the last call that proves that every rank took part */
    int64_t chunk_bytes;     /* most bytes of one call to an implementation */
    bool crowded;            /* more ranks than cores here: waiting must not spin */
    bool broken;             /* a wait failed: nothing else will work */
    bool agreed;             /* the last failure is known to all ranks */
    void *abandoned[2];      /* buffers of messages that nobody took */
    int speaker;             /* after a roll call: the lowest rank that answered, which prints; -1 before */
} lk_comm_state;

static inline lk_comm_state *lk_comm_state_of(const lk_comm *comm) { return comm->impl; }

/* For implementations whose messages can't arrive any more. Not Collective. */
void lk_comm_state_free(lk_comm_state *state);
/* Sets chunk_bytes, speaker and the own record. records and record_count must be set. Not Collective. */
void lk_comm_state_init(lk_comm *comm);
static inline lk_rank_record *lk_comm_own_record(const lk_comm *comm) {
    lk_comm_state *state = lk_comm_state_of(comm);
    return &state->records[state->record_count > 1 ? comm->node_rank : 0];
}
/* A consistent copy of a record that its rank may be writing. Not Collective. */
void lk_record_read(lk_rank_record *copy, lk_rank_record *record);

/* Is the process of a record of this node gone? Only told where process numbers are comparable. Not Collective. */
bool lk_record_ended(const lk_comm *comm, const lk_rank_record *record);

/* Starts a collective: refuses a broken communicator, notes the call for others to see and, in debug builds, checks
 * that all ranks are in the same call with the same count and root. `count` of -1: may differ between ranks.
 * Collective. Errors: LK_ERR_COMM; LK_ERR_INTERNAL naming the rank that is elsewhere. */
LK_MUST_CHECK lk_status lk_comm_enter(lk_comm *comm, const char *call, int64_t count, int root, lk_error *err);
/* Ends it. everyone: its success proves that every rank entered it. Not Collective. */
void lk_comm_leave(lk_comm *comm, bool everyone);

/* One attempt at progress. *moved: something happened, the clock starts again. */
typedef lk_status (*lk_comm_step)(void *context, bool *done, bool *moved, lk_error *err);

/* Runs step until it is done: a short spin, then sleeps that grow with the time waited (at most longest_sleep seconds),
 * so that a waiting rank leaves its core to those that work. Collective, with every rank that `step` waits for.
 * Errors: those of step; LK_ERR_COMM after comm->timeout seconds without movement, or when another rank gave up, or
 * when the process of a rank of this node is gone. */
LK_MUST_CHECK lk_status lk_comm_wait_for(lk_comm *comm, lk_comm_step step, void *context, double longest_sleep,
                                         lk_error *err);
/* The same for one request. */
LK_MUST_CHECK lk_status lk_comm_wait_request(lk_comm *comm, lk_request **request, lk_error *err);

/* Who is still there? Every rank that waits tells all others what it is doing; the rest is missing. Fills *err with
 * who, where, in which phase; the communicator is broken afterwards. Always fails with LK_ERR_COMM (LK_ERR_MEMORY).
 * Collective among the ranks that are alive; ends within LK_ROLL_CALL_SECONDS. */
#define LK_ROLL_CALL_SECONDS 3.0
LK_MUST_CHECK lk_status lk_comm_roll_call(lk_comm *comm, lk_error *err);

/* Unit: seconds. Not Collective. */
void lk_comm_sleep(double seconds);

#endif
