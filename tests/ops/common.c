#include <string.h>

#include "modes.h"

/* Gaps that are known and accepted, each with its reason. An entry that is no longer true fails the support mode. */
static const struct unsupported {
    const char *device;
    lk_op_kind kind;
    lk_dtype compute;
    const char *reason;
} UNSUPPORTED[] = {
    /* No device has a gap; this entry of no device keeps the table a valid array. */
    {"none", LK_OP_INPUT, LK_F32, "no device is called none"},
};

const char *op_unsupported_reason(const lk_device *device, const op_case *c, lk_dtype compute) {
    for (size_t i = 0; i < sizeof UNSUPPORTED / sizeof UNSUPPORTED[0]; i++) {
        const struct unsupported *u = &UNSUPPORTED[i];
        if (strcmp(u->device, device->name) == 0 && u->kind == c->desc.kind && u->compute == compute) return u->reason;
    }
    return NULL;
}

int op_blocks(const op_case *c, int64_t blocks[OP_BLOCKS]) {
    const int64_t candidates[OP_BLOCKS] = {1, 8, 16, c->desc.x.c, (c->desc.x.c + 7) / 8 * 8};
    int count = 0;
    for (int i = 0; i < OP_BLOCKS; i++) {
        bool seen = false;
        for (int k = 0; k < count; k++) seen |= blocks[k] == candidates[i];
        if (!seen) blocks[count++] = candidates[i];
    }
    return c->desc.kind == LK_OP_INPUT ? 1 : count; /* images come in one layout */
}

bool op_case_applies(const lk_device *device, const op_case *c) {
    lk_op_desc desc = c->desc;
    desc.compute = device->master;
    bool fused = (desc.kind == LK_OP_CONV2D && desc.conv.act != LK_ACT_NONE) ||
                 (desc.kind == LK_OP_BATCHNORM && (desc.batchnorm.mean_dy || desc.batchnorm.pool.kernel > 0));
    if (fused && (device->fuses == NULL || !device->fuses(device, &desc))) return false;
    return desc.dy_count < 2 || device->takes_two_dy(device, desc.kind);
}

int op_dtypes(lk_device *device, lk_dtype dtypes[OP_DTYPES]) {
    if (device->master == LK_F64) {
        dtypes[0] = LK_F64;
        return 1;
    }
    const lk_dtype candidates[OP_DTYPES] = {LK_F32, LK_TF32, LK_BF16, LK_F16};
    int count = 0;
    for (int i = 0; i < OP_DTYPES; i++) {
        lk_error err = {0};
        if (device->supports_dtype(device, candidates[i], &err) == LK_OK) dtypes[count++] = candidates[i];
    }
    return count;
}

bool op_selected(const op_context *context, const op_case *c) {
    if (context->only_kind >= 0 && (int)c->desc.kind != context->only_kind) return false;
    return context->filter == NULL || strstr(c->name, context->filter) != NULL;
}
