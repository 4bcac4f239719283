/* Faults of batch normalisation. */
#include <math.h>

#include "core/memory.h"
#include "fault.h"

typedef enum way {
    UNBIASED,      /* variance divided by m - 1 */
    CANCELLING,    /* E[x^2] - E[x]^2 in float32 */
    FIRST_SAMPLE,  /* statistics of the first sample only */
    NO_EPS,        /* eps left out */
    EPS_OUTSIDE,   /* 1 / (sqrt(var) + eps) */
    NO_MEAN,       /* mean not subtracted */
    NO_GAMMA,      /* gamma left out */
    NO_BETA,       /* beta left out */
    NO_ACT,        /* activation left out */
    NO_RESIDUAL,   /* residual left out */
    RESIDUAL_LAST, /* residual added after the activation */
    NAN_LOST,      /* the activation makes 0 of NaN */
    OWN_STATS,     /* evaluation with the microbatch's statistics */
    NO_SUM_TERM,   /* dx without the term of dbeta */
    NO_XHAT_TERM,  /* dx without the term of dgamma */
    NO_MASK,       /* gradients not masked by the activation */
    DETACHED,      /* dx = gamma / sqrt(var + eps) dz: statistics taken as constants */
    ATTACHED,      /* dx of fixed statistics with both terms, as if they moved with x */
    WHOLE_MEAN     /* each pixel gets all of a mean's gradient, not its share */
} way;

/* One channel: how x becomes xhat. */
typedef struct channel {
    double mean, variance, inverse;
} channel;

static channel own_statistics(const op_fault_site *s, int64_t c, way how) {
    const lk_act_desc *d = &s->desc.x;
    int64_t samples = how == FIRST_SAMPLE ? 1 : d->n;
    double count = (double)(samples * d->h * d->w), sum = 0, squares = 0;
    float sum32 = 0, squares32 = 0;
    for (int64_t i = 0; i < samples * d->h * d->w; i++) {
        double x = op_at(d, s->b.x, i / (d->h * d->w), c, i / d->w % d->h, i % d->w);
        sum += x;
        sum32 += (float)x;
        squares32 += (float)x * (float)x;
    }
    channel r = {.mean = sum / count};
    for (int64_t i = 0; i < samples * d->h * d->w; i++) {
        double x = op_at(d, s->b.x, i / (d->h * d->w), c, i / d->w % d->h, i % d->w) - r.mean;
        squares += x * x;
    }
    r.variance = squares / (how == UNBIASED ? count - 1 : count);
    if (how == CANCELLING) r.variance = squares32 / (float)count - sum32 / (float)count * (sum32 / (float)count);
    return r;
}

static channel statistics(const op_fault_site *s, int64_t c, way how) {
    double eps = s->desc.batchnorm.eps;
    lk_dtype master = s->inner->master;
    channel r;
    const void *given = s->desc.training ? s->run.running : s->run.stats;
    if (op_case_measures(&s->desc) || how == OWN_STATS)
        r = own_statistics(s, c, how);
    else
        r = (channel){.mean = op_get(master, given, s->b.stats_offset + c),
                      .variance = op_get(master, given, s->b.stats_offset + s->desc.x.c + c)};
    r.inverse = how == NO_EPS        ? 1 / sqrt(r.variance)
                : how == EPS_OUTSIDE ? 1 / (sqrt(r.variance) + eps)
                                     : 1 / sqrt(r.variance + eps);
    if (how == NO_MEAN) r.mean = 0;
    return r;
}

static bool matters(const op_fault_site *s, way how) {
    const lk_op_desc *d = &s->desc;
    bool residual = d->batchnorm.residual, relu = d->batchnorm.act == LK_ACT_RELU;
    bool measures = op_case_measures(d);
    if (d->batchnorm.pool.kernel > 0) return false; /* what is broken here is what lies before the pooling */
    if (how == UNBIASED || how == CANCELLING || how == FIRST_SAMPLE) return measures;
    if (how == NO_SUM_TERM || how == NO_XHAT_TERM || how == DETACHED) return measures;
    if (how == ATTACHED) return !measures;
    if (how == WHOLE_MEAN)
        return d->batchnorm.mean_dy && d->dy_count == 1 && d->batchnorm.act == LK_ACT_NONE && d->x.h * d->x.w > 1;
    if (how == NO_ACT || how == NO_MASK || how == NAN_LOST) return relu;
    if (how == NO_RESIDUAL) return residual;
    if (how == RESIDUAL_LAST) return residual && relu;
    if (how == OWN_STATS) return !measures && d->x.n * d->x.h * d->x.w > 1;
    return true;
}

