/* What moves bytes between the memories of devices: supplied by a module (lockstep_nccl.so, dist/nccl) or by a test.
 * Only device_comm.c calls it; one thread. Every function but poll, abort and free starts something and returns at
 * once; poll tells when it is settled: joined, enqueued on the stream, or left. */
#ifndef LK_DIST_TRANSPORT_H
#define LK_DIST_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

#define LK_TRANSPORT_ID 128 /* bytes */

typedef struct lk_transport lk_transport;

/* Errors of all: LK_ERR_COMM with the library's words; LK_ERR_MEMORY. */
struct lk_transport {
    char name[48]; /* "NCCL 2.28.9" */
    void *impl;
    /* What tells this group of ranks from others: made by one, passed to join by all. Not Collective. */
    lk_status (*make_id)(lk_transport *transport, char id[LK_TRANSPORT_ID], lk_error *err);
    /* On the GPU that is current. Collective. */
    lk_status (*join)(lk_transport *transport, const char id[LK_TRANSPORT_ID], int rank, int size, lk_error *err);
    /* Has anything failed, here or (if it is known) elsewhere; is nothing in progress but what streams hold? Not
     * Collective. */
    lk_status (*poll)(lk_transport *transport, bool *settled, lk_error *err);
    /* Makes memory known that messages come from and go to, so that they need no copies between; `*handle` NULL: the
     * library has no use for it. forget ends that, before leave. Where one rank's messages are of such memory, all
     * ranks' are. Not Collective. */
    lk_status (*enlist)(lk_transport *transport, void *data, int64_t bytes, void **handle, lk_error *err);
    void (*forget)(lk_transport *transport, void *handle);
    /* Messages between begin and end start together; between two ranks they are matched in order, and both ends give
     * the same bytes. stream: lk_device.stream_handle. Data: device memory; it must not change before the stream has
     * passed. Collective, with the peers named. */
    lk_status (*group_begin)(lk_transport *transport, lk_error *err);
    lk_status (*send)(lk_transport *transport, const void *data, int64_t bytes, int to, void *stream, lk_error *err);
    lk_status (*receive)(lk_transport *transport, void *data, int64_t bytes, int from, void *stream, lk_error *err);
    lk_status (*group_end)(lk_transport *transport, lk_error *err);
    /* data = the sum over the ranks of `count` float32 numbers, in an order of the library's choice. Collective. */
    lk_status (*sum_ring)(lk_transport *transport, float *data, int64_t count, void *stream, lk_error *err);
    /* Ends well: nothing is on any stream. Collective. */
    lk_status (*leave)(lk_transport *transport, lk_error *err);
    /* Drops what is under way, so that streams end. Not Collective. */
    void (*abort)(lk_transport *transport);
    /* After leave has settled, or abort. */
    void (*free)(lk_transport *transport);
};

/* What lockstep_nccl.so exports. shared: several ranks compute on one GPU. Owner: the caller, with its free. Errors:
 * LK_ERR_UNSUPPORTED for a library that is too old; LK_ERR_MEMORY. */
typedef lk_status (*lk_transport_create_function)(lk_transport **out, bool shared, lk_error *err);

#endif
