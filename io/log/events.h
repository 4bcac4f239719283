/* TensorBoard event files: TFRecord framing (masked CRC-32C) of Event messages. */
#ifndef LK_IO_LOG_EVENTS_H
#define LK_IO_LOG_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct lk_events lk_events;
/* Creates folder/events.out.tfevents.TIME.HOST. Owner: the caller. Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_events_create(lk_events **out, const char *folder, lk_error *err);
void lk_events_free(lk_events *events); /* flushes and closes */
LK_MUST_CHECK lk_status lk_events_scalar(lk_events *events, const char *tag, int64_t step, double value, lk_error *err);
/* A picture as an encoded file. png: `size` bytes, an image of width x height pixels in RGB; borrowed. */
LK_MUST_CHECK lk_status lk_events_image(lk_events *events, const char *tag, int64_t step, const uint8_t *png,
                                        size_t size, int32_t width, int32_t height, lk_error *err);
LK_MUST_CHECK lk_status lk_events_flush(lk_events *events, lk_error *err);

#endif