static bool y_again(op_fault_site *s, int how) {
    if (!matters(s, how)) return false;
    const lk_act_desc *d = &s->desc.x, *out = &s->info.y;
    double *gamma = op_fault_param(s, 0), *beta = op_fault_param(s, 1);
    bool relu = s->desc.batchnorm.act == LK_ACT_RELU && how != NO_ACT;
    channel now = {0};
    for (int64_t c = 0; gamma != NULL && beta != NULL && c < d->c; c++) {
        now = statistics(s, c, how);
        for (int64_t i = 0; i < d->n * d->h * d->w; i++) {
            int64_t n = i / (d->h * d->w), y = i / d->w % d->h, x = i % d->w;
            double z = (how == NO_GAMMA ? 1 : gamma[c]) * (op_at(d, s->b.x, n, c, y, x) - now.mean) * now.inverse;
            double residual =
                s->desc.batchnorm.residual && how != NO_RESIDUAL ? op_at(out, s->b.residual, n, c, y, x) : 0;
            z += how == NO_BETA ? 0 : beta[c];
            if (how != RESIDUAL_LAST) z += residual;
            if (relu && (z < 0 || (how == NAN_LOST && isnan(z)))) z = 0;
            op_set(out, s->b.y, n, c, y, x, how == RESIDUAL_LAST ? z + residual : z);
        }
    }
    lk_free(gamma);
    lk_free(beta);
    return true;
}

/* The gradient before the activation; the sign of z decides, recomputed because y may be gone. */
static double dz_at(const op_fault_site *s, const channel *k, double gamma, double beta, way how, int64_t n, int64_t c,
                    int64_t y, int64_t x) {
    double dy = op_fault_dy(s, n, c, y, x);
    if (how == WHOLE_MEAN) dy *= (double)(s->desc.x.h * s->desc.x.w);
    if (s->desc.batchnorm.act != LK_ACT_RELU || how == NO_MASK) return dy;
    if (s->info.keeps_y) return op_at(&s->info.y, s->b.y, n, c, y, x) <= 0 ? 0 : dy;
    return gamma * (op_at(&s->desc.x, s->b.x, n, c, y, x) - k->mean) * k->inverse + beta <= 0 ? 0 : dy;
}

/* dx, dgamma and dbeta of every channel in the way given. */
static bool backward_again(op_fault_site *s, int how) {
    bool recomputable = s->info.keeps_x && (s->info.keeps_y || !s->desc.batchnorm.residual);
    if (!matters(s, how) || !recomputable || s->b.dresidual == s->b.dy[0]) return false;
    const lk_act_desc *d = &s->desc.x;
    double *gamma = op_fault_param(s, 0), *beta = op_fault_param(s, 1);
    double *dgamma = op_fault_grad(s, 0), *dbeta = op_fault_grad(s, 1), m = (double)(d->n * d->h * d->w);
    bool constant = how == DETACHED || (!op_case_measures(&s->desc) && how != ATTACHED);
    for (int64_t c = 0; dgamma != NULL && dbeta != NULL && gamma != NULL && beta != NULL && c < d->c; c++) {
        channel k = statistics(s, c, how);
        dgamma[c] = dbeta[c] = 0;
        for (int64_t pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < d->n * d->h * d->w; i++) {
                int64_t n = i / (d->h * d->w), y = i / d->w % d->h, x = i % d->w;
                double dz = dz_at(s, &k, gamma[c], beta[c], how, n, c, y, x);
                double xhat = (op_at(d, s->b.x, n, c, y, x) - k.mean) * k.inverse;
                if (pass == 0) {
                    dgamma[c] += dz * xhat;
                    dbeta[c] += dz;
                    continue;
                }
                if (!s->desc.need_dx) continue;
                double sum_term = how == NO_SUM_TERM || constant ? 0 : dbeta[c] / m;
                double xhat_term = how == NO_XHAT_TERM || constant ? 0 : xhat * dgamma[c] / m;
                double scale = (how == NO_GAMMA ? 1 : gamma[c]) * k.inverse;
                op_set(d, s->b.dx, n, c, y, x, scale * (dz - sum_term - xhat_term));
            }
    }
    bool done = dgamma != NULL && dbeta != NULL;
    if (done && !s->desc.frozen) done = op_fault_set_grad(s, 0, dgamma) && op_fault_set_grad(s, 1, dbeta);
    double *const all[] = {gamma, beta, dgamma, dbeta};
    for (int i = 0; i < 4; i++) lk_free(all[i]);
    return done;
}

