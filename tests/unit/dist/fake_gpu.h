/* Device memory and a transport between threads, for tests of what sums there: memory is the host's, everything is done
 * at once, and messages go through the loopback communicator. */
#ifndef LK_TEST_FAKE_GPU_H
#define LK_TEST_FAKE_GPU_H

#include <stdlib.h>
#include <string.h>

#include "dist/comm_impl.h"
#include "dist/device_comm.h"

#define FAKE_MESSAGES 256

struct lk_stream {
    int holds; /* event_hold calls */
};

struct lk_event {
    lk_stream *recorded; /* where; NULL: not yet */
};

/* ---- device ---- */

static inline lk_status fake_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    (void)device, (void)what, (void)err;
    *out = calloc(1, (size_t)bytes + 1);
    return LK_OK;
}

static inline void fake_release(lk_device *device, void *p) {
    (void)device;
    free(p);
}

static inline lk_status fake_upload(lk_device *device, void *to, const void *from, int64_t bytes, lk_error *err) {
    (void)device, (void)err;
    memcpy(to, from, (size_t)bytes);
    return LK_OK;
}

static inline lk_status fake_stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    (void)device, (void)err;
    *out = calloc(1, sizeof **out);
    return LK_OK;
}

static inline void fake_stream_free(lk_device *device, lk_stream *stream) {
    (void)device;
    free(stream);
}

static inline lk_status fake_event_create(lk_device *device, lk_event **out, lk_error *err) {
    (void)device, (void)err;
    *out = calloc(1, sizeof **out);
    return LK_OK;
}

static inline void fake_event_free(lk_device *device, lk_event *event) {
    (void)device;
    free(event);
}

static inline lk_status fake_event_record(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err) {
    (void)device, (void)err;
    event->recorded = stream;
    return LK_OK;
}

static inline lk_status fake_event_hold(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err) {
    (void)device, (void)err;
    stream->holds += event->recorded != NULL && event->recorded != stream;
    return LK_OK;
}

static inline lk_status fake_done(lk_device *device, lk_stream *stream, bool *done, lk_error *err) {
    (void)device, (void)stream, (void)err;
    *done = true;
    return LK_OK;
}

static inline void *fake_handle(const lk_stream *stream) { return (void *)stream; }

static inline lk_status fake_add(lk_device *device, lk_stream *stream, void *sum, const void *x, int64_t count,
                                 lk_error *err) {
    (void)stream, (void)err;
    for (int64_t i = 0; i < count; i++)
        if (device->master == LK_F32)
            ((float *)sum)[i] += ((const float *)x)[i];
        else
            ((double *)sum)[i] += ((const double *)x)[i];
    return LK_OK;
}

static inline lk_device fake_device(lk_dtype master) {
    return (lk_device){.name = "fake",
                       .master = master,
                       .alloc = fake_alloc,
                       .release = fake_release,
                       .upload = fake_upload,
                       .download = fake_upload,
                       .copy_stream_create = fake_stream_create,
                       .stream_free = fake_stream_free,
                       .event_create = fake_event_create,
                       .event_free = fake_event_free,
                       .event_record = fake_event_record,
                       .event_hold = fake_event_hold,
                       .stream_done = fake_done,
                       .stream_handle = fake_handle,
                       .slab_add = fake_add};
}

/* ---- transport ---- */

typedef enum { FAKE_WHOLE, FAKE_FAILS, FAKE_MIXES_UP } fake_fault;

typedef struct fake_link {
    lk_transport base;
    lk_comm *comm;
    lk_request *requests[FAKE_MESSAGES];
    int count;
    bool grouped, aborted, left;
    fake_fault fault;
} fake_link;

static inline fake_link *fake_of(lk_transport *transport) { return (fake_link *)transport; }

static inline lk_status fake_make_id(lk_transport *transport, char id[LK_TRANSPORT_ID], lk_error *err) {
    (void)transport, (void)err;
    memset(id, 7, LK_TRANSPORT_ID);
    return LK_OK;
}

static inline lk_status fake_join(lk_transport *transport, const char id[LK_TRANSPORT_ID], int rank, int size,
                                  lk_error *err) {
    fake_link *link = fake_of(transport);
    if (id[LK_TRANSPORT_ID - 1] != 7 || rank != link->comm->rank || size != link->comm->size)
        return lk_fail(err, LK_ERR_COMM, "the identifier did not arrive");
    return LK_OK;
}

static inline lk_status fake_poll(lk_transport *transport, bool *settled, lk_error *err) {
    *settled = true;
    if (fake_of(transport)->fault == FAKE_FAILS) return lk_fail(err, LK_ERR_COMM, "a cable was pulled");
    return LK_OK;
}

static inline lk_status fake_group_begin(lk_transport *transport, lk_error *err) {
    fake_link *link = fake_of(transport);
    if (link->grouped || link->aborted) return lk_fail(err, LK_ERR_INTERNAL, "a group in a group, or after the end");
    link->grouped = true;
    return LK_OK;
}

static inline lk_status fake_link_send(lk_transport *transport, const void *data, int64_t bytes, int to, void *stream,
                                       lk_error *err) {
    fake_link *link = fake_of(transport);
    if (stream == NULL || !link->grouped) return lk_fail(err, LK_ERR_INTERNAL, "a message outside of a group");
    if (link->fault == FAKE_MIXES_UP) data = "\1\2\3\4\5\6\7";
    return lk_comm_send(link->comm, data, bytes, to, 5, &link->requests[link->count++], err);
}

static inline lk_status fake_link_receive(lk_transport *transport, void *data, int64_t bytes, int from, void *stream,
                                          lk_error *err) {
    fake_link *link = fake_of(transport);
    if (stream == NULL || !link->grouped) return lk_fail(err, LK_ERR_INTERNAL, "a message outside of a group");
    return lk_comm_receive(link->comm, data, bytes, from, 5, &link->requests[link->count++], err);
}

/* All at once: a message moves when its receiver looks. */
static inline lk_status fake_step(void *context, bool *done, bool *moved, lk_error *err) {
    fake_link *link = (fake_link *)context;
    (void)moved;
    *done = true;
    for (int i = 0; i < link->count; i++) {
        bool over = true;
        LK_RETURN_IF(lk_comm_test(link->comm, &link->requests[i], &over, err));
        *done = *done && over;
    }
    return LK_OK;
}

static inline lk_status fake_group_end(lk_transport *transport, lk_error *err) {
    fake_link *link = fake_of(transport);
    LK_RETURN_IF(lk_comm_wait_for(link->comm, fake_step, link, 1e-3, err));
    link->count = 0;
    link->grouped = false;
    return LK_OK;
}

static inline lk_status fake_leave(lk_transport *transport, lk_error *err) {
    (void)err;
    fake_of(transport)->left = true;
    return LK_OK;
}

static inline void fake_abort(lk_transport *transport) { fake_of(transport)->aborted = true; }
static inline void fake_free(lk_transport *transport) { free(transport); }

static inline lk_transport *fake_transport(lk_comm *comm, fake_fault fault) {
    fake_link *link = calloc(1, sizeof *link);
    link->comm = comm;
    link->fault = fault;
    link->base = (lk_transport){.name = "fake link",
                                .make_id = fake_make_id,
                                .join = fake_join,
                                .poll = fake_poll,
                                .group_begin = fake_group_begin,
                                .send = fake_link_send,
                                .receive = fake_link_receive,
                                .group_end = fake_group_end,
                                .leave = fake_leave,
                                .abort = fake_abort,
                                .free = fake_free};
    return &link->base;
}

#endif
