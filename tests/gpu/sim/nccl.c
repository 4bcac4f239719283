/* NCCL's functions that Lockstep uses. Nothing is over when a call returns: a communicator settles after some polls,
 * and only then is a group on its stream. Environment: LK_SIM_NCCL (version that it claims), LK_SIM_NCCL_FAULT as
 * KIND:RANK:GROUP, what happens to one rank at its n-th group (0: while it joins; 1: the try of the links):
 * error (an error that is told later), die (the process is killed), stop (it is stopped), stall (the group never ends).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "nccl_sim.h"

#define API SIM_API

static sim_group *collecting; /* between ncclGroupStart and its end */
static int depth;

static bool fault_is(const char *kind, ncclComm_t comm, int group) {
    char name[16] = "";
    int rank = 0, at = 0;
    const char *text = getenv("LK_SIM_NCCL_FAULT");
    if (text == NULL || sscanf(text, "%15[a-z]:%d:%d", name, &rank, &at) != 3) return false;
    return strcmp(name, kind) == 0 && rank == comm->rank && at == group;
}

static void meet_fault(ncclComm_t comm, int group) {
    if (fault_is("die", comm, group)) kill(getpid(), SIGKILL);
    if (fault_is("stop", comm, group)) kill(getpid(), SIGSTOP);
    if (fault_is("error", comm, group)) sim_nccl_fail(comm, ncclSystemError, "a cable was pulled");
}

/* ---- groups as work of a stream ---- */

static bool group_ready(void *state) {
    sim_group *group = state;
    ncclComm_t comm = group->comm;
    if (comm->aborted) return true;
    if (fault_is("stall", comm, group->number)) return false;
    return sim_link_move(group);
}

/* An order of its own for each element: no tree, and not that of the ranks. */
static void group_run(void *state) {
    sim_group *group = state;
    int size = group->comm->size;
    if (group->comm->aborted) return;
    for (int i = 0; i < group->count; i++)
        sim_touch(group->messages[i].data, group->messages[i].bytes, !group->messages[i].sending);
    if (group->sum == NULL) return;
    sim_touch(group->sum, group->elements * sizeof *group->sum, true);
    float *out = sim_memory_reach(group->sum);
    group->terms[group->comm->rank] = out;
    for (size_t i = 0; i < group->elements; i++) {
        int first = (int)(i % (size_t)size);
        float sum = group->terms[first][i];
        for (int k = 1; k < size; k++) sum += group->terms[(first + k) % size][i];
        out[i] = sum;
    }
    group->terms[group->comm->rank] = NULL;
}

static void group_drop(void *state) {
    sim_group *group = state;
    for (int rank = 0; group->terms != NULL && rank < group->comm->size; rank++) free(group->terms[rank]);
    free(group->terms);
    free(group->messages);
    if (group->enqueued) sim_outside(-1);
    free(group);
}

static void enqueue(sim_group *group) {
    group->enqueued = true;
    sim_outside(1);
    (void)sim_enqueue(group->stream, (sim_work){"messages", group_run, group_drop, group, true, group_ready, NULL});
}

static sim_group *group_new(void) {
    sim_group *group = calloc(1, sizeof *group);
    if (group == NULL) sim_fault("out of host memory");
    return group;
}

static void group_add(sim_group *group, sim_message message, cudaStream_t stream, ncclComm_t comm) {
    if (group->comm != NULL && (group->comm != comm || group->stream != stream))
        sim_fault("a group for several communicators or streams");
    group->comm = comm;
    group->stream = stream;
    group->messages = realloc(group->messages, ((size_t)group->count + 1) * sizeof message);
    if (group->messages == NULL) sim_fault("out of host memory");
    group->messages[group->count++] = message;
}

static ncclResult_t start(sim_group *group) {
    ncclComm_t comm = group->comm;
    if (comm == NULL) {
        free(group);
        return ncclSuccess;
    }
    group->number = ++comm->groups;
    meet_fault(comm, group->number);
    comm->waiting = group;
    comm->delay = (int)(sim_random() % 3) + 1;
    return ncclInProgress;
}

