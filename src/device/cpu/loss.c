/* The loss, with the arithmetic of device/loss.h in double, a sample at a time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device/cpu/cpu_internal.h"

/* Does the op count its own microbatch? */
static bool counts_microbatch(const lk_op_desc *d) { return d->training && d->loss.f1 > 0 && d->loss.f1_microbatch; }

/* In the workspace: a sample's logits and their gradient, then the soft counts of the microbatch. */
enum { ROWS = 2, COUNTS = 3 };

static lk_status plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    double count = (double)lk_act_count(&d->x);
    lk_cpu_info_start(op, 1, 1, 1);
    info->y.dtype = LK_F32;
    info->y.block = 1;
    if (d->x.h != 1 || d->x.w != 1) return lk_cpu_unsupported(op, "logits are n x classes", err);
    const char *fault = lk_loss_fault(&d->loss, d->x.c);
    if (fault != NULL) return lk_fail(err, LK_ERR_CONFIG, "the loss of %" PRId64 " classes: %s", d->x.c, fault);
    info->keeps_x = d->training;
    info->workspace_bytes = (ROWS + COUNTS) * d->x.c * (int64_t)sizeof(double);
    info->flops_forward = 4 * count;
    info->bytes_forward = (double)lk_act_bytes(&d->x);
    info->flops_backward = d->training ? 5 * count : 0;
    info->bytes_backward = d->training ? 2 * (double)lk_act_bytes(&d->x) : 0;
    snprintf(info->impl_forward, sizeof info->impl_forward, "own:double");
    if (d->training) memcpy(info->impl_dx, info->impl_forward, sizeof info->impl_dx);
    return LK_OK;
}

/* The logits of sample n, in the workspace. */
static const double *logits_of(const lk_call *call, int64_t n) {
    const lk_act_desc *d = &call->op->desc.x;
    double *logits = call->buffers.workspace;
    for (int64_t k = 0; k < d->c; k++) {
        int64_t at = lk_act_index(d, n, k, 0, 0);
        logits[k] = d->dtype == LK_F32 ? (double)((const float *)call->buffers.x)[at]
                                       : (double)lk_cpu_from_bf16(((const uint16_t *)call->buffers.x)[at]);
    }
    return logits;
}

/* Soft counts of the microbatch, in the workspace. */
static const double *count_microbatch(const lk_call *call, const lk_run *run) {
    int64_t classes = call->op->desc.x.c;
    double *counts = (double *)call->buffers.workspace + ROWS * classes;
    memset(counts, 0, COUNTS * (size_t)classes * sizeof *counts);
    for (int64_t n = 0; n < run->rows; n++) lk_f1_count(classes, logits_of(call, n), lk_run_label(run, n), counts);
    return counts;
}

static lk_status forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu, (void)stream;
    LK_RETURN_IF(lk_run_check_labels(run, &call->op->desc.x, err));
    const lk_op_desc *d = &call->op->desc;
    float *loss = call->buffers.y;
    double f1 = 0;
    if (counts_microbatch(d)) f1 = d->loss.f1 * lk_f1_value(d->x.c, count_microbatch(call, run), d->loss.f1_epsilon);
    for (int64_t n = 0; n < d->x.n; n++) {
        loss[n] = 0;
        if (n >= run->rows) continue;
        double value = lk_loss_value(&d->loss, d->x.c, logits_of(call, n), lk_run_label(run, n), run->weight_scale);
        loss[n] = (float)(value + f1);
    }
    return LK_OK;
}

/* Adds the F1 term's gradient of sample n to dx, per unit of lk_run.loss_scale. */
static void add_f1(const lk_call *call, const lk_run *run, int64_t n, const double *counts, int64_t samples,
                   double *dx) {
    const lk_op_desc *d = &call->op->desc;
    const double *logits = call->buffers.workspace;
    lk_f1_gradient(d->x.c, logits, lk_run_label(run, n), counts, d->loss.f1_epsilon, d->loss.f1 * (double)samples, dx);
}

static lk_status backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cpu, (void)stream;
    LK_RETURN_IF(lk_run_check_labels(run, &call->op->desc.x, err));
    const lk_op_desc *d = &call->op->desc;
    if (!d->need_dx) return LK_OK;
    const double *counts = counts_microbatch(d) ? count_microbatch(call, run) : run->f1_counts;
    int64_t samples = counts_microbatch(d) ? run->rows : run->f1_samples;
    if (d->loss.f1 > 0 && counts == NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "the loss was run backward without the window's soft counts");
    memset(call->buffers.dx, 0, (size_t)lk_act_bytes(&d->x));
    for (int64_t n = 0; n < run->rows; n++) {
        double *dx = (double *)call->buffers.workspace + d->x.c;
        lk_loss_gradient(&d->loss, d->x.c, logits_of(call, n), lk_run_label(run, n), run->weight_scale, dx);
        if (d->loss.f1 > 0) add_f1(call, run, n, counts, samples, dx);
        for (int64_t k = 0; k < d->x.c; k++) {
            float v = (float)(dx[k] * run->loss_scale);
            int64_t at = lk_act_index(&d->x, n, k, 0, 0);
            if (d->x.dtype == LK_F32)
                ((float *)call->buffers.dx)[at] = v;
            else
                ((uint16_t *)call->buffers.dx)[at] = lk_cpu_bf16(v);
        }
    }
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_loss = {.one_dy = true, .plan = plan, .forward = forward, .backward = backward};
