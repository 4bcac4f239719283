/* The microbatch that comes next, on its way to the device while the present one is computed, across the boundary of
 * updates too: two places for pixels on the device, and a stream of copies. For one lane, which takes the microbatches
 * in the loader's order. Not thread-safe. */
#ifndef LK_TRAIN_AHEAD_H
#define LK_TRAIN_AHEAD_H

#include "device/device.h"
#include "io/data/loader.h"

typedef struct lk_ahead lk_ahead;

/* bytes: pixels of one microbatch, padding rows included. The loader, whose pixels lie in the device's host_alloc, and
 * the device are borrowed. Owner: the caller, with lk_ahead_free, before the loader is freed. Errors: LK_ERR_MEMORY,
 * LK_ERR_DEVICE. */
LK_MUST_CHECK lk_status lk_ahead_create(lk_ahead **out, lk_device *device, lk_loader *loader, int64_t bytes,
                                        lk_error *err);
/* Waits for the copies, and gives back what nobody took. NULL is accepted. */
void lk_ahead_free(lk_ahead *ahead);

/* So many more microbatches in the loader's queue are the taker's: no others are taken ahead. */
void lk_ahead_expect(lk_ahead *ahead, int64_t count);

/* Starts the copy of the next microbatch if the loader has it decoded and none is under way yet. Does not block. */
LK_MUST_CHECK lk_status lk_ahead_poll(lk_ahead *ahead, lk_error *err);
/* The next microbatch, and its pixels on the device, complete for what the stream is given from now on; waits until it
 * is decoded. The caller releases it to the loader when the stream has read the pixels. Errors: those of
 * lk_loader_next. */
LK_MUST_CHECK lk_status lk_ahead_take(lk_ahead *ahead, lk_stream *stream, lk_microbatch *batch, const void **pixels,
                                      lk_error *err);
/* The stream was given all that reads these pixels: they may be overwritten when it has done it. */
LK_MUST_CHECK lk_status lk_ahead_used(lk_ahead *ahead, lk_stream *stream, const void *pixels, lk_error *err);

#endif
