/* The loss of device/loss.h, from distributions written out: the label q, the target t, and for each class the
 * derivative of the sample's loss by log p, which softmax turns into dx[j] = slope[j] - p[j] sum of slope. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "device/reference/internal.h"

/* In the workspace, K each. COUNTS takes three: tp, predicted, support. */
enum { LABEL, TARGET, LOG_P, SLOPE, COUNTS, ARRAYS = COUNTS + 3 };

static double *array_of(const lk_call *call, int which) {
    return (double *)call->buffers.workspace + which * call->op->desc.x.c;
}

static bool counts_microbatch(const lk_op_desc *d) { return d->training && d->loss.f1 > 0 && d->loss.f1_microbatch; }

static lk_status plan(lk_op *op, lk_error *err) {
    const lk_act_desc *x = &op->desc.x;
    if (x->h != 1 || x->w != 1) return lk_reference_refuse(op, LK_ERR_UNSUPPORTED, err, "logits must be n x c x 1 x 1");
    const char *fault = lk_loss_fault(&op->desc.loss, x->c);
    if (fault != NULL) return lk_reference_refuse(op, LK_ERR_CONFIG, err, "%s", fault);
    LK_RETURN_IF(lk_reference_set_y(op, 1, 1, 1, err));
    op->info.keeps_x = op->desc.training;
    op->info.workspace_bytes = ARRAYS * x->c * (int64_t)sizeof(double);
    op->info.flops_forward = 4 * (double)lk_act_count(x);
    op->info.flops_backward = 5 * (double)lk_act_count(x);
    return LK_OK;
}

/* log softmax(x + offsets): the largest logit is taken off first, so that nothing overflows and large logits lose no
 * digits. */
static void log_softmax(const double *x, const double *offsets, int64_t count, double *out) {
    double shift, sum = 0;
    for (int64_t k = 0; k < count; k++) out[k] = x[k] + (offsets == NULL ? 0 : offsets[k]);
    shift = out[0];
    for (int64_t k = 1; k < count; k++)
        if (out[k] > shift) shift = out[k];
    for (int64_t k = 0; k < count; k++) sum += exp(out[k] - shift);
    double log_sum = log(sum);
    for (int64_t k = 0; k < count; k++) out[k] = (out[k] - shift) - log_sum;
}

static const double *logits_of(const lk_call *call, int64_t n) {
    return (const double *)call->buffers.x + n * call->op->desc.x.c;
}

/* Fills LABEL and TARGET. */
static void write_target(const lk_call *call, const lk_run *run, int64_t n) {
    const lk_loss_config *c = &call->op->desc.loss;
    int64_t classes = call->op->desc.x.c;
    double *label = array_of(call, LABEL), *target = array_of(call, TARGET), s = c->smoothing;
    memset(label, 0, (size_t)classes * sizeof *label);
    double share = run->label_share == NULL ? 1 : (double)run->label_share[n];
    label[run->labels[n]] += share;
    if (share < 1) label[run->labels[run->partner[n]]] += 1 - share;
    for (int64_t k = 0; k < classes; k++) {
        double other = 0;
        if (s > 0 && c->smoothing_rule == LK_SMOOTHING_UNIFORM) other = s / (double)classes;
        if (s > 0 && c->smoothing_rule == LK_SMOOTHING_OTHERS) other = s * (1 - label[k]) / (double)(classes - 1);
        target[k] = (1 - s) * label[k] + other;
    }
}

/* Factor of a class in a sample's loss, and its part where the target is 1: -log p, and the focal term's. */
static double class_weight(const lk_loss_config *c, const lk_run *run, int64_t k) {
    return c->class_weights == NULL ? 1 : c->class_weights[k] * run->weight_scale;
}
static double class_loss(const lk_loss_config *c, int64_t k, double log_p) {
    double alpha = c->focal_alpha == NULL ? 1 : c->focal_alpha[k];
    double focal = c->focal == 0 ? 0 : c->focal * alpha * pow(1 - exp(log_p), c->focal_gamma);
    return -(c->cross_entropy + focal) * log_p;
}
/* Its derivative by log p. */
static double class_slope(const lk_loss_config *c, int64_t k, double log_p) {
    if (c->focal == 0) return -c->cross_entropy;
    double alpha = c->focal_alpha == NULL ? 1 : c->focal_alpha[k], p = exp(log_p), gamma = c->focal_gamma;
    double slope = pow(1 - p, gamma);
    if (gamma > 0 && p < 1) slope -= gamma * p * log_p * pow(1 - p, gamma - 1);
    return -(c->cross_entropy + c->focal * alpha * slope);
}

static double sample_loss(const lk_call *call, const lk_run *run, int64_t n) {
    const lk_op_desc *d = &call->op->desc;
    const double *target = array_of(call, TARGET);
    double *log_p = array_of(call, LOG_P), sum = 0;
    write_target(call, run, n);
    log_softmax(logits_of(call, n), d->loss.logit_offsets, d->x.c, log_p);
    for (int64_t k = 0; k < d->x.c; k++)
        if (target[k] != 0) sum += target[k] * class_weight(&d->loss, run, k) * class_loss(&d->loss, k, log_p[k]);
    return sum;
}

