/* The communicator seam. MPI (or self, for one rank) is the control plane; gradients travel through the reducer
 * (dist/reducer.h), which is built on the point-to-point calls here. */
#ifndef LK_DIST_COMM_H
#define LK_DIST_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct lk_comm lk_comm;
typedef struct lk_request lk_request; /* opaque, owned by the communicator */

struct lk_comm {
    int rank, size;
    int node, node_count;     /* ranks are numbered by node: consecutive ranks share a node */
    int node_rank, node_size; /* within the node */
    const char *const *hosts; /* size entries: host name of each rank; owned by the communicator */
    double timeout;           /* seconds without progress before a wait fails; default 300 */
    void *impl;
    const struct lk_comm_functions *functions;
};

/* Communicator of this process alone. Never touches MPI. Owner: the caller, with lk_comm_free. Not Collective.
 * Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_comm_self_create(lk_comm **out, lk_error *err);

/* Starts MPI and takes MPI_COMM_WORLD, renumbered by node: nodes in the order of their lowest world rank. Collective.
 * Owner: the caller, with lk_comm_free. The steps of MPI itself here have no time limit.
 * Errors: LK_ERR_COMM when the launcher started N processes but MPI sees one (P20), with the command that works, or
 * when MPI fails; LK_ERR_UNSUPPORTED for an MPI built without threads; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_comm_mpi_create(lk_comm **out, lk_error *err);

/* What the MPI library says that it is, several lines of it. Starts nothing. Not Collective.
 * Errors: LK_ERR_UNSUPPORTED where there is none. */
LK_MUST_CHECK lk_status lk_comm_mpi_library(char *text, size_t size, lk_error *err);

/* Looks at the launcher's environment (Open MPI, MPICH/PMI, Slurm) and creates one of the two: MPI only where a
 * launcher started this process, and more than it alone. Collective. Errors: those of the two. */
LK_MUST_CHECK lk_status lk_comm_create(lk_comm **out, lk_error *err);

/* Ends MPI if it was started. Collective after success; after a failure call lk_comm_abort first. NULL is accepted. A
 * rank that doesn't come within the time limit ends the run, with the sentence that names it. */
void lk_comm_free(lk_comm *comm);

/* The end of a run, whatever it came to: frees after LK_OK, LK_STOPPED or a failure that lk_comm_agree or
 * lk_comm_check_equal gave to all ranks, and returns; otherwise the failure is this rank's alone and the others wait
 * for it: lk_comm_abort with err's sentence. NULL is accepted. Collective after LK_OK, LK_STOPPED and agreed failures.
 */
void lk_comm_finish(lk_comm *comm, lk_status status, const lk_error *err);

/* Did the last call give a failure to all ranks (lk_comm_agree, lk_comm_check_equal), so that they may go on together
 * after it? One rank alone always may. Not Collective. */
bool lk_comm_failed_together(const lk_comm *comm);

/* Tells every rank to end, prints the sentence, ends this process's world. For errors that others cannot learn of by
 * lk_comm_agree. Returns only on the self communicator. Not Collective. */
void lk_comm_abort(lk_comm *comm, int exit_status, const char *message);

/* Names what the rank is doing, for the messages of stuck ranks: "epoch 3 update 41 backward". Borrowed, not copied
 * long: copied into the communicator (127 bytes). Not Collective. */
void lk_comm_set_phase(lk_comm *comm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Calls up to lk_comm_check_equal: in the same order on all ranks; counts and roots must match (debug builds check it).
 * Errors of all: LK_ERR_COMM, naming ranks that did not arrive within comm->timeout or whose process ended, the phase
 * and the call; LK_ERR_MEMORY. After LK_ERR_COMM nothing works any more: call lk_comm_abort. Counts may exceed 2^31. */
/* Collective. */
LK_MUST_CHECK lk_status lk_comm_barrier(lk_comm *comm, lk_error *err);
/* Collective. */
LK_MUST_CHECK lk_status lk_comm_broadcast(lk_comm *comm, void *data, int64_t bytes, int root, lk_error *err);
/* all: size * bytes, in rank order. Collective. */
LK_MUST_CHECK lk_status lk_comm_allgather(lk_comm *comm, const void *mine, void *all, int64_t bytes, lk_error *err);
/* Integer sums are exact: any order gives the same. Collective. */
LK_MUST_CHECK lk_status lk_comm_allreduce_i64(lk_comm *comm, int64_t *values, int64_t count, lk_error *err);
/* all (on root): concatenation in rank order; counts[size] in bytes must be known to all. Collective. */
LK_MUST_CHECK lk_status lk_comm_gather(lk_comm *comm, const void *mine, const int64_t *counts, void *all, int root,
                                       lk_error *err);
/* Between the ranks [first, first + ranks) alone, this one among them: each gives `bytes`, and rank first + i's stand
 * at all + i * room afterwards; a rank may give fewer bytes than the others' room. Collective over those ranks. */
LK_MUST_CHECK lk_status lk_comm_gather_group(lk_comm *comm, const void *mine, int64_t bytes, void *all, int64_t room,
                                             int first, int ranks, lk_error *err);
/* The worst status of all ranks reaches all, with the message of the lowest rank that has it, prefixed "rank R: " on
 * the others. `mine` may be LK_OK. Returns the agreed status and fills *err where it was empty. Collective. */
LK_MUST_CHECK lk_status lk_comm_agree(lk_comm *comm, lk_status mine, lk_error *err);
/* Maximum of a small integer over the ranks (e.g. "a signal was seen"). Collective. */
LK_MUST_CHECK lk_status lk_comm_max(lk_comm *comm, int64_t *value, lk_error *err);
/* All ranks must pass equal bytes (configuration, identity of the arithmetic): otherwise LK_ERR_CONFIG naming `what`
 * and the first rank that differs from rank 0. Collective. */
LK_MUST_CHECK lk_status lk_comm_check_equal(lk_comm *comm, const void *data, int64_t bytes, const char *what,
                                            lk_error *err);

/* Non-blocking point to point, for the reducer. tag 0..32767. Not Collective. Requests live until they are done;
 * the data must not move or change before. Errors: LK_ERR_COMM, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_comm_send(lk_comm *comm, const void *data, int64_t bytes, int to, int tag, lk_request **out,
                                     lk_error *err);
/* bytes: capacity; a shorter message is accepted. Not Collective. */
LK_MUST_CHECK lk_status lk_comm_receive(lk_comm *comm, void *data, int64_t bytes, int from, int tag, lk_request **out,
                                        lk_error *err);
/* Makes progress; *done tells whether the request finished (it is then released and *request becomes NULL). Not
 * Collective. Errors: LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_comm_test(lk_comm *comm, lk_request **request, bool *done, lk_error *err);

#endif