/* ---- communicators ---- */

API ncclResult_t ncclGetVersion(int *version) {
    *version = (int)sim_setting("LK_SIM_NCCL", NCCL_VERSION_CODE);
    return ncclSuccess;
}

API ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    memset(id, 0, sizeof *id);
    snprintf(id->internal, SIM_ID_BYTES, "%d-%lld-%ld", (int)getpid(), (long long)now.tv_sec, now.tv_nsec);
    return ncclSuccess;
}

API ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId id, int rank, ncclConfig_t *config) {
    struct cudaDeviceProp properties;
    if (config->magic != 0xcafebeef || config->blocking != 0) sim_fault("the stand-in knows non-blocking ranks alone");
    if (size < 1 || size > SIM_RANKS || rank < 0 || rank >= size) return ncclInvalidArgument;
    ncclComm_t comm = calloc(1, sizeof *comm);
    if (comm == NULL || cudaGetDeviceProperties(&properties, sim_current_gpu()) != cudaSuccess)
        return ncclUnhandledCudaError;
    comm->rank = rank;
    comm->size = size;
    comm->own = (sim_hello){.rank = rank, .size = size};
    memcpy(comm->own.uuid, properties.uuid.bytes, sizeof comm->own.uuid);
    memcpy(comm->id, id.internal, sizeof comm->id);
    for (int i = 0; i < size; i++) comm->peers[i].socket = -1;
    comm->delay = 3;
    *out = comm;
    meet_fault(comm, 0);
    return sim_link_listen(comm) == ncclSuccess ? ncclInProgress : ncclSystemError;
}

API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state) {
    if (!comm->joined && comm->error == ncclSuccess) {
        if (!fault_is("stall", comm, 0)) comm->joined = sim_link_join(comm);
    } else if (comm->delay > 0) {
        comm->delay--;
    } else if (comm->waiting != NULL) {
        enqueue(comm->waiting);
        comm->waiting = NULL;
    }
    bool settled = comm->joined && comm->delay == 0 && comm->waiting == NULL;
    *state = comm->error != ncclSuccess ? comm->error : settled ? ncclSuccess : ncclInProgress;
    return ncclSuccess;
}

/* LK_SIM_NCCL_REGISTER: -1 (as NCCL_LOCAL_REGISTER=0: nothing is registered), or the rank on which it fails. */
API ncclResult_t ncclCommRegister(const ncclComm_t comm, void *data, size_t bytes, void **handle) {
    int64_t setting = sim_setting("LK_SIM_NCCL_REGISTER", SIM_RANKS);
    *handle = NULL;
    if (!comm->joined || comm->delay > 0 || comm->leaving) sim_fault("memory is registered before ranks have met");
    if (bytes == 0 || sim_device_room(data) < bytes) sim_fault("what is registered is not device memory");
    if (setting == comm->rank) return ncclSystemError;
    for (int i = 0; i < SIM_AREAS && setting != -1; i++) {
        if (comm->areas[i].data != NULL) continue;
        comm->areas[i] = (sim_area){data, bytes};
        comm->area_count++;
        *handle = &comm->areas[i];
        return ncclSuccess;
    }
    return setting == -1 ? ncclSuccess : ncclInternalError;
}

API ncclResult_t ncclCommDeregister(const ncclComm_t comm, void *handle) {
    sim_area *area = handle;
    if (comm->leaving || area < comm->areas || area >= comm->areas + SIM_AREAS || area->data == NULL)
        sim_fault("memory is given back that is not registered");
    if (sim_device_room(area->data) < area->bytes) sim_fault("registered memory is gone before it is given back");
    *area = (sim_area){NULL, 0};
    comm->area_count--;
    return ncclSuccess;
}

/* Either all memory of messages is registered or none. */
static void check_registered(ncclComm_t comm, const char *data, size_t bytes) {
    bool found = comm->area_count == 0;
    for (int i = 0; i < SIM_AREAS && !found; i++) {
        const sim_area *a = &comm->areas[i];
        found = a->data != NULL && data >= a->data && data + bytes <= a->data + a->bytes;
    }
    if (!found) sim_fault("rank %d: a message of memory that is not registered, beside some that is", comm->rank);
}

API ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    if (comm->area_count > 0) sim_fault("a communicator ends with memory registered");
    comm->leaving = true;
    comm->delay = 2;
    return ncclInProgress;
}

API ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm->leaving || comm->delay > 0) sim_fault("a communicator is destroyed before it was finalised");
    sim_link_close(comm);
    free(comm);
    return ncclSuccess;
}

/* Streams still hold groups of it: they end when their turn comes. */
API ncclResult_t ncclCommAbort(ncclComm_t comm) {
    comm->aborted = true;
    if (comm->waiting != NULL) group_drop(comm->waiting);
    comm->waiting = NULL;
    sim_link_close(comm);
    return ncclSuccess;
}

API const char *ncclGetLastError(ncclComm_t comm) { return comm == NULL ? "" : comm->words; }

API const char *ncclGetErrorString(ncclResult_t code) {
    switch (code) {
        case ncclSuccess: return "no error";
        case ncclSystemError: return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
        case ncclInvalidArgument: return "invalid argument (run with NCCL_DEBUG=WARN for details)";
        case ncclInvalidUsage: return "invalid usage (run with NCCL_DEBUG=WARN for details)";
        case ncclRemoteError: return "remote process exited or there was a network error";
        case ncclInProgress: return "NCCL operation in progress";
        default: return "unknown result code";
    }
}

/* ---- messages ---- */

API ncclResult_t ncclGroupStart(void) {
    if (depth++ == 0) collecting = group_new();
    return ncclSuccess;
}

API ncclResult_t ncclGroupEnd(void) {
    if (depth == 0) return ncclInvalidUsage;
    if (--depth > 0) return ncclSuccess;
    sim_group *group = collecting;
    collecting = NULL;
    return start(group);
}

static ncclResult_t add_message(bool sending, const void *data, size_t count, ncclDataType_t type, int peer,
                                ncclComm_t comm, cudaStream_t stream) {
    size_t bytes = count * (type == ncclFloat32 ? sizeof(float) : 1);
    if (!comm->joined || comm->delay > 0 || comm->waiting != NULL || comm->leaving)
        sim_fault("rank %d uses its communicator before it has settled", comm->rank);
    if (peer < 0 || peer >= comm->size || (type != ncclInt8 && type != ncclFloat32)) return ncclInvalidArgument;
    if (sim_device_room(data) < bytes) sim_fault("rank %d: a message is not in device memory", comm->rank);
    check_registered(comm, data, bytes);
    sim_message message = {.sending = sending, .peer = peer, .data = (char *)data, .bytes = bytes};
    if (depth == 0) sim_fault("a message outside of a group");
    group_add(collecting, message, stream, comm);
    if (sending && comm->rank == 0 && comm->groups == 1 && sim_planted("bucket")) /* group 1 tried the links */
        group_add(collecting, message, stream, comm);
    return ncclSuccess;
}

API ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                          cudaStream_t stream) {
    return add_message(true, data, count, type, peer, comm, stream);
}

API ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                          cudaStream_t stream) {
    return add_message(false, data, count, type, peer, comm, stream);
}

/* Everybody's vector goes to everybody. */
API ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    if (from != to || type != ncclFloat32 || op != ncclSum || depth > 0) return ncclInvalidArgument;
    ncclGroupStart();
    sim_group *group = collecting;
    group->terms = calloc((size_t)comm->size, sizeof *group->terms);
    group->sum = to;
    group->elements = count;
    for (int rank = 0; rank < comm->size; rank++) {
        if (rank == comm->rank) continue;
        ncclResult_t code = add_message(true, to, count, type, rank, comm, stream);
        if (code != ncclSuccess) return code;
        group->terms[rank] = malloc((count + 1) * sizeof(float));
        group_add(group,
                  (sim_message){.peer = rank, .data = (char *)group->terms[rank], .bytes = count * sizeof(float)},
                  stream, comm);
    }
    return ncclGroupEnd();
}
