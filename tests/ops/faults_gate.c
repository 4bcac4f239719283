/* Faults of gates and of dropout. */
#include "fault.h"

typedef enum gate_way {
    NO_GATE,
    GATE_ADDED,
    FIRST_SAMPLE,
    FIRST_CHANNEL,
    MEAN,
    LAST_PIXEL,
    FIRST_PIXEL,
    OF_Y
} gate_way;

static double gate_at(const op_fault_site *s, int how, int64_t n, int64_t c) {
    return op_at(&s->desc.scale.gate, s->b.residual, how == FIRST_SAMPLE ? 0 : n, how == FIRST_CHANNEL ? 0 : c, 0, 0);
}

/* Does this way change anything for the case? */
static bool gate_matters(const op_fault_site *s, int how) {
    const lk_act_desc *d = &s->desc.x;
    if (how == FIRST_SAMPLE) return d->n > 1;
    if (how == FIRST_CHANNEL) return d->c > 1;
    return how == NO_GATE || how == GATE_ADDED || how == OF_Y || d->h * d->w > 1;
}

static bool gated_y_again(op_fault_site *s, int how) {
    if (!gate_matters(s, how)) return false;
    OP_FOR_EACH(&s->info.y, n, c, y, x) {
        double value = op_at(&s->desc.x, s->b.x, n, c, y, x), gate = how == NO_GATE ? 1 : gate_at(s, how, n, c);
        op_set(&s->info.y, s->b.y, n, c, y, x, how == GATE_ADDED ? value + gate : value * gate);
    }
    return true;
}

static bool gated_dx_again(op_fault_site *s, int how) {
    if (!s->desc.need_dx || !gate_matters(s, how)) return false;
    OP_FOR_EACH(&s->desc.x, n, c, y, x)
    op_set(&s->desc.x, s->b.dx, n, c, y, x, op_fault_dy(s, n, c, y, x) * (how == NO_GATE ? 1 : gate_at(s, how, n, c)));
    return true;
}

static bool dgate_again(op_fault_site *s, int how) {
    const lk_act_desc *d = &s->desc.x;
    if (!gate_matters(s, how)) return false;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t c = 0; c < d->c; c++) {
            double sum = 0;
            for (int64_t i = 0; i < d->h * d->w; i++) {
                int64_t from = how == FIRST_SAMPLE ? 0 : n;
                double add = op_fault_dy(s, n, c, i / d->w, i % d->w) * op_at(d, s->b.x, from, c, i / d->w, i % d->w);
                if (how == OF_Y) add *= gate_at(s, how, n, c);
                if (how == LAST_PIXEL && i == d->h * d->w - 1) add = 0;
                if (how == FIRST_PIXEL && i > 0) add = 0;
                sum += add;
            }
            op_set(&s->desc.scale.gate, s->b.dresidual, n, c, 0, 0, how == MEAN ? sum / (double)(d->h * d->w) : sum);
        }
    return true;
}

