/* NCCL on one GPU: joining without blocking, groups of messages to itself, a sum of one, dropping what is under way,
 * and leaving. What several GPUs do, this cannot show. Run: gpu_nccl [MEGABYTES]. Prints what it found; status 1 where
 * anything is wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/module.h"
#include "device/device.h"
#include "dist/transport.h"

#define DEADLINE 60.0
#define ROUNDS 200

typedef struct check {
    lk_device *device;
    lk_stream *stream;
    void *handle;
    lk_transport *transport;
    int64_t count; /* numbers of a half; memory holds two */
    float *memory, *host;
} check;

static lk_status settle(check *c, lk_error *err) {
    double begun = lk_clock_seconds();
    bool settled = false;
    while (!settled) {
        LK_RETURN_IF(c->transport->poll(c->transport, &settled, err));
        if (lk_clock_seconds() - begun > DEADLINE) return lk_fail(err, LK_ERR_COMM, "nothing settles");
    }
    return LK_OK;
}

static lk_status drain(check *c, lk_error *err) {
    double begun = lk_clock_seconds();
    bool done = false;
    while (!done) {
        bool settled;
        LK_RETURN_IF(c->device->stream_done(c->device, c->stream, &done, err));
        LK_RETURN_IF(c->transport->poll(c->transport, &settled, err));
        if (lk_clock_seconds() - begun > DEADLINE) return lk_fail(err, LK_ERR_COMM, "the stream does not end");
    }
    return LK_OK;
}

static lk_status join(check *c, lk_error *err) {
    char id[LK_TRANSPORT_ID] = {0};
    double begun = lk_clock_seconds();
    LK_RETURN_IF(c->transport->make_id(c->transport, id, err));
    LK_RETURN_IF(c->transport->join(c->transport, id, 0, 1, err));
    double asked = lk_clock_seconds();
    LK_RETURN_IF(settle(c, err));
    printf("joined alone after %.3f s, of which the call took %.3f s\n", lk_clock_seconds() - begun, asked - begun);
    return LK_OK;
}

/* The first half to the second, in one group. */
static lk_status send_half(check *c, int64_t count, lk_error *err) {
    lk_transport *t = c->transport;
    int64_t bytes = count * (int64_t)sizeof(float);
    LK_RETURN_IF(t->group_begin(t, err));
    LK_RETURN_IF(t->send(t, c->memory, bytes, 0, c->handle, err));
    LK_RETURN_IF(t->receive(t, c->memory + c->count, bytes, 0, c->handle, err));
    LK_RETURN_IF(t->group_end(t, err));
    return settle(c, err);
}

static lk_status check_half(check *c, int first, const char *what, lk_error *err) {
    int64_t bytes = c->count * (int64_t)sizeof(float);
    LK_RETURN_IF(c->device->download(c->device, c->host, c->memory + c->count * first, bytes, err));
    for (int64_t i = 0; i < c->count; i++)
        if (!(c->host[i] == (float)(i % 1000003)))
            return lk_fail(err, LK_ERR_COMM, "%s: element %lld is %g", what, (long long)i, (double)c->host[i]);
    printf("%s: %lld numbers right\n", what, (long long)c->count);
    return LK_OK;
}

static lk_status messages(check *c, lk_error *err) {
    int64_t bytes = c->count * (int64_t)sizeof(float);
    for (int64_t i = 0; i < c->count; i++) c->host[i] = (float)(i % 1000003);
    LK_RETURN_IF(c->device->upload(c->device, c->memory, c->host, bytes, err));
    LK_RETURN_IF(send_half(c, c->count, err));
    LK_RETURN_IF(drain(c, err));
    LK_RETURN_IF(check_half(c, 1, "a message to itself", err));
    double begun = lk_clock_seconds();
    for (int i = 0; i < ROUNDS; i++) LK_RETURN_IF(send_half(c, 16, err));
    double called = lk_clock_seconds() - begun;
    LK_RETURN_IF(drain(c, err));
    double all = lk_clock_seconds() - begun;
    printf("a small group: %.1f us on the host until it is enqueued, %.1f us until it is done\n", called / ROUNDS * 1e6,
           all / ROUNDS * 1e6);
    begun = lk_clock_seconds();
    for (int i = 0; i < ROUNDS / 10; i++) LK_RETURN_IF(send_half(c, c->count, err));
    LK_RETURN_IF(drain(c, err));
    all = (lk_clock_seconds() - begun) * 10 / ROUNDS;
    printf("a group of %.1f MB: %.1f us, %.1f GB/s\n", (double)bytes / 1e6, all * 1e6, (double)bytes / all / 1e9);
    return LK_OK;
}

