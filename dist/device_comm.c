#include "dist/device_comm.h"

#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/module.h"
#include "dist/comm_impl.h"

#define WAIT_SLEEP 1e-3
#define GRACE_SECONDS 1.0 /* for the control plane to name the rank whose end a library only hints at */
#define LEAVE_SECONDS 5.0 /* for a good end */

/* ---- waiting ---- */

typedef struct device_wait {
    lk_device_comm *comm;
    bool drain;     /* also until the stream has passed all */
    lk_error error; /* what failed, held back for the time of grace */
    lk_status failed;
    double failed_at;
} device_wait;

static lk_status look(device_wait *wait, bool *done, lk_error *err) {
    lk_device_comm *comm = wait->comm;
    bool settled = false;
    LK_RETURN_IF(comm->transport->poll(comm->transport, &settled, err));
    *done = settled;
    if (!settled || !wait->drain) return LK_OK;
    return comm->device->stream_done(comm->device, comm->stream, done, err);
}

/* After a failure: looks on for a moment, in which lk_comm_wait_for hears of ranks that are dead. */
static lk_status wait_step(void *context, bool *done, bool *moved, lk_error *err) {
    device_wait *wait = context;
    (void)moved;
    *done = false;
    if (wait->failed == LK_OK) {
        wait->failed = look(wait, done, &wait->error);
        wait->failed_at = lk_clock_seconds();
        if (wait->failed == LK_OK) return LK_OK;
    }
    if (lk_clock_seconds() - wait->failed_at < GRACE_SECONDS) return LK_OK;
    return lk_fail(err, wait->failed, "%s", wait->error.message);
}

static void break_off(lk_device_comm *comm) {
    if (!comm->broken) comm->transport->abort(comm->transport);
    comm->broken = true;
}

static lk_status wait_for(lk_device_comm *comm, bool drain, double longest_sleep, lk_error *err) {
    device_wait wait = {.comm = comm, .drain = drain};
    lk_status status = lk_comm_wait_for(comm->control, wait_step, &wait, longest_sleep, err);
    if (status != LK_OK) break_off(comm); /* streams would wait for ever, and freeing memory for them */
    return status;
}

/* A call that starts something. */
static lk_status started(lk_device_comm *comm, lk_status status) {
    if (status != LK_OK) break_off(comm);
    return status;
}

static lk_status check_whole(const lk_device_comm *comm, lk_error *err) {
    if (!comm->broken) return LK_OK;
    return lk_fail(err, LK_ERR_COMM, "no more gradients can travel: this run's communication failed before");
}

/* ---- memory ---- */

static void forget_all(lk_device_comm *comm) {
    for (int i = 0; i < comm->areas; i++) comm->transport->forget(comm->transport, comm->enlisted[i]);
    comm->areas = 0;
}

lk_status lk_device_comm_enlist(lk_device_comm *comm, const lk_device_area *areas, int count, lk_error *err) {
    int64_t lacking = comm->transport->enlist == NULL || count > LK_DEVICE_COMM_AREAS;
    LK_RETURN_IF(check_whole(comm, err));
    for (int i = 0; i < count && !lacking; i++) {
        void *handle = NULL;
        lk_status status = comm->transport->enlist(comm->transport, areas[i].data, areas[i].bytes, &handle, NULL);
        lacking = status != LK_OK || handle == NULL; /* it works without */
        if (!lacking) comm->enlisted[comm->areas++] = handle;
    }
    LK_RETURN_IF(lk_comm_max(comm->control, &lacking, err));
    if (lacking) forget_all(comm);
    return LK_OK;
}

/* ---- messages ---- */

lk_status lk_device_comm_follow(lk_device_comm *comm, lk_stream *stream, lk_error *err) {
    LK_RETURN_IF(comm->device->event_record(comm->device, comm->complete, stream, err));
    return comm->device->event_hold(comm->device, comm->complete, comm->stream, err);
}

lk_status lk_device_comm_begin(lk_device_comm *comm, lk_error *err) {
    LK_RETURN_IF(check_whole(comm, err));
    return started(comm, comm->transport->group_begin(comm->transport, err));
}