const op_fault *op_faults_of_scale(int *count) {
    static const op_fault FAULTS[] = {
        {"the gate is left out", NO_GATE, .after_forward = gated_y_again},
        {"the gate is added", GATE_ADDED, .after_forward = gated_y_again},
        {"all samples take the first one's gate", FIRST_SAMPLE, .after_forward = gated_y_again},
        {"all channels take the first one's gate", FIRST_CHANNEL, .after_forward = gated_y_again},
        {"dx lacks the gate", NO_GATE, .after_backward = gated_dx_again},
        {"dx takes the first sample's gate", FIRST_SAMPLE, .after_backward = gated_dx_again},
        {"dx takes the first channel's gate", FIRST_CHANNEL, .after_backward = gated_dx_again},
        {"the gate's gradient is a mean", MEAN, .after_backward = dgate_again},
        {"the gate's gradient leaves out the last pixel", LAST_PIXEL, .after_backward = dgate_again},
        {"the gate's gradient takes the first pixel only", FIRST_PIXEL, .after_backward = dgate_again},
        {"the gate's gradient takes the first sample's x", FIRST_SAMPLE, .after_backward = dgate_again},
        {"the gate's gradient is taken from y", OF_Y, .after_backward = dgate_again},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}

typedef enum drop_way {
    NOT_SCALED,
    NOT_DROPPED,
    COMPLEMENT,   /* the others are dropped */
    OTHER_LAYER,  /* the layer is not part of the key */
    OTHER_EPOCH,  /* nor the epoch */
    OTHER_PLACE,  /* nor the position in the epoch's order */
    SAME_ROWS,    /* every row like the first */
    NHWC_ORDER,   /* elements counted with the channel last */
    IN_EVALUATION /* evaluation drops too */
} drop_way;

static bool drop_matters(const op_fault_site *s, int how) {
    const lk_op_desc *d = &s->desc;
    if (how == IN_EVALUATION) return !d->training && d->dropout.rate > 0;
    if (how == SAME_ROWS && d->x.n == 1) return false;
    if (how == NHWC_ORDER && (d->x.c == 1 || d->x.h * d->x.w == 1)) return false;
    return d->training && d->dropout.rate > 0;
}

static double factor(const op_fault_site *s, int how, int64_t n, int64_t c, int64_t y, int64_t x) {
    const lk_act_desc *d = &s->desc.x;
    double rate = s->desc.dropout.rate;
    lk_run run = s->run;
    if (how == OTHER_EPOCH) run.epoch = 0;
    if (how == OTHER_PLACE) run.first_position = 0;
    int64_t element = (c * d->h + y) * d->w + x;
    if (how == NHWC_ORDER) element = (y * d->w + x) * d->c + c;
    bool drops = lk_run_drops(&run, how == OTHER_LAYER ? 0 : s->desc.layer, how == SAME_ROWS ? 0 : n,
                              d->c * d->h * d->w, element, rate);
    if (how == COMPLEMENT) drops = !drops;
    if (how == NOT_DROPPED) drops = false;
    return drops ? 0 : how == NOT_SCALED ? 1 : 1 / (1 - rate);
}

static bool dropped_y_again(op_fault_site *s, int how) {
    if (!drop_matters(s, how)) return false;
    OP_FOR_EACH(&s->desc.x, n, c, y, x)
    op_set(&s->info.y, s->b.y, n, c, y, x, op_at(&s->desc.x, s->b.x, n, c, y, x) * factor(s, how, n, c, y, x));
    return true;
}

static bool dropped_dx_again(op_fault_site *s, int how) {
    if (!s->desc.need_dx || !drop_matters(s, how)) return false;
    OP_FOR_EACH(&s->desc.x, n, c, y, x)
    op_set(&s->desc.x, s->b.dx, n, c, y, x, op_fault_dy(s, n, c, y, x) * factor(s, how, n, c, y, x));
    return true;
}

const op_fault *op_faults_of_dropout(int *count) {
    static const op_fault FAULTS[] = {
        {"what stays is not scaled", NOT_SCALED, .after_forward = dropped_y_again},
        {"nothing is dropped", NOT_DROPPED, .after_forward = dropped_y_again},
        {"what should stay is dropped", COMPLEMENT, .after_forward = dropped_y_again},
        {"all layers drop alike", OTHER_LAYER, .after_forward = dropped_y_again},
        {"all epochs drop alike", OTHER_EPOCH, .after_forward = dropped_y_again},
        {"the position in the epoch is ignored", OTHER_PLACE, .after_forward = dropped_y_again},
        {"all samples drop alike", SAME_ROWS, .after_forward = dropped_y_again},
        {"elements are counted in memory's order", NHWC_ORDER, .after_forward = dropped_y_again},
        {"evaluation drops", IN_EVALUATION, .after_forward = dropped_y_again},
        {"dx is not scaled", NOT_SCALED, .after_backward = dropped_dx_again},
        {"dx passes everywhere", NOT_DROPPED, .after_backward = dropped_dx_again},
        {"dx drops other elements than y", COMPLEMENT, .after_backward = dropped_dx_again},
        {"dx draws for another layer", OTHER_LAYER, .after_backward = dropped_dx_again},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
