/* Device memory that shows misuse: a pattern before and behind, and copies of what was sent and what came back. */
#ifndef LK_TESTS_OPS_BUFFER_H
#define LK_TESTS_OPS_BUFFER_H

#include "device/device.h"

#define OP_GUARD 64 /* bytes of pattern on either side; keeps LK_ALIGNMENT */

/* All zero: there is no such buffer, and every function below does nothing. */
typedef struct op_buffer {
    const char *name;
    int64_t bytes;
    char *device; /* guard, bytes, guard */
    char *sent;   /* what was uploaded last, on the host, guards included */
    char *seen;   /* what was downloaded last, on the host, guards included */
} op_buffer;

/* bytes 0 leaves it all zero. Owner: the caller, with op_buffer_free, also after an error. */
LK_MUST_CHECK lk_status op_buffer_create(op_buffer *b, lk_device *device, const char *name, int64_t bytes,
                                         lk_error *err);
void op_buffer_free(op_buffer *b, lk_device *device);

/* Where the op's part begins: on the device (NULL: no buffer), in `sent`, in `seen`. */
char *op_buffer_data(const op_buffer *b);
static inline char *op_buffer_sent(const op_buffer *b) { return b->sent + OP_GUARD; }
static inline char *op_buffer_seen(const op_buffer *b) { return b->seen + OP_GUARD; }

/* Uploads `sent`, with fresh guards. */
LK_MUST_CHECK lk_status op_buffer_send(op_buffer *b, lk_device *device, lk_error *err);
/* Makes the contents worthless, as a plan that has given the memory to others would. */
LK_MUST_CHECK lk_status op_buffer_spoil(op_buffer *b, lk_device *device, uint8_t fill, lk_error *err);
/* Downloads into `seen`. Errors: LK_ERR_NUMERIC where a guard was written. */
LK_MUST_CHECK lk_status op_buffer_receive(op_buffer *b, lk_device *device, lk_error *err);
/* The same for what an op may only read. Errors: LK_ERR_NUMERIC where a byte changed. */
LK_MUST_CHECK lk_status op_buffer_receive_unchanged(op_buffer *b, lk_device *device, lk_error *err);
/* Takes what was received as what was sent. */
void op_buffer_accept(op_buffer *b);

#endif
