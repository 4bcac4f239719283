/* Faults of the input, of activations and of the sum. */
#include <math.h>

#include "fault.h"

/* ---- input ---- */

typedef enum input_way {
    BY_256,
    BGR,
    NO_MEAN,
    NO_STD,
    PLANAR,
    MEAN_AFTER,
    SIGNED_BYTES,
    FIRST_MEAN,
    UNMIXED,
    SWAPPED,
    NEXT_ROW,
    WHOLE
} input_way;

static double input_value(const op_fault_site *s, int how, int64_t n, int64_t c, int64_t y, int64_t x) {
    const lk_act_desc *d = &s->desc.x;
    int64_t from = how == BGR ? d->c - 1 - c : c, at = ((n * d->h + y) * d->w + x) * d->c + from;
    if (how == PLANAR) at = ((n * d->c + c) * d->h + y) * d->w + x;
    double pixel = s->run.images[at];
    if (how == SIGNED_BYTES && pixel > 127) pixel -= 256;
    double mean = s->desc.input.mean[how == FIRST_MEAN ? 0 : c], std = s->desc.input.std[c];
    double value = pixel / (how == BY_256 ? 256 : 255);
    if (how == NO_MEAN) mean = 0;
    if (how == NO_STD) std = 1;
    return how == MEAN_AFTER ? value / std - mean : (value - mean) / std;
}

static bool input_again(op_fault_site *s, int how) {
    const lk_act_desc *d = &s->desc.x;
    const lk_run *run = &s->run;
    bool about_mixing = how == UNMIXED || how == SWAPPED || how == NEXT_ROW || how == WHOLE;
    if ((how == BGR || how == FIRST_MEAN || how == PLANAR) && d->c == 1) return false;
    if (about_mixing && run->partner == NULL) return false;
    OP_FOR_EACH(d, n, c, y, x) {
        int64_t partner = run->partner == NULL ? n : run->partner[n];
        double share = run->partner == NULL || how == UNMIXED ? 1 : (double)run->pixel_share[n];
        if (how == NEXT_ROW) partner = (n + 1) % d->n;
        double own = input_value(s, how, n, c, y, x), other = input_value(s, how, partner, c, y, x);
        double value = how == SWAPPED ? (1 - share) * own + share * other : share * own + (1 - share) * other;
        op_set(&s->info.y, s->b.y, n, c, y, x, how == WHOLE ? own + (1 - share) * other : value);
    }
    return true;
}

static const op_fault INPUT_FAULTS[] = {
    {"bytes are divided by 256", BY_256, .after_forward = input_again},
    {"the colours are in reverse order", BGR, .after_forward = input_again},
    {"the mean is not subtracted", NO_MEAN, .after_forward = input_again},
    {"it is not divided by std", NO_STD, .after_forward = input_again},
    {"pixels are read as planes", PLANAR, .after_forward = input_again},
    {"the mean is subtracted after the division", MEAN_AFTER, .after_forward = input_again},
    {"bytes are read as signed", SIGNED_BYTES, .after_forward = input_again},
    {"every channel has the first one's mean", FIRST_MEAN, .after_forward = input_again},
    {"rows are not mixed", UNMIXED, .after_forward = input_again},
    {"the shares of a mixed row are swapped", SWAPPED, .after_forward = input_again},
    {"rows are mixed with the next row", NEXT_ROW, .after_forward = input_again},
    {"the whole of a row is mixed with its partner", WHOLE, .after_forward = input_again},
};

/* ---- activation and add ---- */

typedef enum act_way { NO_ACT, LEAKY, NAN_LOST, AFTER_ACT, NO_RESIDUAL, DIFFERENCE, ZERO_PASSES, NO_MASK } act_way;

static bool act_y_again(op_fault_site *s, int how) {
    bool add = s->desc.kind == LK_OP_ADD, relu = op_case_act(&s->desc) == LK_ACT_RELU;
    bool about_act = how == NO_ACT || how == LEAKY || how == NAN_LOST || how == AFTER_ACT;
    if ((about_act && !relu) || (!about_act && !add)) return false;
    const lk_act_desc *d = &s->info.y;
    OP_FOR_EACH(d, n, c, y, x) {
        double z = op_at(d, s->b.x, n, c, y, x), residual = add ? op_at(d, s->b.residual, n, c, y, x) : 0;
        if (how == NO_RESIDUAL) residual = 0;
        if (how == DIFFERENCE) residual = -residual;
        if (how != AFTER_ACT) z += residual;
        if (relu && how != NO_ACT && z < 0) z = how == LEAKY ? 0.01 * z : 0;
        if (how == NAN_LOST && isnan(z)) z = 0;
        if (how == AFTER_ACT) z += residual;
        op_set(d, s->b.y, n, c, y, x, z);
    }
    return true;
}

/* target: dx and dresidual are the same thing. */
static bool act_gradient_again(op_fault_site *s, int how, void *target) {
    if (op_case_act(&s->desc) != LK_ACT_RELU || target == NULL || target == s->b.dy[0] || !s->info.keeps_y)
        return false;
    const lk_act_desc *d = &s->info.y;
    OP_FOR_EACH(d, n, c, y, x) {
        double out = op_at(d, s->b.y, n, c, y, x), dy = op_fault_dy(s, n, c, y, x);
        bool passes = how == NO_MASK || out > 0 || (how == ZERO_PASSES && out >= 0);
        op_set(d, target, n, c, y, x, passes || isnan(out) ? dy : 0);
    }
    return true;
}