static lk_status ring(check *c, lk_error *err) {
    LK_RETURN_IF(c->transport->sum_ring(c->transport, c->memory, c->count, c->handle, err));
    LK_RETURN_IF(settle(c, err));
    LK_RETURN_IF(drain(c, err));
    return check_half(c, 0, "a sum over one rank", err);
}

static lk_status leave(check *c, lk_error *err) {
    double begun = lk_clock_seconds();
    LK_RETURN_IF(c->transport->leave(c->transport, err));
    LK_RETURN_IF(settle(c, err));
    c->transport->free(c->transport);
    c->transport = NULL;
    printf("left after %.3f s\n", lk_clock_seconds() - begun);
    return LK_OK;
}

/* What is on the stream is dropped, or ends, and the device goes on. */
static lk_status drop(check *c, lk_error *err) {
    for (int i = 0; i < ROUNDS / 10; i++) LK_RETURN_IF(send_half(c, c->count, err));
    double begun = lk_clock_seconds();
    c->transport->abort(c->transport);
    LK_RETURN_IF(drain(c, err));
    printf("dropped, and the stream ended, after %.3f s\n", lk_clock_seconds() - begun);
    LK_RETURN_IF(c->device->slab_add(c->device, c->stream, c->memory, c->memory, c->count, err));
    return drain(c, err);
}

static lk_status create_transport(check *c, lk_error *err) {
    lk_transport_create_function create;
    LK_RETURN_IF(lk_module_find((void **)&create, "nccl", "lk_transport_nccl_create", "NCCL", "or do without", err));
    return create(&c->transport, false, err);
}

static lk_status open_all(check *c, lk_error *err) {
    int64_t bytes = 2 * c->count * (int64_t)sizeof(float);
    LK_RETURN_IF(lk_device_create(&c->device, "cuda", 1, err));
    LK_RETURN_IF(LK_NEW(&c->host, c->count, "numbers", err));
    LK_RETURN_IF(c->device->alloc(c->device, (void **)&c->memory, bytes, "numbers", err));
    LK_RETURN_IF(c->device->copy_stream_create(c->device, &c->stream, err));
    c->handle = c->device->stream_handle(c->stream);
    LK_RETURN_IF(create_transport(c, err));
    printf("%s on %s\n", c->transport->name, c->device->identity(c->device));
    return LK_OK;
}

static lk_status run(check *c, lk_error *err) {
    LK_RETURN_IF(open_all(c, err));
    LK_RETURN_IF(join(c, err));
    LK_RETURN_IF(messages(c, err));
    LK_RETURN_IF(ring(c, err));
    LK_RETURN_IF(leave(c, err));
    LK_RETURN_IF(create_transport(c, err));
    LK_RETURN_IF(join(c, err));
    return drop(c, err);
}

int main(int argc, char **argv) {
    lk_error err = {0};
    check c = {.count = (argc > 1 ? atoll(argv[1]) : 16) << 18};
    lk_status status = run(&c, &err);
    if (status != LK_OK) fprintf(stderr, "FAILED: %s\n", err.message);
    if (c.transport != NULL) c.transport->abort(c.transport);
    if (c.transport != NULL) c.transport->free(c.transport);
    if (c.stream != NULL) c.device->stream_free(c.device, c.stream);
    if (c.memory != NULL) c.device->release(c.device, c.memory);
    lk_device_free(c.device);
    lk_free(c.host);
    if (status == LK_OK) printf("NCCL passed\n");
    return status == LK_OK ? 0 : 1;
}