static bool gradients_swapped(op_fault_site *s, int mode) {
    (void)mode;
    if (s->desc.frozen) return false;
    double *first = op_fault_grad(s, 0), *second = op_fault_grad(s, 1);
    bool done = first != NULL && second != NULL && op_fault_set_grad(s, 0, second) && op_fault_set_grad(s, 1, first);
    lk_free(first);
    lk_free(second);
    return done;
}

/* dresidual = dy, whatever the activation. */
static bool dresidual_unmasked(op_fault_site *s, int mode) {
    (void)mode;
    bool masked = s->desc.batchnorm.residual && s->desc.batchnorm.act == LK_ACT_RELU;
    if (!masked || s->b.dresidual == s->b.dy[0]) return false;
    OP_FOR_EACH(&s->info.y, n, c, y, x)
    op_set(&s->info.y, s->b.dresidual, n, c, y, x, op_fault_dy(s, n, c, y, x));
    return true;
}

typedef enum stats_way { STATS_UNBIASED, STATS_SWAPPED, STATS_STD, STATS_FIRST_CHANNEL, STATS_NO_OFFSET } stats_way;

static bool stats_wrong(op_fault_site *s, int how) {
    if (!op_case_measures(&s->desc)) return false;
    lk_dtype t = s->inner->master;
    int64_t channels = s->desc.x.c, at = s->b.stats_offset;
    double m = (double)(s->desc.x.n * s->desc.x.h * s->desc.x.w);
    for (int64_t c = 0; c < channels; c++) {
        double mean = op_get(t, s->run.stats, at + c), variance = op_get(t, s->run.stats, at + channels + c);
        if (how == STATS_UNBIASED) op_put(t, s->run.stats, at + channels + c, variance * m / (m - 1));
        if (how == STATS_STD) op_put(t, s->run.stats, at + channels + c, sqrt(variance));
        if (how == STATS_SWAPPED) op_put(t, s->run.stats, at + c, variance);
        if (how == STATS_SWAPPED) op_put(t, s->run.stats, at + channels + c, mean);
        if (how == STATS_FIRST_CHANNEL) op_put(t, s->run.stats, at + c, op_get(t, s->run.stats, at));
        if (how == STATS_NO_OFFSET) op_put(t, s->run.stats, c, mean);
    }
    return true;
}

static bool path_kept(lk_op_desc *desc, int mode) {
    (void)mode;
    if (!(desc->batchnorm.drop_path > 0) || !desc->training) return false;
    desc->batchnorm.drop_path = 0;
    return true;
}

static bool path_of_layer_0(lk_op_desc *desc, int mode) {
    (void)mode;
    if (!(desc->batchnorm.drop_path > 0) || !desc->training) return false;
    desc->layer = 0;
    return true;
}

/* dresidual = keep dy: the residual's gradient dropped with the path's. */
static bool dresidual_dropped(op_fault_site *s, int mode) {
    (void)mode;
    double rate = s->desc.batchnorm.drop_path;
    if (!(rate > 0)) return false;
    OP_FOR_EACH(&s->info.y, n, c, y, x) {
        double keep = lk_run_drops(&s->run, s->desc.layer, n, 1, 0, rate) ? 0 : 1 / (1 - rate);
        op_set(&s->info.y, s->b.dresidual, n, c, y, x, op_at(&s->info.y, s->b.dresidual, n, c, y, x) * keep);
    }
    return true;
}

/* The activation that follows is taken for another. */
static bool act_mistaken(lk_op_desc *desc, int mode) {
    static const lk_act NEIGHBOUR[LK_ACT_COUNT] = {
        [LK_ACT_RELU6] = LK_ACT_RELU, [LK_ACT_SILU] = LK_ACT_HARD_SWISH, [LK_ACT_HARD_SWISH] = LK_ACT_SILU};
    if ((int)desc->batchnorm.act != mode) return false;
    desc->batchnorm.act = NEIGHBOUR[mode];
    return true;
}

