/* Faults of the loss. */
#include <math.h>

#include "fault.h"

typedef enum way {
    NO_SMOOTHING,
    OTHERS_ONLY, /* smoothing spread over the K - 1 other classes */
    OVERFLOWS,   /* exp of the logits as they are, in float32 */
    BASE_2,      /* logarithm to base 2 */
    AVERAGED,    /* divided by the rows */
    PADDED_ROWS, /* padding rows are counted */
    NO_SCALE,    /* loss_scale left out */
    NO_TARGET,   /* softmax alone */
    NEXT_LABEL   /* labels off by one row */
} way;

/* Target of class k in a row with this label. */
static double target_of(const op_fault_site *s, way how, int32_t label, int64_t k) {
    double smoothing = how == NO_SMOOTHING ? 0 : s->desc.cross_entropy.smoothing, classes = (double)s->desc.x.c;
    if (how == OTHERS_ONLY) return k == label ? 1 - smoothing : smoothing / (classes - 1);
    return (k == label ? 1 - smoothing : 0) + smoothing / classes;
}

static double log_total(const op_fault_site *s, way how, int64_t n) {
    const lk_act_desc *d = &s->desc.x;
    double largest = -INFINITY, sum = 0;
    float sum32 = 0;
    for (int64_t k = 0; k < d->c; k++) largest = fmax(largest, op_at(d, s->b.x, n, k, 0, 0));
    for (int64_t k = 0; k < d->c; k++) {
        sum += exp(op_at(d, s->b.x, n, k, 0, 0) - largest);
        sum32 += expf((float)op_at(d, s->b.x, n, k, 0, 0));
    }
    return how == OVERFLOWS ? (double)logf(sum32) : largest + log(sum);
}

static bool matters(const op_fault_site *s, way how) {
    if (how == NO_SMOOTHING) return s->desc.cross_entropy.smoothing > 0;
    if (how == OTHERS_ONLY) return s->desc.cross_entropy.smoothing > 0 && s->desc.x.c > 2;
    if (how == PADDED_ROWS) return s->run.rows < s->desc.x.n;
    if (how == NEXT_LABEL || how == AVERAGED) return s->run.rows > 1;
    return s->run.rows > 0;
}

static int32_t label_of(const op_fault_site *s, way how, int64_t n) {
    if (n >= s->run.rows) return 0;
    return s->run.labels[how == NEXT_LABEL ? (n + 1) % s->run.rows : n];
}

static bool y_again(op_fault_site *s, int how) {
    if (!matters(s, how)) return false;
    const lk_act_desc *d = &s->desc.x;
    for (int64_t n = 0; n < d->n; n++) {
        double total = log_total(s, how, n), loss = 0;
        for (int64_t k = 0; k < d->c; k++) {
            double target = target_of(s, how, label_of(s, how, n), k);
            if (target != 0) loss += target * (total - op_at(d, s->b.x, n, k, 0, 0));
        }
        if (n >= s->run.rows && how != PADDED_ROWS) loss = 0;
        if (how == BASE_2) loss /= log(2);
        if (how == AVERAGED) loss /= (double)s->run.rows;
        op_set(&s->info.y, s->b.y, n, 0, 0, 0, loss);
    }
    return true;
}

static bool dx_again(op_fault_site *s, int how) {
    if (!s->desc.need_dx || !matters(s, how) || !s->info.keeps_x) return false;
    const lk_act_desc *d = &s->desc.x;
    for (int64_t n = 0; n < d->n; n++) {
        double total = log_total(s, how, n);
        for (int64_t k = 0; k < d->c; k++) {
            double target = how == NO_TARGET ? 0 : target_of(s, how, label_of(s, how, n), k);
            double dx =
                (exp(op_at(d, s->b.x, n, k, 0, 0) - total) - target) * (how == NO_SCALE ? 1 : s->run.loss_scale);
            op_set(d, s->b.dx, n, k, 0, 0, n >= s->run.rows && how != PADDED_ROWS ? 0 : dx);
        }
    }
    return true;
}

const op_fault *op_faults_of_cross_entropy(int *count) {
    static const op_fault FAULTS[] = {
        {"smoothing is ignored", NO_SMOOTHING, .after_forward = y_again},
        {"smoothing is spread over the other classes only", OTHERS_ONLY, .after_forward = y_again},
        {"large logits overflow", OVERFLOWS, .after_forward = y_again},
        {"the logarithm is to base 2", BASE_2, .after_forward = y_again},
        {"the loss is averaged", AVERAGED, .after_forward = y_again},
        {"padding rows have a loss", PADDED_ROWS, .after_forward = y_again},
        {"labels are off by one row", NEXT_LABEL, .after_forward = y_again},
        {"dx ignores smoothing", NO_SMOOTHING, .after_backward = dx_again},
        {"dx ignores loss_scale", NO_SCALE, .after_backward = dx_again},
        {"dx lacks the target", NO_TARGET, .after_backward = dx_again},
        {"padding rows have a gradient", PADDED_ROWS, .after_backward = dx_again},
        {"dx has labels off by one row", NEXT_LABEL, .after_backward = dx_again},
        {"labels are not checked", 0, .guards_labels = true},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
