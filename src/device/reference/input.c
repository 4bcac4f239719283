/* y = (pixel / 255 - mean) / std, uint8 NHWC to NCHW; where samples are mixed, a weighted mean of two. */
#include <math.h>

#include "device/reference/internal.h"

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (x->c > LK_MAX_CHANNELS_IN)
        return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "images have 1 to %d channels", LK_MAX_CHANNELS_IN);
    for (int64_t c = 0; c < x->c; c++) {
        double mean = op->desc.input.mean[c], std = op->desc.input.std[c];
        if (!isfinite(mean) || !isfinite(std) || std <= 0)
            return lk_reference_refuse(op, LK_ERR_CONFIG, err,
                                       "mean %g and std %g of channel %d are impossible; std must be positive", mean,
                                       std, (int)c);
    }
    LK_RETURN_IF(lk_reference_set_y(op, x->c, x->h, x->w, err));
    op->info.flops_forward = 3.0 * (double)lk_act_count(&op->info.y);
    return LK_OK;
}

static double normalised(const lk_op_desc *d, uint8_t pixel, int64_t c) {
    return ((double)pixel / 255 - (double)d->input.mean[c]) / (double)d->input.std[c];
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    const lk_op_desc *d = &call->op->desc;
    if (run->images == NULL) return lk_reference_refuse(call->op, LK_ERR_INTERNAL, err, "run without images");
    double *y = call->buffers.y;
    int64_t channels = d->x.c, area = d->x.h * d->x.w;
    for (int64_t n = 0; n < d->x.n; n++) {
        int64_t partner = run->partner == NULL ? n : run->partner[n];
        double share = run->partner == NULL ? 1 : (double)run->pixel_share[n];
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < area; i++) {
                double own = normalised(d, run->images[(n * area + i) * channels + c], c);
                double other = normalised(d, run->images[(partner * area + i) * channels + c], c);
                y[(n * channels + c) * area + i] = share * own + (1 - share) * other;
            }
    }
    return LK_OK;
}

const lk_reference_op lk_reference_INPUT = {plan, forward, NULL};