/* What goes forward in training with no way back is taken for evaluation. */
static bool forward_evaluates(lk_op_desc *desc, int mode) {
    (void)mode;
    if (lk_op_has_backward(desc) || !op_case_measures(desc)) return false;
    desc->training = false;
    return true;
}

static bool residual_ignored(lk_op_desc *desc, int mode) {
    (void)mode;
    if (!desc->batchnorm.residual) return false;
    desc->batchnorm.residual = false;
    desc->batchnorm.drop_path = 0; /* needs a residual */
    return true;
}

const op_fault *op_faults_of_batchnorm(int *count) {
    static const op_fault FAULTS[] = {
        {"the unbiased variance normalises", UNBIASED, .after_forward = y_again},
        {"the variance is E[x^2] - E[x]^2 in float32", CANCELLING, .after_forward = y_again},
        {"the statistics are those of the first sample", FIRST_SAMPLE, .after_forward = y_again},
        {"eps is left out", NO_EPS, .after_forward = y_again},
        {"eps is added to the deviation", EPS_OUTSIDE, .after_forward = y_again},
        {"the mean is not subtracted", NO_MEAN, .after_forward = y_again},
        {"gamma is left out", NO_GAMMA, .after_forward = y_again},
        {"beta is left out", NO_BETA, .after_forward = y_again},
        {"the activation is left out", NO_ACT, .after_forward = y_again},
        {"the residual is left out", NO_RESIDUAL, .after_forward = y_again},
        {"the residual is added after the activation", RESIDUAL_LAST, .after_forward = y_again},
        {"the activation makes 0 of NaN", NAN_LOST, .after_forward = y_again},
        {"evaluation uses the microbatch's statistics", OWN_STATS, .after_forward = y_again},
        {"training without a way back is taken for evaluation", 0, .plan = forward_evaluates},
        {"the residual and its gradient are ignored", 0, .plan = residual_ignored},
        {"no path is dropped", 0, .plan = path_kept},
        {"all layers drop the same paths", 0, .plan = path_of_layer_0},
        {"the residual's gradient is dropped with the path's", 0, .after_backward = dresidual_dropped},
        {"silu is taken for hard_swish", LK_ACT_SILU, .plan = act_mistaken},
        {"hard_swish is taken for silu", LK_ACT_HARD_SWISH, .plan = act_mistaken},
        {"relu6 is taken for relu", LK_ACT_RELU6, .plan = act_mistaken},
        {"dx lacks the term of the mean", NO_SUM_TERM, .after_backward = backward_again},
        {"dx lacks the term of the variance", NO_XHAT_TERM, .after_backward = backward_again},
        {"dx takes the statistics as constants", DETACHED, .after_backward = backward_again},
        {"dx takes fixed statistics as moving with x", ATTACHED, .after_backward = backward_again},
        {"dx takes the microbatch's statistics for fixed ones", OWN_STATS, .after_backward = backward_again},
        {"dx lacks gamma", NO_GAMMA, .after_backward = backward_again},
        {"a mean's gradient is not divided", WHOLE_MEAN, .after_backward = backward_again},
        {"the gradients are not masked", NO_MASK, .after_backward = backward_again},
        {"dgamma takes x without the mean", NO_MEAN, .after_backward = backward_again},
        {"the backward pass takes the unbiased variance", UNBIASED, .after_backward = backward_again},
        {"dgamma and dbeta are swapped", 0, .after_backward = gradients_swapped},
        {"dresidual is not masked", 0, .after_backward = dresidual_unmasked},
        {"the statistics hold the unbiased variance", STATS_UNBIASED, .after_forward = stats_wrong},
        {"the statistics hold the deviation", STATS_STD, .after_forward = stats_wrong},
        {"mean and variance are swapped in the statistics", STATS_SWAPPED, .after_forward = stats_wrong},
        {"every mean is the first channel's", STATS_FIRST_CHANNEL, .after_forward = stats_wrong},
        {"the statistics ignore their offset", STATS_NO_OFFSET, .after_forward = stats_wrong},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
