/* The communicator over MPI. The only file that knows mpi.h; calls of MPI 3.1, from one thread. */
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "dist/comm_impl.h"
#include "dist/launcher.h"

#define HOST_SIZE 256

/* A message beyond chunk_bytes is several MPI messages; nearly always it is one. */
struct lk_request {
    lk_request *next, *previous; /* all that are alive */
    MPI_Request one;
    MPI_Request *parts; /* &one, or allocated */
    int count;          /* parts not yet over are [0, count) */
    MPI_Datatype type;  /* freed with the request; MPI_DATATYPE_NULL: none */
};

typedef struct mpi_impl {
    lk_comm_state state;
    MPI_Comm channels[LK_CHANNEL_COUNT];
    MPI_Comm node;
    MPI_Win window;         /* the node's records; MPI_WIN_NULL: not shared */
    lk_rank_record record;  /* where they aren't */
    lk_request *alive;      /* every request not yet over */
    char *host_names;       /* size x HOST_SIZE */
    const char **host_list; /* size pointers into it */
} mpi_impl;

static lk_status check(int code, const char *call, lk_error *err) {
    if (code == MPI_SUCCESS) return LK_OK;
    char reason[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;
    MPI_Error_string(code, reason, &length);
    reason[strcspn(reason, "\n")] = '\0';
    return lk_fail(err, LK_ERR_COMM, "%s failed: %s: a rank has probably ended, look for its message above", call,
                   reason);
}

/* Returns the status out of the calling function when an MPI call fails. */
#define MPI_TRY(name, arguments) LK_RETURN_IF(check(name arguments, #name, err))

static mpi_impl *impl_of(const lk_comm *comm) { return comm->impl; }

/* ---- requests ---- */

static lk_status request_create(mpi_impl *impl, int parts, lk_request **out, lk_error *err) {
    lk_request *request = NULL;
    LK_RETURN_IF(LK_NEW(&request, 1, "a request", err));
    request->type = MPI_DATATYPE_NULL;
    request->parts = &request->one;
    if (parts > 1) {
        lk_status status = LK_NEW(&request->parts, parts, "a request", err);
        if (status != LK_OK) {
            lk_free(request);
            return status;
        }
    }
    for (int i = 0; i < parts; i++) request->parts[i] = MPI_REQUEST_NULL;
    request->next = impl->alive;
    if (impl->alive != NULL) impl->alive->previous = request;
    impl->alive = request;
    *out = request;
    return LK_OK;
}

static void request_free(mpi_impl *impl, lk_request *request) {
    if (request->next != NULL) request->next->previous = request->previous;
    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        impl->alive = request->next;
    if (request->type != MPI_DATATYPE_NULL) MPI_Type_free(&request->type);
    if (request->parts != &request->one) lk_free(request->parts);
    lk_free(request);
}

static lk_status mpi_test(lk_comm *comm, lk_request **request, bool *done, lk_error *err) {
    lk_request *r = *request;
    while (r != NULL && r->count > 0) {
        int over = 0;
        MPI_TRY(MPI_Test, (&r->parts[r->count - 1], &over, MPI_STATUS_IGNORE));
        if (!over) break;
        r->count--;
    }
    *done = r == NULL || r->count == 0;
    if (!*done || r == NULL) return LK_OK;
    request_free(impl_of(comm), r);
    *request = NULL;
    return LK_OK;
}

/* ---- messages ---- */

typedef enum direction { SEND, RECEIVE } direction;

static lk_status message_start(lk_comm *comm, direction way, lk_channel channel, char *data, int64_t bytes, int peer,
                               int tag, lk_request **request, lk_error *err) {
    mpi_impl *impl = impl_of(comm);
    int64_t chunk = impl->state.chunk_bytes;
    int64_t parts = bytes <= chunk ? 1 : (bytes + chunk - 1) / chunk;
    LK_RETURN_IF(request_create(impl, (int)parts, request, err));
    for (int64_t at = 0; (*request)->count < parts; at += chunk) {
        int count = (int)(bytes - at < chunk ? bytes - at : chunk);
        MPI_Request *part = &(*request)->parts[(*request)->count];
        if (way == SEND)
            MPI_TRY(MPI_Isend, (data + at, count, MPI_BYTE, peer, tag, impl->channels[channel], part));
        else
            MPI_TRY(MPI_Irecv, (data + at, count, MPI_BYTE, peer, tag, impl->channels[channel], part));
        (*request)->count++;
    }
    return LK_OK;
}

static lk_status mpi_send(lk_comm *comm, lk_channel channel, const void *data, int64_t bytes, int to, int tag,
                          lk_request **request, lk_error *err) {
    return message_start(comm, SEND, channel, (char *)data, bytes, to, tag, request, err);
}

static lk_status mpi_receive(lk_comm *comm, lk_channel channel, void *data, int64_t bytes, int from, int tag,
                             lk_request **request, lk_error *err) {
    return message_start(comm, RECEIVE, channel, data, bytes, from, tag, request, err);
}

static lk_status mpi_probe(lk_comm *comm, lk_channel channel, bool *found, lk_error *err) {
    int flag = 0;
    MPI_TRY(MPI_Iprobe, (MPI_ANY_SOURCE, MPI_ANY_TAG, impl_of(comm)->channels[channel], &flag, MPI_STATUS_IGNORE));
    *found = flag != 0;
    return LK_OK;
}

/* ---- collectives ---- */

static lk_status mpi_barrier(lk_comm *comm, lk_request **request, lk_error *err) {
    mpi_impl *impl = impl_of(comm);
    LK_RETURN_IF(request_create(impl, 1, request, err));
    MPI_TRY(MPI_Ibarrier, (impl->channels[LK_CHANNEL_CONTROL], &(*request)->one));
    (*request)->count = 1;
    return LK_OK;
}

static lk_status mpi_broadcast(lk_comm *comm, void *data, int64_t bytes, int root, lk_request **request,
                               lk_error *err) {
    mpi_impl *impl = impl_of(comm);
    LK_RETURN_IF(request_create(impl, 1, request, err));
    MPI_TRY(MPI_Ibcast, (data, (int)bytes, MPI_BYTE, root, impl->channels[LK_CHANNEL_CONTROL], &(*request)->one));
    (*request)->count = 1;
    return LK_OK;
}

static lk_status mpi_allgather(lk_comm *comm, lk_channel channel, const void *mine, void *all, int64_t bytes,
                               int64_t stride, lk_request **request, lk_error *err) {
    mpi_impl *impl = impl_of(comm);
    LK_RETURN_IF(request_create(impl, 1, request, err));
    if (bytes == stride) {
        MPI_TRY(MPI_Iallgather,
                (mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, impl->channels[channel], &(*request)->one));
        (*request)->count = 1;
        return LK_OK;
    }
    /* One element of `bytes` bytes whose extent is the stride: no copy is needed to place it. */
    MPI_Datatype plain;
    MPI_TRY(MPI_Type_contiguous, ((int)bytes, MPI_BYTE, &plain));
    int code = MPI_Type_create_resized(plain, 0, (MPI_Aint)stride, &(*request)->type);
    MPI_Type_free(&plain);
    LK_RETURN_IF(check(code, "MPI_Type_create_resized", err));
    MPI_TRY(MPI_Type_commit, (&(*request)->type));
    MPI_TRY(MPI_Iallgather,
            (mine, (int)bytes, MPI_BYTE, all, 1, (*request)->type, impl->channels[channel], &(*request)->one));
    (*request)->count = 1;
    return LK_OK;
}

static lk_status mpi_allreduce(lk_comm *comm, int64_t *values, int64_t count, lk_reduction reduction,
                               lk_request **request, lk_error *err) {
    mpi_impl *impl = impl_of(comm);
    MPI_Op op = reduction == LK_REDUCE_SUM ? MPI_SUM : reduction == LK_REDUCE_MAX ? MPI_MAX : MPI_MIN;
    LK_RETURN_IF(request_create(impl, 1, request, err));
    MPI_TRY(MPI_Iallreduce,
            (MPI_IN_PLACE, values, (int)count, MPI_INT64_T, op, impl->channels[LK_CHANNEL_CONTROL], &(*request)->one));
    (*request)->count = 1;
    return LK_OK;
}

/* ---- ends ---- */

static void mpi_abort(lk_comm *comm, int exit_status) {
    (void)comm;
    MPI_Abort(MPI_COMM_WORLD, exit_status);
}

static void impl_free(mpi_impl *impl) {
    if (impl == NULL) return;
    while (impl->alive != NULL) request_free(impl, impl->alive);
    lk_comm_state_free(&impl->state);
    lk_free(impl->host_names);
    lk_free(impl->host_list);
    lk_free(impl);
}

static void free_channels(mpi_impl *impl) {
    if (impl->window != MPI_WIN_NULL) {
        MPI_Win_unlock_all(impl->window);
        MPI_Win_free(&impl->window);
    }
    MPI_Comm_free(&impl->node);
    for (int i = 0; i < LK_CHANNEL_COUNT; i++) MPI_Comm_free(&impl->channels[i]);
}

static void mpi_free(lk_comm *comm) {
    lk_error err = {0};
    /* MPI_Finalize has no time limit, so nobody enters it alone. A broken communicator ends with its process: MPI may
     * still write to its buffers. */
    if (lk_comm_state_of(comm)->broken) return;
    if (lk_comm_barrier(comm, &err) != LK_OK) {
        lk_comm_abort(comm, lk_exit_status(err.status), err.message);
        return;
    }
    free_channels(impl_of(comm));
    impl_free(impl_of(comm));
    lk_free(comm);
    MPI_Finalize();
}

static const struct lk_comm_functions mpi_functions = {.barrier = mpi_barrier,
                                                       .broadcast = mpi_broadcast,
                                                       .allgather = mpi_allgather,
                                                       .allreduce = mpi_allreduce,
                                                       .send = mpi_send,
                                                       .receive = mpi_receive,
                                                       .test = mpi_test,
                                                       .probe = mpi_probe,
                                                       .abort = mpi_abort,
                                                       .free = mpi_free};

/* ---- creation ---- */

static char *environment(const char *name) { return getenv(name); }

/* P20: a launcher of another MPI gives N worlds of one rank, which would each train alone. The first of them says it;
 * where the launcher numbers nobody, all do. */
static lk_status check_launch(int world_size, lk_error *err) {
    lk_launcher launcher = lk_launcher_detect(environment);
    if (launcher.size <= 1 || world_size > 1) return LK_OK;
    if (launcher.rank > 0) return lk_fail(err, LK_ERR_COMM, "%s", "");
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    char command[128];
    int length = 0;
    MPI_Get_library_version(library, &length);
    lk_launcher_command(command, sizeof command, library, launcher.kind, launcher.size, getenv("PATH"));
    library[strcspn(library, ",\n")] = '\0';
    for (char *c = library; *c != '\0'; c++)
        if (*c == '\t') *c = ' ';
    return lk_fail(err, LK_ERR_COMM,
                   "%s started %d processes, but the MPI of this program (%s) sees a single one: start it with '%s'",
                   lk_launcher_name(launcher.kind), launcher.size, library, command);
}

static lk_status start_mpi(lk_error *err) {
    int started = 0, provided = 0, world_size = 0;
    MPI_Initialized(&started);
    if (started) return lk_fail(err, LK_ERR_INTERNAL, "MPI was already started by something else in this process");
    MPI_TRY(MPI_Init_thread, (NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_FUNNELED)
        return lk_fail(err, LK_ERR_UNSUPPORTED, "this MPI library was built without threads (MPI_THREAD_FUNNELED)");
    MPI_TRY(MPI_Comm_size, (MPI_COMM_WORLD, &world_size));
    return check_launch(world_size, err);
}

/* Ranks by node, nodes in the order of their lowest world rank: with that as the key, ties keep the world's order. */
static lk_status renumber(mpi_impl *impl, lk_error *err) {
    int lowest = 0;
    MPI_TRY(MPI_Comm_rank, (MPI_COMM_WORLD, &lowest));
    MPI_TRY(MPI_Comm_split_type, (MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, lowest, MPI_INFO_NULL, &impl->node));
    MPI_TRY(MPI_Allreduce, (MPI_IN_PLACE, &lowest, 1, MPI_INT, MPI_MIN, impl->node));
    MPI_TRY(MPI_Comm_split, (MPI_COMM_WORLD, 0, lowest, &impl->channels[0]));
    for (int i = 1; i < LK_CHANNEL_COUNT; i++) MPI_TRY(MPI_Comm_dup, (impl->channels[0], &impl->channels[i]));
    for (int i = 0; i < LK_CHANNEL_COUNT; i++) MPI_Comm_set_errhandler(impl->channels[i], MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(impl->node, MPI_ERRORS_RETURN);
    return LK_OK;
}

static lk_status gather_places(lk_comm *comm, mpi_impl *impl, int *lowest, lk_error *err) {
    MPI_Comm all = impl->channels[LK_CHANNEL_CONTROL];
    int mine = comm->rank - comm->node_rank, length = 0;
    MPI_TRY(MPI_Allgather, (&mine, 1, MPI_INT, lowest, 1, MPI_INT, all));
    for (int rank = 0; rank < comm->size; rank++) {
        bool first = lowest[rank] == rank;
        if (first && rank <= comm->rank) comm->node = comm->node_count;
        if (first) comm->node_count++;
    }
    LK_RETURN_IF(LK_NEW(&impl->host_names, (int64_t)comm->size * HOST_SIZE, "host names", err));
    LK_RETURN_IF(LK_NEW(&impl->host_list, comm->size, "host names", err));
    char name[MPI_MAX_PROCESSOR_NAME + HOST_SIZE] = "";
    MPI_TRY(MPI_Get_processor_name, (name, &length));
    name[HOST_SIZE - 1] = '\0';
    MPI_TRY(MPI_Allgather, (name, HOST_SIZE, MPI_CHAR, impl->host_names, HOST_SIZE, MPI_CHAR, all));
    for (int rank = 0; rank < comm->size; rank++) impl->host_list[rank] = impl->host_names + rank * HOST_SIZE;
    comm->hosts = impl->host_list;
    return LK_OK;
}

/* Where the node's memory can't be shared (a full /dev/shm), a stuck rank's last phase is unknown: no reason to stop.
 */
static void share_records(lk_comm *comm, mpi_impl *impl) {
    MPI_Aint bytes = 0;
    int unit = 0;
    void *base = NULL;
    impl->state.records = &impl->record;
    impl->state.record_count = 1;
    if (comm->node_size == 1) return;
    if (MPI_Win_allocate_shared((MPI_Aint)sizeof(lk_rank_record), 1, MPI_INFO_NULL, impl->node, &base, &impl->window) !=
        MPI_SUCCESS) {
        impl->window = MPI_WIN_NULL;
        return;
    }
    MPI_Win_lock_all(MPI_MODE_NOCHECK, impl->window);
    if (MPI_Win_shared_query(impl->window, 0, &bytes, &unit, &base) != MPI_SUCCESS) return;
    impl->state.records = base;
    impl->state.record_count = comm->node_size;
}

static bool node_is_crowded(int node_size) {
    cpu_set_t set;
    CPU_ZERO(&set);
    /* Bound ranks have cores of their own; unbound ones share all. */
    if (sched_getaffinity(0, sizeof set, &set) != 0) return true;
    int cores = CPU_COUNT(&set);
    return node_size > sysconf(_SC_NPROCESSORS_ONLN) || (cores > 1 && node_size > cores);
}

static lk_status create(lk_comm *comm, mpi_impl *impl, int **lowest, lk_error *err) {
    LK_RETURN_IF(start_mpi(err));
    LK_RETURN_IF(renumber(impl, err));
    MPI_TRY(MPI_Comm_rank, (impl->channels[0], &comm->rank));
    MPI_TRY(MPI_Comm_size, (impl->channels[0], &comm->size));
    MPI_TRY(MPI_Comm_rank, (impl->node, &comm->node_rank));
    MPI_TRY(MPI_Comm_size, (impl->node, &comm->node_size));
    LK_RETURN_IF(LK_NEW(lowest, comm->size, "ranks", err));
    LK_RETURN_IF(gather_places(comm, impl, *lowest, err));
    share_records(comm, impl);
    lk_comm_state_init(comm);
    impl->state.crowded = node_is_crowded(comm->node_size);
    /* Nobody may read a neighbour's record before it is written. This call isn't one of the program's: counting starts
     * after it. */
    LK_RETURN_IF(lk_comm_barrier(comm, err));
    lk_comm_state_init(comm);
    return LK_OK;
}

/* Ends MPI after a failed start: a world of one (P20) can; any other is left to lk_comm_abort's caller. */
static void end_failed_start(void) {
    int started = 0, size = 0;
    MPI_Initialized(&started);
    if (started && MPI_Comm_size(MPI_COMM_WORLD, &size) == MPI_SUCCESS && size == 1) MPI_Finalize();
}

lk_status lk_comm_mpi_create(lk_comm **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_comm *comm = NULL;
    mpi_impl *impl = NULL;
    int *lowest = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&comm, 1, "the communicator", err));
    LK_TRY(LK_NEW(&impl, 1, "the communicator", err));
    impl->window = MPI_WIN_NULL;
    impl->node = MPI_COMM_NULL;
    for (int i = 0; i < LK_CHANNEL_COUNT; i++) impl->channels[i] = MPI_COMM_NULL;
    *comm = (lk_comm){.timeout = 300, .impl = impl, .functions = &mpi_functions};
    LK_TRY(create(comm, impl, &lowest, err));
    *out = comm;
    comm = NULL;
    impl = NULL;
out:
    lk_free(lowest);
    if (status != LK_OK) end_failed_start();
    impl_free(impl);
    lk_free(comm);
    return status;
}

lk_status lk_comm_mpi_library(char *text, size_t size, lk_error *err) {
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_TRY(MPI_Get_library_version, (library, &length));
    snprintf(text, size, "%s", library);
    return LK_OK;
}
