/* Maximum over a window; padding counts as minus infinity, the first maximum in row-major order gets the gradient, NaN
 * is larger than everything. Source: torch.nn.MaxPool2d. */
#include <math.h>
#include <string.h>

#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    int64_t kernel = op->desc.maxpool.kernel, stride = op->desc.maxpool.stride, pad = op->desc.maxpool.pad;
    int64_t out_h = lk_reference_window(x->h, kernel, stride, pad, 0, 1);
    int64_t out_w = lk_reference_window(x->w, kernel, stride, pad, 0, 1);
    /* A pad of at most half the kernel leaves no window without an input. */
    if (out_h == 0 || out_w == 0 || pad > kernel / 2)
        return lk_reference_refuse(
            op, LK_ERR_CONFIG, err,
            "a window of %lld with stride %lld and padding %lld does not fit; padding is at most "
            "half the window",
            (long long)kernel, (long long)stride, (long long)pad);
    LK_RETURN_IF(lk_reference_set_y(op, x->c, out_h, out_w, err));
    double count = (double)lk_act_count(&op->info.y);
    op->info.flops_forward = count * (double)(kernel * kernel);
    op->info.flops_backward = count;
    if (op->desc.training) op->info.stash_bytes = lk_act_count(&op->info.y) * (int64_t)sizeof(int64_t);
    return LK_OK;
}

int64_t lk_reference_find_maximum(const lk_op_desc *d, const double *plane, int64_t oy, int64_t ox) {
    int64_t best = -1;
    for (int64_t ky = 0; ky < d->maxpool.kernel; ky++)
        for (int64_t kx = 0; kx < d->maxpool.kernel; kx++) {
            int64_t y = oy * d->maxpool.stride - d->maxpool.pad + ky;
            int64_t x = ox * d->maxpool.stride - d->maxpool.pad + kx;
            if (y < 0 || y >= d->x.h || x < 0 || x >= d->x.w) continue;
            int64_t at = y * d->x.w + x;
            if (best < 0 || plane[at] > plane[best] || isnan(plane[at])) best = at;
        }
    return best;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    const lk_op_desc *d = &call->op->desc;
    const lk_act_desc *out = &call->op->info.y;
    const double *x = call->buffers.x;
    double *y = call->buffers.y;
    int64_t *stash = d->training ? call->buffers.stash : NULL;
    for (int64_t plane = 0; plane < out->n * out->c; plane++)
        for (int64_t oy = 0; oy < out->h; oy++)
            for (int64_t ox = 0; ox < out->w; ox++) {
                int64_t best =
                    plane * d->x.h * d->x.w + lk_reference_find_maximum(d, x + plane * d->x.h * d->x.w, oy, ox);
                int64_t at = (plane * out->h + oy) * out->w + ox;
                y[at] = x[best];
                if (stash != NULL) stash[at] = best;
            }
    return LK_OK;
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    (void)run, (void)err;
    if (!call->op->desc.need_dx) return LK_OK;
    const int64_t *stash = call->buffers.stash;
    double *dx = call->buffers.dx;
    memset(dx, 0, (size_t)lk_act_bytes(&call->op->desc.x));
    int64_t count = lk_act_count(&call->op->info.y);
    for (int64_t i = 0; i < count; i++) dx[stash[i]] += lk_reference_dy(call, i);
    return LK_OK;
}

const lk_reference_op lk_reference_MAXPOOL = {plan, forward, backward};
