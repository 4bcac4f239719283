#include "tolerance.h"

#include <math.h>
#include <string.h>

/* Half the distance from 1 to the next number. */
static double roundoff(lk_dtype dtype) {
    switch (dtype) {
        case LK_F64: return ldexp(1, -53);
        case LK_BF16: return ldexp(1, -9);
        case LK_F16:
        case LK_TF32: return ldexp(1, -11);
        default: return ldexp(1, -24);
    }
}

/* Half the distance between the numbers next to 0, which float16 alone comes near to. */
static double least(lk_dtype dtype) { return dtype == LK_F16 ? ldexp(1, -25) : 0; }

/* Products or values summed into one element of a result. */
static double terms(const op_plan *p, op_result_kind k) {
    const lk_op_desc *d = &p->desc;
    const lk_act_desc *y = &p->info.y;
    double pixels_y = (double)(y->n * y->h * y->w), area_x = (double)(d->x.h * d->x.w);
    switch (d->kind) {
        case LK_OP_CONV2D: {
            double kernel = (double)(d->conv.kernel_h * d->conv.kernel_w), groups = (double)d->conv.groups;
            return k == OP_Y    ? (double)d->x.c / groups * kernel
                   : k == OP_DX ? (double)d->conv.out_channels / groups * kernel
                                : pixels_y;
        }
        case LK_OP_BATCHNORM: return (double)d->x.n * area_x;
        case LK_OP_SCALE: return k == OP_DRESIDUAL ? area_x : 1;
        case LK_OP_MAXPOOL: return (double)(d->maxpool.kernel * d->maxpool.kernel);
        case LK_OP_GLOBAL_AVGPOOL: return area_x;
        case LK_OP_LINEAR: return k == OP_Y ? (double)d->x.c : k == OP_DX ? (double)y->c : (double)d->x.n;
        case LK_OP_LOSS: return (double)d->x.c;
        default: return 1;
    }
}

/* How much a relative error of x grows, where that is not 1.
 * BATCHNORM subtracts the mean: an error of it in the last place is |mean| / std times as large in xhat.
 * LOSS takes exp of logits: an absolute error of x is a relative one of exp(x). */
static double amplification(const op_plan *p) {
    double scale = p->c->scale == 0 ? 1 : p->c->scale, offset = fabs(p->c->offset);
    if (p->desc.kind == LK_OP_BATCHNORM) return 1 + offset / scale;
    if (p->desc.kind == LK_OP_LOSS) return 1 + 4 * scale + offset;
    if (p->desc.kind == LK_OP_INPUT) return 4; /* p/255 - mean cancels, then is divided by std */
    return 1;
}

/* A sum of K random terms in float32 errs by about roundoff sqrt(K) times the size of the sum: each of the K partial
 * sums, up to sqrt(K) terms large, is rounded at random. The largest of some thousand elements errs by 4 or 5 times
 * that root mean square; hence the factor. Devices that compute in 16 bits sum in float32 and round what they store;
 * the gradients of parameters, the statistics and the loss are stored in the master type. TF32 rounds both operands of
 * each product: relative errors of up to one part in 2^11 each, 0.6 of it at root mean square, which add at random as
 * the products themselves do, so that the sum errs by 0.8 parts in 2^11 of its size whatever K is, 5 times that at
 * most; and the largest product, 14 times the usual one among 30,000 of two normal numbers, may be rounded by twice
 * that part on its own. */
double op_tolerance(const op_plan *p, op_result_kind k) {
    lk_dtype compute = p->desc.compute, master = p->device->master;
    bool stored_as_master = k >= OP_GRAD0 || p->desc.kind == LK_OP_LOSS;
    double sum = roundoff(compute == LK_F64 ? LK_F64 : LK_F32), store = roundoff(stored_as_master ? master : compute);
    if (p->desc.kind == LK_OP_LOSS && k == OP_DX) store = roundoff(compute);
    /* A weight gradient that a library gives in the compute type, stored once more: the plan's name of it says so. */
    if (k == OP_GRAD0 && strstr(p->info.impl_dw, "in 16 bits") != NULL) store = roundoff(compute);
    if (p->desc.kind == LK_OP_CONV2D && p->desc.conv.bias && k == OP_Y) store *= 2; /* before and after the bias */
    bool multiplies = p->desc.kind == LK_OP_CONV2D || p->desc.kind == LK_OP_LINEAR;
    double short_operands = p->desc.tf32 && multiplies ? roundoff(LK_TF32) * (4 + 28 / sqrt(terms(p, k))) : 0;
    return 5 * sum * (sqrt(terms(p, k)) + 4 * amplification(p)) + short_operands + 2 * store;
}

static lk_status close(const op_plan *p, op_result_kind k, const op_results *seen, const op_results *reference,
                       lk_error *err) {
    const double *a = seen->data[k], *b = reference->data[k];
    double squares = 0, finite = 0, tolerance = op_tolerance(p, k), floor = 2 * least(p->desc.compute), worst = 0;
    int64_t count = reference->count[k], at = -1;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(b[i])) squares += b[i] * b[i], finite++;
    double size = finite > 0 ? sqrt(squares / finite) : 0;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(a[i]) && isnan(b[i])) continue;
        double error = fabs(a[i] - b[i]), allowed = tolerance * (fabs(b[i]) + size) + floor;
        if (error <= allowed) continue;
        double excess = allowed > 0 && isfinite(error) ? error / allowed : INFINITY;
        if (at >= 0 && !(excess > worst)) continue;
        at = i;
        worst = excess;
    }
    if (at < 0) return LK_OK;
    return lk_fail(err, LK_ERR_NUMERIC, "%s[%lld] is %.9g where the reference has %.9g: %.3g times the tolerance %.3g",
                   op_result_name(k), (long long)at, a[at], b[at], worst, tolerance);
}

lk_status op_results_close(const op_plan *plan, const op_results *seen, const op_results *reference, lk_error *err) {
    for (int k = 0; k < OP_RESULT_COUNT; k++) {
        if (seen->count[k] != reference->count[k])
            return lk_fail(err, LK_ERR_NUMERIC, "%s has %lld elements, not %lld", op_result_name(k),
                           (long long)seen->count[k], (long long)reference->count[k]);
        LK_RETURN_IF(close(plan, k, seen, reference, err));
    }
    return LK_OK;
}
