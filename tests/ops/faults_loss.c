/* Faults of the loss. */
#include <math.h>

#include "core/memory.h"
#include "fault.h"

/* Faults of the settings. */
typedef enum setting {
    NO_SMOOTHING,
    OTHER_RULE, /* the other smoothing rule */
    NO_WEIGHTS,
    NO_ALPHA,
    NO_OFFSETS,
    MORE_GAMMA,
    MORE_EPSILON,
    NO_F1,
    NO_FOCAL,
    NO_CROSS_ENTROPY
} setting;

static bool drop_term(double *term, double rest) {
    bool matters = *term > 0 && rest > 0;
    if (matters) *term = 0;
    return matters;
}

static bool drop_array(const double **array) {
    bool matters = *array != NULL;
    *array = NULL;
    return matters;
}

static bool set_wrongly(lk_op_desc *desc, int how) {
    lk_loss_config *l = &desc->loss;
    bool smooth = l->smoothing > 0 && desc->x.c > 2;
    switch ((setting)how) {
        case NO_SMOOTHING: l->smoothing = 0; return smooth;
        case OTHER_RULE:
            l->smoothing_rule = l->smoothing_rule == LK_SMOOTHING_OTHERS ? LK_SMOOTHING_UNIFORM : LK_SMOOTHING_OTHERS;
            return smooth;
        case NO_WEIGHTS: return drop_array(&l->class_weights);
        case NO_ALPHA: return drop_array(&l->focal_alpha);
        case NO_OFFSETS: return drop_array(&l->logit_offsets);
        case MORE_GAMMA: l->focal_gamma += 1; return l->focal > 0;
        case MORE_EPSILON: l->f1_epsilon += 1; return l->f1 > 0;
        case NO_F1: return drop_term(&l->f1, l->focal + l->cross_entropy);
        case NO_FOCAL: return drop_term(&l->focal, l->f1 + l->cross_entropy);
        case NO_CROSS_ENTROPY: return drop_term(&l->cross_entropy, l->f1 + l->focal);
    }
    return false;
}

/* Faults of a pass: what it is given is read wrongly, or the result is. */
typedef enum way {
    OVERFLOWS,       /* exp of the logits as they are, in float32 */
    BASE_2,          /* logarithm to base 2 */
    AVERAGED,        /* divided by the rows */
    PADDED_ROWS,     /* padding rows are counted */
    NO_SCALE,        /* loss_scale left out */
    NO_TARGET,       /* softmax alone */
    NEXT_LABEL,      /* labels off by one row */
    NO_MIX,          /* the partner's label is left out */
    SHARE_REVERSED,  /* the partner's label gets the row's share */
    NO_WEIGHT_SCALE, /* the sum of the class weights is left out */
    OWN_COUNTS,      /* F1 of the window from the microbatch's counts */
    NO_SAMPLES       /* F1's gradient is that of one sample */
} way;

/* Is cross-entropy of one-hot labels all there is? */
static bool is_plain(const op_fault_site *s) {
    const lk_loss_config *l = &s->desc.loss;
    return l->focal == 0 && l->f1 == 0 && l->class_weights == NULL && l->logit_offsets == NULL &&
           s->run.label_share == NULL;
}

static bool matters(const op_fault_site *s, way how) {
    const lk_loss_config *l = &s->desc.loss;
    bool terms = l->cross_entropy > 0 || l->focal > 0;
    switch (how) {
        case OVERFLOWS:
        case NO_TARGET: return is_plain(s) && s->run.rows > 0;
        case BASE_2:
        case NO_SCALE: return s->run.rows > 0;
        case AVERAGED:
        case NEXT_LABEL: return s->run.rows > 1 && terms;
        case PADDED_ROWS: return s->run.rows < s->desc.x.n;
        case NO_MIX:
        case SHARE_REVERSED: return s->run.label_share != NULL && terms;
        case NO_WEIGHT_SCALE: return l->class_weights != NULL && terms;
        case OWN_COUNTS: return s->run.f1_counts != NULL;
        case NO_SAMPLES: return l->f1 > 0 && s->run.rows > 1;
    }
    return false;
}

