#include "train/ahead.h"

#include "core/memory.h"

#define PLACES 2 /* one is read while the other is filled */

typedef struct place {
    void *pixels;
    lk_event *sent, *used;
} place;

struct lk_ahead {
    lk_device *device;
    lk_loader *loader;
    lk_stream *copies;
    place places[PLACES];
    int next; /* the place of the microbatch under way, or that is filled next */
    int64_t bytes, expected;
    lk_microbatch batch; /* under way; owner NULL: none is */
};

lk_status lk_ahead_create(lk_ahead **out, lk_device *device, lk_loader *loader, int64_t bytes, lk_error *err) {
    lk_status status = LK_OK;
    lk_ahead *ahead = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&ahead, 1, "the microbatch ahead", err));
    ahead->device = device;
    ahead->loader = loader;
    ahead->bytes = bytes;
    LK_TRY(device->copy_stream_create(device, &ahead->copies, err));
    for (int i = 0; i < PLACES; i++) {
        LK_TRY(device->alloc(device, &ahead->places[i].pixels, bytes, "the pixels of a microbatch", err));
        LK_TRY(device->event_create(device, &ahead->places[i].sent, err));
        LK_TRY(device->event_create(device, &ahead->places[i].used, err));
    }
    *out = ahead;
    ahead = NULL;
out:
    lk_ahead_free(ahead);
    return status;
}

void lk_ahead_free(lk_ahead *ahead) {
    if (ahead == NULL) return;
    lk_device *device = ahead->device;
    if (ahead->copies != NULL) (void)!device->synchronize(device, ahead->copies, NULL);
    lk_loader_release(ahead->loader, &ahead->batch);
    for (int i = 0; i < PLACES; i++) {
        if (ahead->places[i].pixels != NULL) device->release(device, ahead->places[i].pixels);
        device->event_free(device, ahead->places[i].sent);
        device->event_free(device, ahead->places[i].used);
    }
    device->stream_free(device, ahead->copies);
    lk_free(ahead);
}

void lk_ahead_expect(lk_ahead *ahead, int64_t count) { ahead->expected += count; }

/* What was taken from the loader leaves for its place, when nobody reads that any more. */
static lk_status send(lk_ahead *ahead, lk_error *err) {
    lk_device *device = ahead->device;
    place *to = &ahead->places[ahead->next];
    ahead->expected--;
    LK_RETURN_IF(device->event_hold(device, to->used, ahead->copies, err));
    LK_RETURN_IF(device->stream_send(device, ahead->copies, to->pixels, ahead->batch.images, ahead->bytes, err));
    return device->event_record(device, to->sent, ahead->copies, err);
}

lk_status lk_ahead_poll(lk_ahead *ahead, lk_error *err) {
    if (ahead->batch.owner != NULL || ahead->expected <= 0) return LK_OK;
    if (!lk_loader_try_next(ahead->loader, &ahead->batch)) return LK_OK;
    return send(ahead, err);
}

lk_status lk_ahead_take(lk_ahead *ahead, lk_stream *stream, lk_microbatch *batch, const void **pixels, lk_error *err) {
    lk_device *device = ahead->device;
    place *at = &ahead->places[ahead->next];
    if (ahead->batch.owner == NULL) {
        LK_RETURN_IF(lk_loader_next(ahead->loader, &ahead->batch, err));
        LK_RETURN_IF(send(ahead, err));
    }
    LK_RETURN_IF(device->event_hold(device, at->sent, stream, err));
    *batch = ahead->batch;
    *pixels = at->pixels;
    ahead->batch = (lk_microbatch){0};
    ahead->next = (ahead->next + 1) % PLACES;
    return LK_OK;
}

lk_status lk_ahead_used(lk_ahead *ahead, lk_stream *stream, const void *pixels, lk_error *err) {
    lk_device *device = ahead->device;
    for (int i = 0; i < PLACES; i++)
        if (ahead->places[i].pixels == pixels) return device->event_record(device, ahead->places[i].used, stream, err);
    return lk_fail(err, LK_ERR_INTERNAL, "pixels are given back that were not ahead");
}
