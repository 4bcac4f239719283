/* What the leaves of a group of microbatches tell each other while they run: synchronised BatchNorm. Leaves [g G, g G +
 * G) are a group; a group lies on one rank, or takes whole ranks. All leaves of a group run at once, each on its lane,
 * and meet at every BatchNorm; the last window of an epoch may end before a group is full. */
#ifndef LK_TRAIN_EXCHANGE_H
#define LK_TRAIN_EXCHANGE_H

#include "core/tree.h"
#include "device/group.h"
#include "dist/comm.h"

typedef struct lk_exchange lk_exchange;

/* One leaf's part in it: the context of lk_leaf_group. */
typedef struct lk_exchange_member {
    lk_exchange *exchange;
    int leaf;
    bool owns_comm; /* on the thread that owns the communicator */
} lk_exchange_member;

/* Can this many ranks sum `leaves` leaves in chains of `chain`, and run groups of `group`: is a share a multiple or a
 * divisor of it? Pure. */
bool lk_exchange_ranks_ok(int leaves, int chain, int group, int ranks);
/* Lanes that a rank needs: so many that each round holds whole groups, or the whole share. lanes: what its cores allow.
 * Pure. */
int lk_exchange_lanes(int share, int group, int lanes);
/* Writes the rank counts that work, e.g. "1, 2, 4", into text; returns text. */
char *lk_exchange_ranks_print(int leaves, int chain, int group, char *text, int size);

typedef struct lk_exchange_config {
    int leaves, group; /* m, G: G divides m */
    int lanes;
    int64_t numbers; /* most that a leaf gives at once */
} lk_exchange_config;

/* comm is borrowed. Owner: the caller, with lk_exchange_free. Not Collective. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_exchange_create(lk_exchange **out, lk_comm *comm, const lk_exchange_config *config,
                                           lk_error *err);
void lk_exchange_free(lk_exchange *exchange);

/* Starts a pass over a window of `present` leaves. Between rounds, no leaf running. Not Collective. */
void lk_exchange_begin(lk_exchange *exchange, int present);

/* The gather of lk_leaf_group; context: an lk_exchange_member. Collective over the ranks of the group, by the member
 * that owns the communicator. Errors: what ended another leaf of this rank, with its sentence; LK_STOPPED where another
 * rank failed, which tells all at the next boundary; LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_exchange_gather(void *member, const double *mine, int64_t count, double *all, int *parts,
                                           lk_error *err);

/* A leaf ended, well or not: a failure releases those that wait for it. After success no leaf of the group can fail any
 * more, or the others have failed too. Collective as lk_exchange_gather. Returns status. */
LK_MUST_CHECK lk_status lk_exchange_leave(lk_exchange_member *member, lk_status status, lk_error *err);

/* After a round: tells the group's other ranks of a failure that they still wait for. Call it on the thread that owns
 * the communicator with the round's status. Collective over the ranks of the group. Errors: LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_exchange_end(lk_exchange *exchange, lk_status status, lk_error *err);

#endif
