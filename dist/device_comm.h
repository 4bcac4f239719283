/* Communicator of device memory: moves slices of gradients between GPUs on a stream of its own, while lanes compute.
 * Control (agreement, time limits, who is dead) stays on the communicator that it is made from. */
#ifndef LK_DIST_DEVICE_COMM_H
#define LK_DIST_DEVICE_COMM_H

#include "device/device.h"
#include "dist/comm.h"
#include "dist/transport.h"

#define LK_DEVICE_COMM_AREAS 4 /* of memory made known to the transport */

typedef struct lk_device_comm {
    lk_comm *control;                     /* borrowed */
    lk_device *device;                    /* borrowed */
    lk_stream *stream;                    /* own: transfers and sums */
    lk_event *complete;                   /* own: what the stream waits for */
    lk_transport *transport;              /* own */
    void *handle;                         /* of the stream */
    void *enlisted[LK_DEVICE_COMM_AREAS]; /* handles of the transport's */
    int areas;
    bool broken;
} lk_device_comm;

/* Over NCCL, whose module is loaded here. Collective; every rank's device is a GPU of its own, but for those that
 * `shared` says share one. Owner: the caller, with lk_device_comm_free. Errors (agreed by all ranks):
 * LK_ERR_UNSUPPORTED for a build without NCCL or an NCCL older than 2.18 (shared: 2.30); LK_ERR_COMM where the ranks do
 * not reach each other within control->timeout. */
LK_MUST_CHECK lk_status lk_device_comm_create(lk_device_comm **out, lk_comm *control, lk_device *device, bool shared,
                                              lk_error *err);
/* The same over a transport, which it takes over also on failure. Collective. */
LK_MUST_CHECK lk_status lk_device_comm_connect(lk_device_comm **out, lk_comm *control, lk_device *device,
                                               lk_transport *transport, lk_error *err);
/* Ends well where nothing failed (Collective then); else drops what is under way. NULL is accepted. */
void lk_device_comm_free(lk_device_comm *comm);

/* Memory that messages come from and go to: all of it, and before the first of them. */
typedef struct lk_device_area {
    void *data;
    int64_t bytes;
} lk_device_area;

/* Makes it known to the transport, which can then do without copies; on all ranks, or where one cannot, on none. It
 * must outlive the communicator. Collective. Errors: LK_ERR_COMM. */
LK_MUST_CHECK lk_status lk_device_comm_enlist(lk_device_comm *comm, const lk_device_area *areas, int count,
                                              lk_error *err);

/* What is enqueued from now on waits for all that `stream` was given so far. Not Collective. Errors: LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_device_comm_follow(lk_device_comm *comm, lk_stream *stream, lk_error *err);

/* Messages between begin and end start together on the stream; end returns when they are enqueued, which may wait for
 * the peers. Between two ranks messages are matched in order and have equal bytes. Collective, with the peers named.
 * Errors of all below: LK_ERR_COMM naming ranks that are dead or missing, or with the library's words; afterwards
 * nothing works any more: call lk_comm_abort. */
LK_MUST_CHECK lk_status lk_device_comm_begin(lk_device_comm *comm, lk_error *err);
LK_MUST_CHECK lk_status lk_device_comm_send(lk_device_comm *comm, const void *data, int64_t bytes, int to,
                                            lk_error *err);
LK_MUST_CHECK lk_status lk_device_comm_receive(lk_device_comm *comm, void *data, int64_t bytes, int from,
                                               lk_error *err);
LK_MUST_CHECK lk_status lk_device_comm_end(lk_device_comm *comm, lk_error *err);
/* data = the sum over all ranks of `count` float32 numbers, in the library's order. Enqueues. Collective. */
LK_MUST_CHECK lk_status lk_device_comm_sum_ring(lk_device_comm *comm, float *data, int64_t count, lk_error *err);

/* Has anything failed? Does not wait. Not Collective. */
LK_MUST_CHECK lk_status lk_device_comm_poll(lk_device_comm *comm, lk_error *err);
/* Waits until the stream has passed all. longest_sleep: as lk_comm_wait_for. Collective, with the peers of what is
 * enqueued. */
LK_MUST_CHECK lk_status lk_device_comm_wait(lk_device_comm *comm, double longest_sleep, lk_error *err);

#endif