static lk_loss_label label_of(const op_fault_site *s, way how, int64_t n) {
    if (n >= s->run.rows) return (lk_loss_label){0, 0, 1};
    int64_t row = how == NEXT_LABEL ? (n + 1) % s->run.rows : n;
    if (s->run.label_share == NULL || how == NO_MIX) return (lk_loss_label){s->run.labels[row], 0, 1};
    double share = (double)s->run.label_share[row];
    return (lk_loss_label){s->run.labels[row], s->run.labels[s->run.partner[row]],
                           how == SHARE_REVERSED ? 1 - share : share};
}

/* What a pass needs: a row of logits, of their gradient, and soft counts. */
typedef struct scratch {
    double *logits, *dx, *counts;
} scratch;

static bool scratch_open(scratch *t, const op_fault_site *s) {
    int64_t k = s->desc.x.c;
    *t = (scratch){0};
    if (LK_NEW(&t->logits, 5 * k, "scratch", NULL) != LK_OK) return false;
    t->dx = t->logits + k;
    t->counts = t->dx + k;
    return true;
}

static void read_logits(const op_fault_site *s, int64_t n, double *logits) {
    for (int64_t k = 0; k < s->desc.x.c; k++) logits[k] = op_at(&s->desc.x, s->b.x, n, k, 0, 0);
}

static void count(const op_fault_site *s, way how, const scratch *t) {
    for (int64_t n = 0; n < s->run.rows; n++) {
        read_logits(s, n, t->logits);
        lk_f1_count(s->desc.x.c, t->logits, label_of(s, how, n), t->counts);
    }
}

/* How much log sum exp is wrong in float32 without the largest logit taken off. */
static double overflow(const op_fault_site *s, const double *logits) {
    double largest = -INFINITY, sum = 0;
    float sum32 = 0;
    for (int64_t k = 0; k < s->desc.x.c; k++) largest = fmax(largest, logits[k]);
    for (int64_t k = 0; k < s->desc.x.c; k++) {
        sum += exp(logits[k] - largest);
        sum32 += expf((float)logits[k]);
    }
    return (double)logf(sum32) - (largest + log(sum));
}

static bool y_again(op_fault_site *s, int how) {
    const lk_loss_config *l = &s->desc.loss;
    scratch t;
    if (!matters(s, how) || !scratch_open(&t, s)) return false;
    double f1 = 0;
    if (s->desc.training && l->f1 > 0 && l->f1_microbatch) {
        count(s, how, &t);
        f1 = l->f1 * lk_f1_value(s->desc.x.c, t.counts, l->f1_epsilon);
    }
    for (int64_t n = 0; n < s->desc.x.n; n++) {
        read_logits(s, n, t.logits);
        double scale = how == NO_WEIGHT_SCALE ? 1 : s->run.weight_scale;
        double loss = lk_loss_value(l, s->desc.x.c, t.logits, label_of(s, how, n), scale) + f1;
        if (how == OVERFLOWS) loss += overflow(s, t.logits);
        if (n >= s->run.rows && how != PADDED_ROWS) loss = 0;
        if (how == BASE_2) loss /= log(2);
        if (how == AVERAGED) loss /= (double)s->run.rows;
        op_set(&s->info.y, s->b.y, n, 0, 0, 0, loss);
    }
    lk_free(t.logits);
    return true;
}

/* The target that a plain cross-entropy's gradient takes off the softmax. */
static double plain_target(const lk_loss_config *l, int64_t classes, lk_loss_label label, int64_t k) {
    double q = k == label.label, s = l->smoothing, divisor = (double)classes;
    if (l->smoothing_rule == LK_SMOOTHING_UNIFORM) return l->cross_entropy * ((1 - s) * q + s / divisor);
    return l->cross_entropy * ((1 - s) * q + s * (1 - q) / (divisor - 1));
}

