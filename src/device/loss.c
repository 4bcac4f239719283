#include "device/loss.h"

#include <math.h>
#include <stddef.h>

static bool factors_ok(const double *values, int64_t count, bool negative) {
    for (int64_t k = 0; values != NULL && k < count; k++)
        if (!isfinite(values[k]) || (values[k] < 0 && !negative)) return false;
    return true;
}

const char *lk_loss_fault(const lk_loss_config *c, int64_t classes) {
    const double factors[] = {c->cross_entropy, c->focal, c->f1, c->focal_gamma};
    if (!factors_ok(factors, 4, false)) return "a factor of its terms or gamma is negative or no number";
    if (c->cross_entropy == 0 && c->focal == 0 && c->f1 == 0) return "all its terms have the factor 0";
    if (!(c->smoothing >= 0 && c->smoothing <= 1)) return "its label smoothing is not between 0 and 1";
    if ((int)c->smoothing_rule < 0 || c->smoothing_rule >= LK_SMOOTHING_COUNT) return "its smoothing rule is unknown";
    if (c->smoothing > 0 && c->smoothing_rule == LK_SMOOTHING_OTHERS && classes < 2)
        return "there are no other classes to smooth over";
    if (c->f1 > 0 && !(c->f1_epsilon > 0 && isfinite(c->f1_epsilon))) return "the epsilon of its F1 is not positive";
    if (!factors_ok(c->class_weights, classes, false)) return "a class weight is negative or no number";
    if (!factors_ok(c->focal_alpha, classes, false)) return "an alpha is negative or no number";
    if (!factors_ok(c->logit_offsets, classes, true)) return "an offset of its logits is no number";
    return NULL;
}

/* Share of class k in the label. */
static double label_share(lk_loss_label label, int64_t k) {
    double share = k == label.label ? label.share : 0;
    return label.share < 1 && k == label.other ? share + (1 - label.share) : share;
}

/* Smoothing's part of class k in the target, before it is multiplied by s: 1 / K, or (1 - q) / (K - 1). */
static double smoothing_mass(const lk_loss_config *c, lk_loss_label label, int64_t k) {
    return c->smoothing_rule == LK_SMOOTHING_UNIFORM ? 1 : 1 - label_share(label, k);
}
static double smoothing_divisor(const lk_loss_config *c, int64_t classes) {
    return (double)(c->smoothing_rule == LK_SMOOTHING_UNIFORM ? classes : classes - 1);
}

static double weight(const lk_loss_config *c, int64_t k) { return c->class_weights == NULL ? 1 : c->class_weights[k]; }
static double alpha(const lk_loss_config *c, int64_t k) { return c->focal_alpha == NULL ? 1 : c->focal_alpha[k]; }

/* Logit k with its offset (offsets NULL: none). */
static double logit(const double *logits, const double *offsets, int64_t k) {
    return offsets == NULL ? logits[k] : logits[k] + offsets[k];
}

static double log_sum_exp(int64_t classes, const double *logits, const double *offsets) {
    double largest = logit(logits, offsets, 0), sum = 0;
    for (int64_t k = 1; k < classes; k++) {
        double v = logit(logits, offsets, k);
        if (v > largest) largest = v;
    }
    for (int64_t k = 0; k < classes; k++) sum += exp(logit(logits, offsets, k) - largest);
    return largest + log(sum);
}

/* (1 - p)^gamma from -log p, without the loss of digits near p = 1. */
static double focus(const lk_loss_config *c, double surprise) {
    return c->focal_gamma == 0 ? 1 : pow(-expm1(-surprise), c->focal_gamma);
}

/* One class's part of a sample's loss where the target is 1: surprise is -log p. */
static double class_value(const lk_loss_config *c, int64_t k, double surprise) {
    double value = 0;
    if (c->cross_entropy > 0) value += c->cross_entropy * surprise;
    if (c->focal > 0) value += c->focal * alpha(c, k) * focus(c, surprise) * surprise;
    return weight(c, k) * value;
}

