#include <math.h>

#include "train/decision_internal.h"

/* Slope and curvature of the mean cross-entropy at inverse temperature b: mean of E[z] - z_label, and of Var[z], under
 * softmax(b z). */
static void slope_at(double b, const float *logits, const int32_t *labels, int64_t n, int classes, double *slope,
                     double *curvature) {
    *slope = *curvature = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * classes;
        double most = z[0], sum = 0, first = 0, second = 0;
        for (int k = 1; k < classes; k++) most = fmax(most, z[k]);
        for (int k = 0; k < classes; k++) {
            double d = z[k] - most, p = exp(b * d);
            sum += p;
            first += p * d;
            second += p * d * d;
        }
        first /= sum;
        *slope += first - (z[labels[i]] - most);
        *curvature += second / sum - first * first;
    }
    *slope /= (double)n;
    *curvature /= (double)n;
}

/* Newton's steps where they stay between the points that are known to lie on both sides, else halving. */
double lk_decision_find_temperature(const float *logits, const int32_t *labels, int64_t n, int classes) {
    double low = 1 / LK_DECISION_MAX_TEMPERATURE, high = 1 / LK_DECISION_MIN_TEMPERATURE, b = 1, slope, curvature;
    slope_at(low, logits, labels, n, classes, &slope, &curvature);
    if (slope >= 0) return slope == 0 ? 1 : 1 / low; /* 0: all logits of each sample are equal */
    slope_at(high, logits, labels, n, classes, &slope, &curvature);
    if (slope < 0) return 1; /* every label has the largest logit: nothing says how sure to be */
    for (int step = 0; step < 100; step++) {
        slope_at(b, logits, labels, n, classes, &slope, &curvature);
        if (slope < 0)
            low = b;
        else
            high = b;
        double next = b - slope / curvature;
        if (!(next > low && next < high)) next = 0.5 * (low + high);
        if (fabs(next - b) <= 1e-13 * b) break;
        b = next;
    }
    return 1 / b;
}