lk_status lk_device_comm_send(lk_device_comm *comm, const void *data, int64_t bytes, int to, lk_error *err) {
    return started(comm, comm->transport->send(comm->transport, data, bytes, to, comm->handle, err));
}

lk_status lk_device_comm_receive(lk_device_comm *comm, void *data, int64_t bytes, int from, lk_error *err) {
    return started(comm, comm->transport->receive(comm->transport, data, bytes, from, comm->handle, err));
}

lk_status lk_device_comm_end(lk_device_comm *comm, lk_error *err) {
    LK_RETURN_IF(started(comm, comm->transport->group_end(comm->transport, err)));
    return wait_for(comm, false, WAIT_SLEEP, err);
}

lk_status lk_device_comm_sum_ring(lk_device_comm *comm, float *data, int64_t count, lk_error *err) {
    LK_RETURN_IF(check_whole(comm, err));
    LK_RETURN_IF(started(comm, comm->transport->sum_ring(comm->transport, data, count, comm->handle, err)));
    return wait_for(comm, false, WAIT_SLEEP, err);
}

lk_status lk_device_comm_poll(lk_device_comm *comm, lk_error *err) {
    bool settled;
    LK_RETURN_IF(check_whole(comm, err));
    /* A failure is told by the next wait, which gives the control plane time to name the rank. */
    if (comm->transport->poll(comm->transport, &settled, NULL) == LK_OK) return LK_OK;
    return wait_for(comm, false, WAIT_SLEEP, err);
}

lk_status lk_device_comm_wait(lk_device_comm *comm, double longest_sleep, lk_error *err) {
    LK_RETURN_IF(check_whole(comm, err));
    return wait_for(comm, true, longest_sleep, err);
}

/* ---- creation ---- */

/* Every rank sends its number to every other: connections are made now, and a link that loses or mixes up bytes is
 * found before training. Shape of numbers and memory: (2, size), what is sent and what came. */
static lk_status exchange_numbers(lk_device_comm *comm, int64_t *numbers, int64_t *memory, lk_error *err) {
    int size = comm->control->size, self = comm->control->rank;
    int64_t one = sizeof *numbers;
    for (int peer = 0; peer < size; peer++) numbers[peer] = ((int64_t)self << 32) + peer;
    LK_RETURN_IF(comm->device->upload(comm->device, memory, numbers, 2 * size * one, err));
    LK_RETURN_IF(lk_device_comm_begin(comm, err));
    for (int peer = 0; peer < size; peer++) {
        if (peer == self) continue;
        LK_RETURN_IF(lk_device_comm_send(comm, memory + peer, one, peer, err));
        LK_RETURN_IF(lk_device_comm_receive(comm, memory + size + peer, one, peer, err));
    }
    LK_RETURN_IF(lk_device_comm_end(comm, err));
    LK_RETURN_IF(lk_device_comm_wait(comm, WAIT_SLEEP, err));
    LK_RETURN_IF(comm->device->download(comm->device, numbers, memory, 2 * size * one, err));
    for (int peer = 0; peer < size; peer++)
        if (peer != self && numbers[size + peer] != ((int64_t)peer << 32) + self)
            return lk_fail(err, LK_ERR_COMM,
                           "%s brought rank %d wrong bytes from rank %d (%s): check the link between their GPUs",
                           comm->transport->name, self, peer, comm->control->hosts[peer]);
    return LK_OK;
}

static lk_status try_links(lk_device_comm *comm, lk_error *err) {
    lk_status status;
    int64_t *numbers = NULL;
    void *memory = NULL;
    int64_t count = 2 * (int64_t)comm->control->size;
    LK_TRY(LK_NEW(&numbers, count, "a try of the links", err));
    LK_TRY(comm->device->alloc(comm->device, &memory, count * (int64_t)sizeof *numbers, "a try of the links", err));
    LK_TRY(exchange_numbers(comm, numbers, memory, err));
out:
    if (memory != NULL) comm->device->release(comm->device, memory);
    lk_free(numbers);
    return status;
}

