#include "buffer.h"

#include <string.h>

#include "core/memory.h"

#define GUARD_BYTE 0xa5

_Static_assert(OP_GUARD % LK_ALIGNMENT == 0, "guards keep the alignment");

lk_status op_buffer_create(op_buffer *b, lk_device *device, const char *name, int64_t bytes, lk_error *err) {
    if (bytes == 0) return LK_OK;
    int64_t whole = bytes + 2 * OP_GUARD;
    b->name = name;
    LK_RETURN_IF(device->alloc(device, (void **)&b->device, whole, name, err));
    LK_RETURN_IF(LK_NEW(&b->sent, whole, name, err));
    LK_RETURN_IF(LK_NEW(&b->seen, whole, name, err));
    b->bytes = bytes;
    return LK_OK;
}

void op_buffer_free(op_buffer *b, lk_device *device) {
    if (b->device != NULL) device->release(device, b->device);
    lk_free(b->sent);
    lk_free(b->seen);
    memset(b, 0, sizeof *b);
}

char *op_buffer_data(const op_buffer *b) { return b->bytes == 0 ? NULL : b->device + OP_GUARD; }

lk_status op_buffer_send(op_buffer *b, lk_device *device, lk_error *err) {
    if (b->bytes == 0) return LK_OK;
    memset(b->sent, GUARD_BYTE, OP_GUARD);
    memset(b->sent + OP_GUARD + b->bytes, GUARD_BYTE, OP_GUARD);
    return device->upload(device, b->device, b->sent, b->bytes + 2 * OP_GUARD, err);
}

lk_status op_buffer_spoil(op_buffer *b, lk_device *device, uint8_t fill, lk_error *err) {
    if (b->bytes == 0) return LK_OK;
    memset(op_buffer_sent(b), fill, (size_t)b->bytes);
    return op_buffer_send(b, device, err);
}

lk_status op_buffer_receive(op_buffer *b, lk_device *device, lk_error *err) {
    if (b->bytes == 0) return LK_OK;
    LK_RETURN_IF(device->download(device, b->seen, b->device, b->bytes + 2 * OP_GUARD, err));
    for (int i = 0; i < OP_GUARD; i++)
        if ((uint8_t)b->seen[i] != GUARD_BYTE || (uint8_t)b->seen[OP_GUARD + b->bytes + i] != GUARD_BYTE)
            return lk_fail(err, LK_ERR_NUMERIC, "it writes outside %s", b->name);
    return LK_OK;
}

lk_status op_buffer_receive_unchanged(op_buffer *b, lk_device *device, lk_error *err) {
    LK_RETURN_IF(op_buffer_receive(b, device, err));
    if (b->bytes == 0 || memcmp(b->seen, b->sent, (size_t)b->bytes + 2 * OP_GUARD) == 0) return LK_OK;
    return lk_fail(err, LK_ERR_NUMERIC, "it changes %s, which it may only read", b->name);
}

void op_buffer_accept(op_buffer *b) {
    if (b->bytes > 0) memcpy(b->sent, b->seen, (size_t)b->bytes + 2 * OP_GUARD);
}
