#include "io/log/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/log/crc32c.h"
#include "io/model/atomic.h"
#include "proto/tensorboard.pb-c.h"

struct lk_events {
    int fd;
    char *path;
    int64_t written;        /* bytes in the file */
    unsigned char *pending; /* records not written yet */
    size_t pending_size, pending_capacity;
};

#define FLUSH_BYTES 65536

static void put_u32(unsigned char *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(value >> (8 * i));
}

/* A TFRecord: length, its checksum, the message, its checksum. */
static lk_status append(lk_events *events, const Tensorboard__Event *event, lk_error *err) {
    size_t size = tensorboard__event__get_packed_size(event);
    size_t needed = events->pending_size + size + 16;
    LK_RETURN_IF(lk_grow((void **)&events->pending, &events->pending_capacity, needed, 1, "TensorBoard events", err));
    unsigned char *record = events->pending + events->pending_size;
    put_u32(record, (uint32_t)size);
    put_u32(record + 4, (uint32_t)((uint64_t)size >> 32));
    put_u32(record + 8, lk_crc32c_masked(record, 8));
    tensorboard__event__pack(event, record + 12);
    put_u32(record + 12 + size, lk_crc32c_masked(record + 12, size));
    events->pending_size = needed;
    return events->pending_size < FLUSH_BYTES ? LK_OK : lk_events_flush(events, err);
}

static Tensorboard__Event make_event(void) {
    Tensorboard__Event event = TENSORBOARD__EVENT__INIT;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    event.has_wall_time = 1;
    event.wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    return event;
}

static lk_status create_file(lk_events *events, const char *folder, lk_error *err) {
    char host[256] = "localhost";
    (void)gethostname(host, sizeof host - 1);
    /* A run that stops and goes on within a second must not overwrite its first file. */
    for (int again = 0; again < 1000; again++) {
        lk_free(events->path);
        LK_RETURN_IF(lk_format(&events->path, err, "%s/events.out.tfevents.%010lld.%s.%ld.%d", folder,
                               (long long)time(NULL), host, (long)getpid(), again));
        events->fd = open(events->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (events->fd >= 0 || errno != EEXIST) break;
    }
    if (events->fd < 0) return lk_fail_errno(err, "create", events->path);
    return LK_OK;
}

lk_status lk_events_create(lk_events **out, const char *folder, lk_error *err) {
    *out = NULL;
    lk_events *events = NULL;
    LK_RETURN_IF(LK_NEW(&events, 1, "TensorBoard events", err));
    events->fd = -1;
    lk_status status = LK_OK;
    LK_TRY(create_file(events, folder, err));
    Tensorboard__Event event = make_event();
    event.file_version = (char[]){"brain.Event:2"};
    LK_TRY(append(events, &event, err));
    LK_TRY(lk_events_flush(events, err));
    *out = events;
    events = NULL;
out:
    lk_events_free(events);
    return status;
}

void lk_events_free(lk_events *events) {
    if (events == NULL) return;
    if (events->fd >= 0) {
        lk_error ignored = {0}; /* a caller that wants to know flushes first */
        (void)!lk_events_flush(events, &ignored);
        close(events->fd);
    }
    lk_free(events->pending);
    lk_free(events->path);
    lk_free(events);
}

static lk_status append_value(lk_events *events, Tensorboard__Summary__Value *value, const char *tag, int64_t step,
                              lk_error *err) {
    value->tag = (char *)(uintptr_t)tag; /* packing only reads it */
    Tensorboard__Summary__Value *values[] = {value};
    Tensorboard__Summary summary = TENSORBOARD__SUMMARY__INIT;
    summary.n_value = 1;
    summary.value = values;
    Tensorboard__Event event = make_event();
    event.has_step = 1;
    event.step = step;
    event.summary = &summary;
    return append(events, &event, err);
}

lk_status lk_events_scalar(lk_events *events, const char *tag, int64_t step, double value, lk_error *err) {
    Tensorboard__Summary__Value scalar = TENSORBOARD__SUMMARY__VALUE__INIT;
    scalar.has_simple_value = 1;
    scalar.simple_value = (float)value;
    return append_value(events, &scalar, tag, step, err);
}

lk_status lk_events_image(lk_events *events, const char *tag, int64_t step, const uint8_t *png, size_t size,
                          int32_t width, int32_t height, lk_error *err) {
    enum { RGB = 3 };
    Tensorboard__Summary__Image image = TENSORBOARD__SUMMARY__IMAGE__INIT;
    image.has_height = image.has_width = image.has_colorspace = image.has_encoded_image_string = 1;
    image.height = height;
    image.width = width;
    image.colorspace = RGB;
    image.encoded_image_string.data = (uint8_t *)(uintptr_t)png; /* packing only reads it */
    image.encoded_image_string.len = size;
    Tensorboard__Summary__Value value = TENSORBOARD__SUMMARY__VALUE__INIT;
    value.image = &image;
    return append_value(events, &value, tag, step, err);
}

/* A write that fails half way leaves the file's end at the last whole record, and the records pending. */
lk_status lk_events_flush(lk_events *events, lk_error *err) {
    if (events->pending_size == 0) return LK_OK;
    lk_status status =
        lk_write_at(events->fd, events->pending, events->pending_size, events->written, events->path, err);
    if (status != LK_OK) {
        (void)!ftruncate(events->fd, events->written);
        return status;
    }
    events->written += (int64_t)events->pending_size;
    events->pending_size = 0;
    return LK_OK;
}