/* The identifier from rank 0, and a stream: what can fail on one rank alone. */
static lk_status prepare(lk_device_comm *comm, char *id, lk_error *err) {
    LK_RETURN_IF(comm->device->copy_stream_create(comm->device, &comm->stream, err));
    LK_RETURN_IF(comm->device->event_create(comm->device, &comm->complete, err));
    comm->handle = comm->device->stream_handle(comm->stream);
    return comm->control->rank == 0 ? comm->transport->make_id(comm->transport, id, err) : LK_OK;
}

static lk_status join(lk_device_comm *comm, lk_error *err) {
    char id[LK_TRANSPORT_ID] = {0};
    lk_comm *control = comm->control;
    lk_comm_set_phase(control, "start of %s between the GPUs", comm->transport->name);
    LK_RETURN_IF(lk_comm_agree(control, prepare(comm, id, err), err));
    LK_RETURN_IF(lk_comm_broadcast(control, id, sizeof id, 0, err));
    LK_RETURN_IF(lk_comm_enter(control, "join of GPUs", 0, 0, err));
    LK_RETURN_IF(started(comm, comm->transport->join(comm->transport, id, control->rank, control->size, err)));
    LK_RETURN_IF(wait_for(comm, false, WAIT_SLEEP, err));
    LK_RETURN_IF(try_links(comm, err));
    lk_comm_leave(control, true);
    return LK_OK;
}

lk_status lk_device_comm_connect(lk_device_comm **out, lk_comm *control, lk_device *device, lk_transport *transport,
                                 lk_error *err) {
    lk_status status;
    lk_device_comm *comm = NULL;
    *out = NULL;
    status = LK_NEW(&comm, 1, "the communicator of GPUs", err);
    if (status != LK_OK) transport->free(transport);
    LK_RETURN_IF(status);
    *comm = (lk_device_comm){.control = control, .device = device, .transport = transport};
    LK_TRY(join(comm, err));
    *out = comm;
    return LK_OK;
out:
    break_off(comm);
    lk_device_comm_free(comm);
    return status;
}

static lk_status load(lk_transport **out, bool shared, lk_error *err) {
    lk_transport_create_function create;
    *out = NULL;
    LK_RETURN_IF(lk_module_find((void **)&create, "nccl", "lk_transport_nccl_create",
                                "NCCL, which several ranks on GPUs need,", "run one rank, or use device: cpu", err));
    return create(out, shared, err);
}

lk_status lk_device_comm_create(lk_device_comm **out, lk_comm *control, lk_device *device, bool shared, lk_error *err) {
    lk_transport *transport = NULL;
    *out = NULL;
    lk_status status = lk_comm_agree(control, load(&transport, shared, err), err);
    if (status == LK_OK)
        status = lk_comm_check_equal(control, transport->name, (int64_t)strlen(transport->name), "NCCL", err);
    if (status == LK_OK) return lk_device_comm_connect(out, control, device, transport, err);
    if (transport != NULL) transport->free(transport);
    return status;
}

/* Some libraries end together: everybody must be at it, but not for ever. */
static bool leave(lk_device_comm *comm) {
    bool settled = false;
    double end = lk_clock_seconds() + LEAVE_SECONDS;
    if (comm->transport->leave(comm->transport, NULL) != LK_OK) return false;
    while (!settled && lk_clock_seconds() < end) {
        if (comm->transport->poll(comm->transport, &settled, NULL) != LK_OK) return false;
        if (!settled) lk_comm_sleep(WAIT_SLEEP);
    }
    return settled;
}

void lk_device_comm_free(lk_device_comm *comm) {
    if (comm == NULL) return;
    bool control_broken = lk_comm_state_of(comm->control)->broken;
    if (!comm->broken && !control_broken) forget_all(comm);
    if (!comm->broken && (control_broken || !leave(comm))) break_off(comm);
    comm->transport->free(comm->transport);
    comm->device->event_free(comm->device, comm->complete);
    if (comm->stream != NULL) comm->device->stream_free(comm->device, comm->stream);
    lk_free(comm);
}
