#include "device/host.h"

#include <inttypes.h>
#include <string.h>

#include "core/memory.h"

static lk_status host_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    (void)device;
    *out = NULL;
    if (bytes < 0) return lk_fail(err, LK_ERR_INTERNAL, "%s asks for %" PRId64 " bytes", what, bytes);
    return lk_alloc(out, (size_t)bytes, 1, what, err);
}

static void host_release(lk_device *device, void *p) {
    (void)device;
    lk_free(p);
}

static lk_status copy_stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    (void)device, (void)err;
    *out = NULL;
    return LK_OK;
}

static lk_status copy(lk_device *device, lk_stream *stream, void *to, const void *from, int64_t bytes, lk_error *err) {
    (void)device, (void)stream, (void)err;
    if (bytes > 0) memcpy(to, from, (size_t)bytes);
    return LK_OK;
}

static lk_status event_create(lk_device *device, lk_event **out, lk_error *err) {
    (void)device, (void)err;
    *out = NULL;
    return LK_OK;
}

static void event_free(lk_device *device, lk_event *event) { (void)device, (void)event; }

static lk_status event_with_stream(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err) {
    (void)device, (void)event, (void)stream, (void)err;
    return LK_OK;
}

static lk_status event_wait(lk_device *device, lk_event *event, lk_error *err) {
    (void)device, (void)event, (void)err;
    return LK_OK;
}

static void gather_open(lk_device *device, lk_stream *stream) { (void)device, (void)stream; }

static lk_status gather_close(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device, (void)stream, (void)err;
    return LK_OK;
}

static void sequence_open(lk_device *device, lk_stream *stream, bool capture) {
    (void)device, (void)stream, (void)capture;
}

void lk_device_host_install(lk_device *device) {
    device->host_alloc = host_alloc;
    device->host_release = host_release;
    device->copy_stream_create = copy_stream_create;
    device->stream_send = copy;
    device->stream_fetch = copy;
    device->event_create = event_create;
    device->event_free = event_free;
    device->event_record = event_with_stream;
    device->event_hold = event_with_stream;
    device->event_wait = event_wait;
    device->gather_open = gather_open;
    device->gather_close = gather_close;
    device->sequence_open = sequence_open;
    device->sequence_close = gather_close;
}