double lk_loss_value(const lk_loss_config *c, int64_t classes, const double *logits, lk_loss_label label,
                     double weight_scale) {
    if (c->cross_entropy == 0 && c->focal == 0) return 0;
    double total = log_sum_exp(classes, logits, c->logit_offsets), rest = 0;
    double own = class_value(c, label.label, total - logit(logits, c->logit_offsets, label.label));
    if (label.share < 1) {
        double other = class_value(c, label.other, total - logit(logits, c->logit_offsets, label.other));
        own = label.share * own + (1 - label.share) * other;
    }
    double value = (1 - c->smoothing) * own;
    for (int64_t k = 0; c->smoothing > 0 && k < classes; k++)
        rest += smoothing_mass(c, label, k) * class_value(c, k, total - logit(logits, c->logit_offsets, k));
    if (c->smoothing > 0) value += c->smoothing * (rest / smoothing_divisor(c, classes));
    return c->class_weights == NULL ? value : value * weight_scale;
}

/* Derivative of class_value by log p. */
static double class_slope(const lk_loss_config *c, int64_t k, double surprise) {
    double slope = -c->cross_entropy;
    if (c->focal > 0) {
        double miss = -expm1(-surprise), p = exp(-surprise), gamma = c->focal_gamma;
        /* At p = 1 the value is 0 for any gamma > 0, and so is its slope; 0^(gamma - 1) would not be. */
        double falling = gamma == 0 || miss == 0 ? 0 : gamma * p * pow(miss, gamma - 1) * surprise;
        slope -= c->focal * alpha(c, k) * (focus(c, surprise) + falling);
    }
    return weight(c, k) * slope;
}

void lk_loss_gradient(const lk_loss_config *c, int64_t classes, const double *logits, lk_loss_label label,
                      double weight_scale, double *dx) {
    double scale = c->class_weights == NULL ? 1 : weight_scale, sum = 0;
    if (c->cross_entropy == 0 && c->focal == 0) {
        for (int64_t k = 0; k < classes; k++) dx[k] = 0;
        return;
    }
    double total = log_sum_exp(classes, logits, c->logit_offsets);
    for (int64_t k = 0; k < classes; k++) {
        double target = (1 - c->smoothing) * label_share(label, k);
        if (c->smoothing > 0) target += c->smoothing * smoothing_mass(c, label, k) / smoothing_divisor(c, classes);
        dx[k] = target == 0 ? 0 : target * class_slope(c, k, total - logit(logits, c->logit_offsets, k));
        sum -= dx[k];
    }
    /* The targets sum to 1: said exactly where nothing else changes the sum. */
    if (c->class_weights == NULL && c->focal == 0) sum = c->cross_entropy;
    for (int64_t k = 0; k < classes; k++) {
        double p = exp(logit(logits, c->logit_offsets, k) - total);
        dx[k] = (p * sum + dx[k]) * scale;
    }
}

void lk_f1_count(int64_t classes, const double *logits, lk_loss_label label, double *counts) {
    double total = log_sum_exp(classes, logits, NULL);
    for (int64_t k = 0; k < classes; k++) {
        double p = exp(logits[k] - total), q = label_share(label, k);
        counts[k] += q * p;
        counts[classes + k] += p;
        counts[2 * classes + k] += q;
    }
}

double lk_f1_value(int64_t classes, const double *counts, double epsilon) {
    double sum = 0;
    for (int64_t k = 0; k < classes; k++)
        sum += 2 * counts[k] / (counts[classes + k] + counts[2 * classes + k] + epsilon);
    return 1 - sum / (double)classes;
}

/* Derivative of 1 - macro-F1 by the probability of class k in a sample with this label. */
static double f1_slope(int64_t classes, const double *counts, double epsilon, double q, int64_t k) {
    double size = counts[classes + k] + counts[2 * classes + k] + epsilon;
    return -2 * (q - counts[k] / size) / (size * (double)classes);
}

void lk_f1_gradient(int64_t classes, const double *logits, lk_loss_label label, const double *counts, double epsilon,
                    double factor, double *dx) {
    double total = log_sum_exp(classes, logits, NULL), mean = 0;
    for (int64_t k = 0; k < classes; k++)
        mean += exp(logits[k] - total) * f1_slope(classes, counts, epsilon, label_share(label, k), k);
    for (int64_t k = 0; k < classes; k++) {
        double slope = f1_slope(classes, counts, epsilon, label_share(label, k), k);
        dx[k] += factor * exp(logits[k] - total) * (slope - mean);
    }
}
