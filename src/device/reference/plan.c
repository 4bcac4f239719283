/* Checks and bookkeeping of planning that all kinds of op share. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/reference/internal.h"

#define MAX_DIM (INT64_C(1) << 31)      /* so that sizes with padding cannot overflow */
#define MAX_ELEMENTS (INT64_C(1) << 48) /* bytes and flops then fit in 62 bits */

lk_status lk_reference_refuse(const lk_op *op, lk_status status, lk_error *err, const char *format, ...) {
    char reason[LK_ERROR_SIZE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    const lk_act_desc *x = &op->desc.x;
    return lk_fail(err, status,
                   "%s of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 " %s on device reference: %s",
                   lk_op_kind_name(op->desc.kind), x->n, x->c, x->h, x->w, lk_dtype_name(x->dtype), reason);
}

static bool shape_ok(int64_t n, int64_t c, int64_t h, int64_t w) {
    int64_t product = 1, dims[] = {n, c, h, w};
    for (int i = 0; i < 4; i++) {
        if (dims[i] < 1 || dims[i] > MAX_DIM || product > MAX_ELEMENTS / dims[i]) return false;
        product *= dims[i];
    }
    return true;
}

lk_status lk_reference_set_y(lk_op *op, int64_t c, int64_t h, int64_t w, lk_error *err) {
    int64_t n = op->desc.x.n;
    if (!shape_ok(n, c, h, w))
        return lk_reference_refuse(op, LK_ERR_CONFIG, err,
                                   "the output %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64
                                   " is empty or too large; check the layer's settings",
                                   n, c, h, w);
    op->info.y = (lk_act_desc){.dtype = LK_F64, .n = n, .c = c, .h = h, .w = w, .block = 1};
    return LK_OK;
}

void lk_reference_add_param(lk_op *op, lk_param_role role, lk_shape shape) {
    op->info.params[op->info.param_count++] =
        (lk_param_info){.role = role, .shape = shape, .stored_count = lk_shape_count(&shape)};
}

int64_t lk_reference_window(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t pad_less,
                            int64_t dilation) {
    const int64_t settings[] = {kernel, stride, dilation};
    for (int i = 0; i < 3; i++)
        if (settings[i] < 1 || settings[i] > MAX_DIM) return 0;
    if (pad < 0 || pad > MAX_DIM || pad_less < 0 || pad_less > pad) return 0;
    if (dilation > MAX_DIM / kernel) return 0;
    int64_t room = size + 2 * pad - pad_less - dilation * (kernel - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
}

lk_status lk_reference_check_common(const lk_op *op, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    const lk_act_desc *x = &d->x;
    if (!shape_ok(x->n, x->c, x->h, x->w))
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "the input shape is empty or too large");
    bool input = d->kind == LK_OP_INPUT;
    if (x->dtype != (input ? LK_U8 : LK_F64) || x->block != (input ? x->c : 1))
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err,
                                   "the input must be %s, not %s with channel block %" PRId64,
                                   input ? "uint8 NHWC" : "float64 NCHW", lk_dtype_name(x->dtype), x->block);
    bool takes_dy = d->kind != LK_OP_LOSS;
    if (lk_op_has_backward(d) && takes_dy && d->dy_count != 1 && d->dy_count != 2)
        return lk_reference_refuse(op, LK_ERR_CONFIG, err, "%d gradients arrive at its output; 1 or 2 are possible",
                                   d->dy_count);
    return LK_OK;
}

lk_status lk_reference_check_like(const lk_op *op, const lk_op *like, lk_error *err) {
    if (like == NULL) return LK_OK;
    bool same = like->desc.kind == op->desc.kind && like->info.param_count == op->info.param_count;
    for (int i = 0; same && i < op->info.param_count; i++)
        same = lk_shape_equal(&like->info.params[i].shape, &op->info.params[i].shape);
    if (same) return LK_OK;
    return lk_reference_refuse(op, LK_ERR_CONFIG, err, "the plan to be like (%s) has other parameters",
                               lk_op_kind_name(like->desc.kind));
}

static lk_status need(const lk_op *op, const void *pointer, const char *what, lk_error *err) {
    if (pointer != NULL) return LK_OK;
    return lk_reference_refuse(op, LK_ERR_INTERNAL, err, "bound without %s", what);
}

lk_status lk_reference_check_buffers(const lk_op *op, const lk_op_buffers *b, lk_error *err) {
    const lk_op_desc *d = &op->desc;
    bool residual = lk_op_takes_residual(d);
    LK_RETURN_IF(need(op, b->y, "y", err));
    if (d->kind != LK_OP_INPUT) LK_RETURN_IF(need(op, b->x, "x", err));
    if (residual) LK_RETURN_IF(need(op, b->residual, "residual", err));
    if (op->info.stash_bytes > 0) LK_RETURN_IF(need(op, b->stash, "stash", err));
    if (op->info.workspace_bytes > 0) LK_RETURN_IF(need(op, b->workspace, "workspace", err));
    if (!lk_op_has_backward(d)) return LK_OK;
    if (d->need_dx) LK_RETURN_IF(need(op, b->dx, "dx", err));
    if (d->kind == LK_OP_LOSS) return LK_OK;
    LK_RETURN_IF(need(op, b->dy[0], "dy[0]", err));
    if (d->dy_count == 2) LK_RETURN_IF(need(op, b->dy[1], "dy[1]", err));
    return LK_OK;
}

void lk_reference_fill_costs(lk_op *op) {
    lk_op_info *info = &op->info;
    const lk_op_desc *d = &op->desc;
    double x = (double)lk_act_bytes(&d->x), y = (double)lk_act_bytes(&info->y), params = 0;
    for (int i = 0; i < info->param_count; i++) params += (double)info->params[i].stored_count * sizeof(double);
    double residual = 0;
    if (lk_op_takes_residual(d)) residual = d->kind == LK_OP_SCALE ? (double)lk_act_bytes(&d->scale.gate) : y;
    double stash = (double)info->stash_bytes, stats = (double)info->stats_count * sizeof(double);
    info->bytes_forward = x + y + params + stash + stats + residual;
    snprintf(info->impl_forward, sizeof info->impl_forward, "ref");
    if (!lk_op_has_backward(d)) {
        info->flops_backward = 0;
        return;
    }
    bool takes_dy = d->kind != LK_OP_LOSS;
    info->bytes_backward = (takes_dy ? (double)lk_op_dy_bytes(d, &info->y) : 0) + (d->need_dx ? x : 0) + residual +
                           stash + (d->frozen ? 1 : 2) * params + (info->keeps_x ? x : 0) + (info->keeps_y ? y : 0) +
                           (info->keeps_residual ? residual : 0);
    if (d->need_dx) snprintf(info->impl_dx, sizeof info->impl_dx, "ref");
    if (info->param_count > 0 && !d->frozen) snprintf(info->impl_dw, sizeof info->impl_dw, "ref");
}
