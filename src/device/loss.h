/* The loss: its settings, and its arithmetic for one sample in double (the cpu device and whoever has logits on the
 * host use it; the reference device computes its own).
 *
 * With logits x of K classes, p = softmax(x + logit_offsets), and q the label as a distribution (one-hot, or two labels
 * by their shares), the target is
 *   uniform: t = (1 - s) q + s / K                  source: Szegedy et al. 2016, section 7; torch.nn.CrossEntropyLoss
 *   others:  t = (1 - s) q + s (1 - q) / (K - 1)    the smoothing is shared by the other classes
 * and with class weights w, which never alter t, a sample's terms are
 *   cross-entropy  - sum over k of w[k] t[k] log p[k]          source: torch.nn.CrossEntropyLoss(weight,
 * label_smoothing) focal          - sum over k of w[k] t[k] a[k] (1 - p[k])^gamma log p[k]       source: Lin et al.
 * 2017, equation 5 both times weight_scale: samples / sum over samples and k of q[k] w[k] over the whole window, which
 * makes a mean over the samples the weighted mean (P6).
 *
 * The soft macro-F1 term is 1 - mean over the K classes of F1[k], with p = softmax(x) without offsets and q without
 * smoothing, and sums over the samples that are counted:
 *   F1[k] = 2 tp[k] / (predicted[k] + support[k] + epsilon),  tp = sum q p, predicted = sum p, support = sum q.
 * A class that none of them has gives F1 0 and no gradient. Source: 2 tp / (2 tp + fp + fn) with probabilities for
 * predictions. */
#ifndef LK_DEVICE_LOSS_H
#define LK_DEVICE_LOSS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum lk_smoothing_rule { LK_SMOOTHING_UNIFORM, LK_SMOOTHING_OTHERS, LK_SMOOTHING_COUNT } lk_smoothing_rule;

typedef struct lk_loss_config {
    double cross_entropy, focal, f1; /* what each term is multiplied by, >= 0; not all 0 */
    double smoothing;                /* s, in [0, 1] */
    lk_smoothing_rule smoothing_rule;
    double focal_gamma; /* >= 0 */
    double f1_epsilon;  /* > 0 where f1 is */
    /* Whose samples F1 counts: false: the window's, by lk_run.f1_counts, in the gradient alone (the caller adds the
     * value); true: the microbatch's, in the value of each of its samples too. Training only: a plan for evaluation
     * leaves the term out, since its caller counts the whole split. */
    bool f1_microbatch;
    /* K each, or NULL: 1, 1, 0. Borrowed while the plan lives. */
    const double *class_weights, *focal_alpha;
    const double *logit_offsets; /* tau log(prior). Source: Menon et al. 2021, equation 10 */
} lk_loss_config;

/* The label of one sample: `share` of `label`, the rest of `other`. */
typedef struct lk_loss_label {
    int32_t label, other;
    double share; /* 1: `other` is not read */
} lk_loss_label;

/* What is wrong with the settings for K classes, as a phrase, or NULL. Static. */
const char *lk_loss_fault(const lk_loss_config *config, int64_t classes);

/* Cross-entropy and focal term of one sample. logits: K. Pure. */
double lk_loss_value(const lk_loss_config *config, int64_t classes, const double *logits, lk_loss_label label,
                     double weight_scale);
/* Their gradient. dx: K, written; may not be logits. Pure. */
void lk_loss_gradient(const lk_loss_config *config, int64_t classes, const double *logits, lk_loss_label label,
                      double weight_scale, double *dx);

/* Soft counts: 3 K numbers, tp[K], predicted[K], support[K]. Adds one sample. Pure. */
void lk_f1_count(int64_t classes, const double *logits, lk_loss_label label, double *counts);
/* 1 - macro-F1 of the counts. Pure. */
double lk_f1_value(int64_t classes, const double *counts, double epsilon);
/* Adds factor times the gradient of one of the samples that were counted. dx: K. Pure. */
void lk_f1_gradient(int64_t classes, const double *logits, lk_loss_label label, const double *counts, double epsilon,
                    double factor, double *dx);

#endif