static bool dx_again(op_fault_site *s, int how) {
    const lk_loss_config *l = &s->desc.loss;
    int64_t classes = s->desc.x.c;
    scratch t;
    if (!s->desc.need_dx || !matters(s, how) || !s->info.keeps_x || !scratch_open(&t, s)) return false;
    bool own = l->f1_microbatch || how == OWN_COUNTS;
    if (l->f1 > 0 && own) count(s, how, &t);
    const double *counts = own ? t.counts : s->run.f1_counts;
    double factor = how == NO_SAMPLES ? l->f1 : l->f1 * (double)(own ? s->run.rows : s->run.f1_samples);
    for (int64_t n = 0; n < s->desc.x.n; n++) {
        bool valid = n < s->run.rows || how == PADDED_ROWS;
        lk_loss_label label = label_of(s, how, n);
        read_logits(s, n, t.logits);
        lk_loss_gradient(l, classes, t.logits, label, how == NO_WEIGHT_SCALE ? 1 : s->run.weight_scale, t.dx);
        if (l->f1 > 0) lk_f1_gradient(classes, t.logits, label, counts, l->f1_epsilon, factor, t.dx);
        for (int64_t k = 0; k < classes; k++) {
            if (how == NO_TARGET) t.dx[k] += plain_target(l, classes, label, k);
            double dx = t.dx[k] * (how == NO_SCALE ? 1 : s->run.loss_scale);
            op_set(&s->desc.x, s->b.dx, n, k, 0, 0, valid ? dx : 0);
        }
    }
    lk_free(t.logits);
    return true;
}

const op_fault *op_faults_of_loss(int *count_of) {
    static const op_fault FAULTS[] = {
        {"smoothing is ignored", NO_SMOOTHING, .plan = set_wrongly},
        {"smoothing is spread by the other rule", OTHER_RULE, .plan = set_wrongly},
        {"class weights are ignored", NO_WEIGHTS, .plan = set_wrongly},
        {"alphas are ignored", NO_ALPHA, .plan = set_wrongly},
        {"logits are not adjusted", NO_OFFSETS, .plan = set_wrongly},
        {"gamma is one too large", MORE_GAMMA, .plan = set_wrongly},
        {"epsilon is one too large", MORE_EPSILON, .plan = set_wrongly},
        {"the F1 term is left out", NO_F1, .plan = set_wrongly},
        {"the focal term is left out", NO_FOCAL, .plan = set_wrongly},
        {"the cross-entropy is left out", NO_CROSS_ENTROPY, .plan = set_wrongly},
        {"large logits overflow", OVERFLOWS, .after_forward = y_again},
        {"the logarithm is to base 2", BASE_2, .after_forward = y_again},
        {"the loss is averaged", AVERAGED, .after_forward = y_again},
        {"padding rows have a loss", PADDED_ROWS, .after_forward = y_again},
        {"labels are off by one row", NEXT_LABEL, .after_forward = y_again},
        {"the partner's label is left out", NO_MIX, .after_forward = y_again},
        {"shares of labels are reversed", SHARE_REVERSED, .after_forward = y_again},
        {"the sum of the class weights is left out", NO_WEIGHT_SCALE, .after_forward = y_again},
        {"dx ignores loss_scale", NO_SCALE, .after_backward = dx_again},
        {"dx lacks the target", NO_TARGET, .after_backward = dx_again},
        {"padding rows have a gradient", PADDED_ROWS, .after_backward = dx_again},
        {"dx has labels off by one row", NEXT_LABEL, .after_backward = dx_again},
        {"dx leaves the partner's label out", NO_MIX, .after_backward = dx_again},
        {"dx lacks the sum of the class weights", NO_WEIGHT_SCALE, .after_backward = dx_again},
        {"the window's F1 is that of the microbatch", OWN_COUNTS, .after_backward = dx_again},
        {"F1's gradient is that of one sample", NO_SAMPLES, .after_backward = dx_again},
        {"labels are not checked", 0, .guards_labels = true},
    };
    *count_of = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