static bool act_dx_again(op_fault_site *s, int how) { return act_gradient_again(s, how, s->b.dx); }
static bool act_dresidual_again(op_fault_site *s, int how) { return act_gradient_again(s, how, s->b.dresidual); }

/* The activation that each is most easily mistaken for. */
static const lk_act NEIGHBOUR[LK_ACT_COUNT] = {[LK_ACT_RELU6] = LK_ACT_RELU,
                                               [LK_ACT_SILU] = LK_ACT_HARD_SWISH,
                                               [LK_ACT_HARD_SWISH] = LK_ACT_SILU,
                                               [LK_ACT_SIGMOID] = LK_ACT_HARD_SIGMOID,
                                               [LK_ACT_HARD_SIGMOID] = LK_ACT_SIGMOID};

/* Plans another activation where `mode` is the one wanted. */
static bool act_mistaken(lk_op_desc *desc, int mode) {
    if ((int)op_case_act(desc) != mode) return false;
    if (desc->kind == LK_OP_ACTIVATION) desc->activation.act = NEIGHBOUR[mode];
    if (desc->kind == LK_OP_ADD) desc->add.act = NEIGHBOUR[mode];
    return true;
}

typedef enum slope_way { NO_PRODUCT_TERM, NO_DERIVATIVE, DY_OF_VALUE } slope_way;

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

/* dx of SILU, or of SIGMOID, with a part of the derivative missing. */
static bool slope_wrong(op_fault_site *s, int how) {
    lk_act act = op_case_act(&s->desc);
    if (s->b.dx == NULL || !s->desc.need_dx || (act != LK_ACT_SILU && act != LK_ACT_SIGMOID)) return false;
    if ((how == NO_PRODUCT_TERM) != (act == LK_ACT_SILU) && how != NO_DERIVATIVE) return false;
    const lk_act_desc *d = &s->info.y;
    OP_FOR_EACH(d, n, c, y, x) {
        double dy = op_fault_dy(s, n, c, y, x);
        double value = act == LK_ACT_SILU ? op_at(d, s->b.x, n, c, y, x) : op_at(d, s->b.y, n, c, y, x);
        double slope = how == NO_PRODUCT_TERM ? sigmoid(value) : how == DY_OF_VALUE ? value : 1;
        op_set(d, s->b.dx, n, c, y, x, dy * slope);
    }
    return true;
}

static const op_fault ACTIVATION_FAULTS[] = {
    {"relu6 is taken for relu", LK_ACT_RELU6, .plan = act_mistaken},
    {"silu is taken for hard_swish", LK_ACT_SILU, .plan = act_mistaken},
    {"hard_swish is taken for silu", LK_ACT_HARD_SWISH, .plan = act_mistaken},
    {"sigmoid is taken for hard_sigmoid", LK_ACT_SIGMOID, .plan = act_mistaken},
    {"hard_sigmoid is taken for sigmoid", LK_ACT_HARD_SIGMOID, .plan = act_mistaken},
    {"the derivative of silu lacks a term", NO_PRODUCT_TERM, .after_backward = slope_wrong},
    {"the derivative is taken as 1", NO_DERIVATIVE, .after_backward = slope_wrong},
    {"the derivative of sigmoid is taken as its value", DY_OF_VALUE, .after_backward = slope_wrong},
    {"the activation is left out", NO_ACT, .after_forward = act_y_again},
    {"negative values leak", LEAKY, .after_forward = act_y_again},
    {"NaN becomes 0", NAN_LOST, .after_forward = act_y_again},
    {"dx is not masked", NO_MASK, .after_backward = act_dx_again},
    {"dx passes at exactly 0", ZERO_PASSES, .after_backward = act_dx_again},
};

static const op_fault ADD_FAULTS[] = {
    {"relu6 is taken for relu", LK_ACT_RELU6, .plan = act_mistaken},
    {"silu is taken for hard_swish", LK_ACT_SILU, .plan = act_mistaken},
    {"sigmoid is taken for hard_sigmoid", LK_ACT_SIGMOID, .plan = act_mistaken},
    {"the activation is left out", NO_ACT, .after_forward = act_y_again},
    {"negative values leak", LEAKY, .after_forward = act_y_again},
    {"NaN becomes 0", NAN_LOST, .after_forward = act_y_again},
    {"the residual is added after the activation", AFTER_ACT, .after_forward = act_y_again},
    {"the residual is left out", NO_RESIDUAL, .after_forward = act_y_again},
    {"the residual is subtracted", DIFFERENCE, .after_forward = act_y_again},
    {"dx is not masked", NO_MASK, .after_backward = act_dx_again},
    {"dx passes at exactly 0", ZERO_PASSES, .after_backward = act_dx_again},
    {"dresidual is not masked", NO_MASK, .after_backward = act_dresidual_again},
    {"dresidual passes at exactly 0", ZERO_PASSES, .after_backward = act_dresidual_again},
};

const op_fault *op_faults_of_input(int *count) {
    *count = (int)(sizeof INPUT_FAULTS / sizeof INPUT_FAULTS[0]);
    return INPUT_FAULTS;
}

const op_fault *op_faults_of_activation(int *count) {
    *count = (int)(sizeof ACTIVATION_FAULTS / sizeof ACTIVATION_FAULTS[0]);
    return ACTIVATION_FAULTS;
}

const op_fault *op_faults_of_add(int *count) {
    *count = (int)(sizeof ADD_FAULTS / sizeof ADD_FAULTS[0]);
    return ADD_FAULTS;
}