/* Soft counts of the microbatch. */
static const double *count_microbatch(const lk_call *call, const lk_run *run) {
    int64_t classes = call->op->desc.x.c;
    double *tp = array_of(call, COUNTS), *predicted = tp + classes, *support = predicted + classes;
    const double *label = array_of(call, LABEL);
    double *log_p = array_of(call, LOG_P);
    memset(tp, 0, 3 * (size_t)classes * sizeof *tp);
    for (int64_t n = 0; n < run->rows; n++) {
        write_target(call, run, n);
        log_softmax(logits_of(call, n), NULL, classes, log_p);
        for (int64_t k = 0; k < classes; k++) {
            tp[k] += label[k] * exp(log_p[k]);
            predicted[k] += exp(log_p[k]);
            support[k] += label[k];
        }
    }
    return tp;
}

static double macro_f1(const double *tp, int64_t classes, double epsilon) {
    const double *predicted = tp + classes, *support = predicted + classes;
    double sum = 0;
    for (int64_t k = 0; k < classes; k++) sum += 2 * tp[k] / (predicted[k] + support[k] + epsilon);
    return sum / (double)classes;
}

static lk_status forward(const lk_call *call, const lk_run *run, lk_error *err) {
    LK_RETURN_IF(lk_run_check_labels(run, &call->op->desc.x, err));
    const lk_op_desc *d = &call->op->desc;
    double *loss = call->buffers.y, f1 = 0;
    if (counts_microbatch(d)) f1 = d->loss.f1 * (1 - macro_f1(count_microbatch(call, run), d->x.c, d->loss.f1_epsilon));
    for (int64_t n = 0; n < d->x.n; n++) loss[n] = n < run->rows ? sample_loss(call, run, n) + f1 : 0;
    return LK_OK;
}

/* Through a softmax of logits: adds scale * (slope[j] - p[j] sum of slope) to dx. */
static void add_softmax_gradient(const double *log_p, const double *slope, int64_t classes, double scale, double *dx) {
    double sum = 0;
    for (int64_t k = 0; k < classes; k++) sum += slope[k];
    for (int64_t k = 0; k < classes; k++) dx[k] += scale * (slope[k] - exp(log_p[k]) * sum);
}

/* d(1 - macro-F1) / d log p of each class of one sample whose label is q. */
static void f1_slopes(const double *tp, const double *q, const double *log_p, int64_t classes, double epsilon,
                      double *slope) {
    const double *predicted = tp + classes, *support = predicted + classes;
    for (int64_t k = 0; k < classes; k++) {
        double size = predicted[k] + support[k] + epsilon;
        double by_p = (2 * q[k] * size - 2 * tp[k]) / (size * size);
        slope[k] = -by_p * exp(log_p[k]) / (double)classes;
    }
}

static lk_status backward(const lk_call *call, const lk_run *run, lk_error *err) {
    LK_RETURN_IF(lk_run_check_labels(run, &call->op->desc.x, err));
    const lk_op_desc *d = &call->op->desc;
    if (!d->need_dx) return LK_OK;
    const double *target = array_of(call, TARGET), *counts = run->f1_counts;
    double *slope = array_of(call, SLOPE), *log_p = array_of(call, LOG_P), *dx = call->buffers.dx;
    double samples = (double)(counts_microbatch(d) ? run->rows : run->f1_samples);
    if (counts_microbatch(d)) counts = count_microbatch(call, run);
    if (d->loss.f1 > 0 && counts == NULL)
        return lk_reference_refuse(call->op, LK_ERR_INTERNAL, err, "run backward without the window's soft counts");
    memset(dx, 0, (size_t)lk_act_bytes(&d->x));
    for (int64_t n = 0; n < run->rows; n++, dx += d->x.c) {
        write_target(call, run, n);
        log_softmax(logits_of(call, n), d->loss.logit_offsets, d->x.c, log_p);
        for (int64_t k = 0; k < d->x.c; k++)
            slope[k] =
                target[k] == 0 ? 0 : target[k] * class_weight(&d->loss, run, k) * class_slope(&d->loss, k, log_p[k]);
        add_softmax_gradient(log_p, slope, d->x.c, run->loss_scale, dx);
        if (d->loss.f1 == 0) continue;
        log_softmax(logits_of(call, n), NULL, d->x.c, log_p);
        f1_slopes(counts, array_of(call, LABEL), log_p, d->x.c, d->loss.f1_epsilon, slope);
        add_softmax_gradient(log_p, slope, d->x.c, d->loss.f1 * samples * run->loss_scale, dx);
    }
    return LK_OK;
}

const lk_reference_op lk_reference_LOSS = {plan, forward, backward};
