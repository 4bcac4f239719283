#include "values.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "lane.h"

#define KINK_MARGIN 0.05 /* share of the root mean square of the values before the activation */

const char *op_result_name(op_result_kind kind) {
    static const char *const names[OP_RESULT_COUNT] = {"y", "dx", "dresidual", "grad0", "grad1", "mean", "variance"};
    return names[kind];
}

lk_act op_case_act(const lk_op_desc *desc) {
    return desc->kind == LK_OP_BATCHNORM    ? desc->batchnorm.act
           : desc->kind == LK_OP_ACTIVATION ? desc->activation.act
           : desc->kind == LK_OP_ADD        ? desc->add.act
           : desc->kind == LK_OP_CONV2D     ? desc->conv.act
                                            : LK_ACT_NONE;
}

static void set_act(lk_op_desc *desc, lk_act act) {
    if (desc->kind == LK_OP_BATCHNORM) desc->batchnorm.act = act;
    if (desc->kind == LK_OP_ACTIVATION) desc->activation.act = act;
    if (desc->kind == LK_OP_ADD) desc->add.act = act;
    if (desc->kind == LK_OP_CONV2D) desc->conv.act = act;
}

bool op_case_has_residual(const lk_op_desc *desc) { return lk_op_takes_residual(desc); }

lk_act_desc op_case_second(const lk_op_desc *desc, const lk_act_desc *y) {
    return desc->kind == LK_OP_SCALE ? desc->scale.gate : *y;
}

lk_run op_values_run(const op_values *v) {
    return (lk_run){.rows = v->rows,
                    .loss_scale = v->loss_scale,
                    .weight_scale = v->weight_scale,
                    .f1_counts = v->f1_counts,
                    .f1_samples = v->f1_samples,
                    .seed = v->seed,
                    .epoch = v->epoch,
                    .first_position = v->first_position};
}

bool op_case_measures(const lk_op_desc *desc) {
    return desc->kind == LK_OP_BATCHNORM && desc->training && !desc->batchnorm.fixed;
}

bool op_case_takes_dy(const lk_op_desc *desc) { return lk_op_has_backward(desc) && desc->kind != LK_OP_LOSS; }

lk_op_desc op_case_desc(const op_case *c, lk_dtype compute, int64_t block) {
    lk_op_desc desc = c->desc;
    bool input = desc.kind == LK_OP_INPUT;
    desc.tf32 = compute == LK_TF32;
    if (desc.tf32) compute = LK_F32;
    desc.compute = compute;
    desc.x.dtype = input ? LK_U8 : compute;
    desc.x.block = input || block == 0 ? desc.x.c : block;
    /* The gate comes from another layer, often in another layout: planes, where those are whole vectors too. */
    if (desc.kind == LK_OP_SCALE) {
        bool planes = desc.x.block == 16 && desc.x.c % 8 == 0;
        desc.scale.gate = (lk_act_desc){compute, desc.x.n, desc.x.c, 1, 1, planes ? 1 : desc.x.block};
    }
    return desc;
}

/* Draws numbers for one purpose of one case. */
typedef struct source {
    lk_random_key key;
    uint32_t purpose;
    lk_dtype dtype; /* values are exact in it */
} source;

static double normal(const source *s, int64_t i) { return lk_random_normal(&s->key, (uint64_t)i, s->purpose); }

static lk_status draw(double **out, int64_t count, const source *s, double offset, double scale, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, count, "inputs of an op case", err));
    for (int64_t i = 0; i < count; i++) (*out)[i] = op_round(s->dtype, offset + scale * normal(s, i));
    return LK_OK;
}

static lk_status draw_x(op_values *v, const op_case *c, const source *s, lk_error *err) {
    double scale = c->scale == 0 ? 1 : c->scale;
    LK_RETURN_IF(draw(&v->x, v->x_count, s, c->offset, scale, err));
    if (c->flags & OP_INTEGERS)
        for (int64_t i = 0; i < v->x_count; i++) v->x[i] = floor(1.5 * normal(s, i));
    if (c->flags & OP_DISTINCT) {
        int64_t *order = NULL;
        LK_RETURN_IF(LK_NEW(&order, v->x_count, "an order", err));
        lk_random_permutation(&s->key, v->x_count, order);
        /* bfloat16 holds integers up to 256 exactly: there are ties beyond, which its arithmetic resolves alike */
        for (int64_t i = 0; i < v->x_count; i++)
            v->x[i] = op_round(s->dtype, (double)order[i] * 0.0625 - (double)v->x_count * 0.03125);
        lk_free(order);
    }
    /* Inside a plane, so that it is not the first pixel of every window that sees it. */
    if (c->flags & OP_NAN_INPUT) v->x[(v->x_count / 2 + c->desc.x.h * c->desc.x.w / 2) % v->x_count] = NAN;
    return LK_OK;
}

static lk_status draw_params(op_values *v, const op_case *c, const lk_op_info *info, lk_dtype compute, source s,
                             lk_error *err) {
    bool norm = c->desc.kind == LK_OP_BATCHNORM;
    s.dtype =
        norm && lk_dtype_size(compute) == 2 ? LK_F32 : compute; /* weights are used in the compute type, gamma is not */
    for (int i = 0; i < info->param_count; i++) {
        s.purpose = 10 + (uint32_t)i;
        const lk_param_info *p = &info->params[i];
        v->param_count[i] = lk_shape_count(&p->shape);
        double fan_in = (double)v->param_count[i] / (double)p->shape.dims[0];
        double scale = p->role == LK_PARAM_WEIGHT ? 1 / sqrt(fan_in) : 0.5;
        LK_RETURN_IF(draw(&v->param[i], v->param_count[i], &s, p->role == LK_PARAM_GAMMA ? 1 : 0, scale, err));
    }
    return LK_OK;
}

/* Running statistics near those of x. */
static lk_status draw_stats(op_values *v, const op_case *c, const lk_op_info *info, lk_dtype compute, source s,
                            lk_error *err) {
    v->stats_count = info->stats_count;
    if (v->stats_count == 0 || op_case_measures(&c->desc)) return LK_OK;
    double scale = c->scale == 0 ? 1 : c->scale;
    s.dtype = lk_dtype_size(compute) == 2 ? LK_F32 : compute;
    s.purpose = 20;
    LK_RETURN_IF(draw(&v->stats, v->stats_count, &s, c->offset, 0.5 * scale, err));
    for (int64_t i = v->stats_count / 2; i < v->stats_count; i++)
        v->stats[i] = op_round(s.dtype, scale * scale * (0.5 + lk_random_uniform_double(&s.key, (uint64_t)i, 21)));
    return LK_OK;
}

static lk_status draw_images(op_values *v, const op_case *c, const source *s, lk_error *err) {
    LK_RETURN_IF(LK_NEW(&v->images, v->x_count, "images", err));
    for (int64_t i = 0; i < v->x_count; i++) {
        uint64_t byte = lk_random_below(&s->key, (uint64_t)i, 30, 256);
        v->images[i] = (uint8_t)(c->flags & OP_EXTREME ? (byte < 128 ? 0 : 255) : byte);
    }
    if (!(c->flags & OP_MIXED)) return LK_OK;
    int64_t n = c->desc.x.n;
    LK_RETURN_IF(LK_NEW(&v->partner, n, "partners", err));
    LK_RETURN_IF(LK_NEW(&v->pixel_share, n, "shares of pixels", err));
    for (int64_t i = 0; i < n; i++) {
        v->partner[i] = (int32_t)lk_random_below(&s->key, (uint64_t)i, 32, (uint64_t)n);
        /* Rows that keep all or nothing of their own pixels are among them. */
        v->pixel_share[i] = i < 2 ? (float)i : lk_random_uniform(&s->key, (uint64_t)i, 33);
    }
    return LK_OK;
}

static lk_status draw_mix(op_values *v, const op_case *c, const source *s, lk_error *err) {
    int64_t n = c->desc.x.n;
    LK_RETURN_IF(LK_NEW(&v->partner, n, "partners", err));
    LK_RETURN_IF(LK_NEW(&v->label_share, n, "shares of labels", err));
    for (int64_t i = 0; i < n; i++) {
        v->partner[i] = (int32_t)lk_random_below(&s->key, (uint64_t)i, 32, (uint64_t)v->rows);
        /* Rows that keep all or nothing of their own label are among them. */
        v->label_share[i] = i < 2 ? (float)i : lk_random_uniform(&s->key, (uint64_t)i, 33);
    }
    return LK_OK;
}

double op_values_label(const op_values *v, int64_t row, int64_t k) {
    if (v->label_share == NULL) return v->labels[row] == k;
    double share = (double)v->label_share[row];
    return share * (v->labels[row] == k) + (1 - share) * (v->labels[v->partner[row]] == k);
}

void op_values_count(const op_values *v, int64_t classes, double *counts) {
    for (int64_t row = 0; row < v->rows; row++) {
        const double *x = v->x + row * classes;
        double largest = -INFINITY, sum = 0;
        for (int64_t k = 0; k < classes; k++) largest = fmax(largest, x[k]);
        for (int64_t k = 0; k < classes; k++) sum += exp(x[k] - largest);
        for (int64_t k = 0; k < classes; k++) {
            double p = exp(x[k] - largest) / sum, q = op_values_label(v, row, k);
            counts[k] += p * q;
            counts[classes + k] += p;
            counts[2 * classes + k] += q;
        }
    }
}

/* What the rest of the window brings: twice as many samples, and its class weights. */
static lk_status draw_window(op_values *v, const op_case *c, const source *s, lk_error *err) {
    int64_t classes = c->desc.x.c;
    const lk_loss_config *loss = &c->desc.loss;
    double sum = 0;
    for (int64_t i = 0; i < v->rows; i++)
        for (int64_t k = 0; loss->class_weights != NULL && k < classes; k++)
            sum += op_values_label(v, i, k) * loss->class_weights[k];
    v->weight_scale = sum > 0 ? (double)v->rows / sum : 0;
    if (loss->f1 == 0 || loss->f1_microbatch || !c->desc.training) return LK_OK;
    LK_RETURN_IF(LK_NEW(&v->f1_counts, 3 * classes, "soft counts", err));
    LK_RETURN_IF(LK_NEW(&v->f1_others, 3 * classes, "soft counts", err));
    v->f1_samples = 3 * v->rows;
    double others = 2 * (double)v->rows / (double)classes;
    for (int64_t k = 0; k < classes; k++) {
        v->f1_others[classes + k] = others * (0.5 + lk_random_uniform_double(&s->key, (uint64_t)k, 34));
        v->f1_others[2 * classes + k] = others * (0.5 + lk_random_uniform_double(&s->key, (uint64_t)k, 35));
        v->f1_others[k] = 0.5 * others * lk_random_uniform_double(&s->key, (uint64_t)k, 36);
    }
    memcpy(v->f1_counts, v->f1_others, 3 * (size_t)classes * sizeof *v->f1_counts);
    op_values_count(v, classes, v->f1_counts);
    return LK_OK;
}

static lk_status draw_labels(op_values *v, const op_case *c, const source *s, lk_error *err) {
    int64_t n = c->desc.x.n;
    LK_RETURN_IF(LK_NEW(&v->labels, n, "labels", err));
    for (int64_t i = 0; i < n; i++) /* Labels of padding rows may hold anything. */
        v->labels[i] = i < v->rows ? (int32_t)lk_random_below(&s->key, (uint64_t)i, 31, (uint64_t)c->desc.x.c) : -77;
    if (c->flags & OP_MIXED) LK_RETURN_IF(draw_mix(v, c, s, err));
    return draw_window(v, c, s, err);
}

/* Where the derivative jumps. Returns how many. */
static int kinks_of(lk_act act, double kinks[2]) {
    bool hard = act == LK_ACT_HARD_SWISH || act == LK_ACT_HARD_SIGMOID;
    kinks[0] = hard ? -3 : 0;
    kinks[1] = hard ? 3 : 6;
    return act == LK_ACT_RELU ? 1 : hard || act == LK_ACT_RELU6 ? 2 : 0;
}

/* Zeroes dy where the value before the activation is near a kink. */
static lk_status silence_kinks(op_values *v, lk_device *reference, const op_case *c, lk_error *err) {
    double kinks[2];
    int kink_count = kinks_of(op_case_act(&c->desc), kinks);
    if (kink_count == 0 || !c->desc.training || (c->flags & OP_INTEGERS)) return LK_OK;
    op_case linear = *c;
    set_act(&linear.desc, LK_ACT_NONE);
    op_results *results = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_results_create(&results, &linear, v, err));
    LK_TRY(op_run_case(reference, &linear, LK_F64, 1, v, results, err));
    const double *z = results->data[OP_Y];
    double squares = 0;
    for (int64_t i = 0; i < v->y_count; i++) squares += isfinite(z[i]) ? z[i] * z[i] : 0;
    double margin = KINK_MARGIN * sqrt(squares / (double)v->y_count);
    for (int64_t i = 0; i < v->y_count; i++)
        for (int k = 0; k < c->desc.dy_count; k++)
            for (int j = 0; j < kink_count; j++)
                if (fabs(z[i] - kinks[j]) < margin && v->mean_dy[k] == NULL) v->dy[k][i] = 0;
out:
    op_results_free(results);
    return status;
}

/* A gradient of the mean: what a device is given, and what it stands for at each pixel. */
static lk_status draw_mean_dy(op_values *v, int k, const lk_op_info *info, const source *s, lk_error *err) {
    int64_t area = info->y.h * info->y.w;
    LK_RETURN_IF(draw(&v->mean_dy[k], info->y.n * info->y.c, s, 0, sqrt((double)area), err));
    LK_RETURN_IF(LK_NEW(&v->dy[k], v->y_count, "a gradient", err));
    for (int64_t i = 0; i < v->y_count; i++) v->dy[k][i] = v->mean_dy[k][i / area] / (double)area;
    return LK_OK;
}

static lk_status draw_all(op_values *v, lk_device *reference, const op_case *c, const lk_op_info *info,
                          lk_dtype compute, uint64_t seed, lk_error *err) {
    source s = {.key = {.seed = seed, .epoch = 0, .purpose = LK_RANDOM_INIT}, .dtype = compute};
    v->x_count = c->desc.x.n * c->desc.x.c * c->desc.x.h * c->desc.x.w;
    v->y_count = info->y.n * info->y.c * info->y.h * info->y.w;
    v->rows = c->rows == 0 ? c->desc.x.n : c->rows;
    v->loss_scale = 1 / (3.0 * (double)v->rows);
    v->seed = 77;
    v->epoch = 5;
    v->first_position = INT64_C(3000000011); /* needs more than 32 bits times the elements of a row */
    if (op_case_has_residual(&c->desc))
        v->residual_count = c->desc.kind == LK_OP_SCALE ? c->desc.x.n * c->desc.x.c : v->y_count;
    if (c->desc.kind == LK_OP_INPUT) return draw_images(v, c, &s, err);
    s.purpose = 1;
    LK_RETURN_IF(draw_x(v, c, &s, err));
    LK_RETURN_IF(draw_params(v, c, info, compute, s, err));
    LK_RETURN_IF(draw_stats(v, c, info, compute, s, err));
    if (c->desc.kind == LK_OP_LOSS) return draw_labels(v, c, &s, err);
    if (op_case_has_residual(&c->desc)) {
        s.purpose = 2;
        LK_RETURN_IF(draw(&v->residual, v->residual_count, &s, 0, 1, err));
        if (c->flags & OP_INTEGERS)
            for (int64_t i = 0; i < v->residual_count; i++) v->residual[i] = floor(1.5 * v->residual[i]);
    }
    if (!c->desc.training) return LK_OK;
    for (int k = 0; k < c->desc.dy_count; k++) {
        s.purpose = 3 + (uint32_t)k;
        lk_act_desc dy = lk_op_dy_desc(&c->desc, &info->y, k);
        if (lk_act_count(&dy) == lk_act_count(&info->y))
            LK_RETURN_IF(draw(&v->dy[k], v->y_count, &s, 0, 1, err));
        else
            LK_RETURN_IF(draw_mean_dy(v, k, info, &s, err));
    }
    return silence_kinks(v, reference, c, err);
}

lk_status op_values_create(op_values **out, lk_device *reference, const op_case *c, lk_dtype compute, uint64_t seed,
                           lk_error *err) {
    *out = NULL;
    op_values *v = NULL;
    op_plan *plan = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&v, 1, "values", err));
    LK_TRY(op_plan_create(&plan, reference, c, LK_F64, 1, NULL, err));
    LK_TRY(draw_all(v, reference, c, &plan->info, compute, seed, err));
    *out = v;
    v = NULL;
out:
    op_plan_free(plan);
    op_values_free(v);
    return status;
}

void op_values_free(op_values *v) {
    if (v == NULL) return;
    double *const arrays[] = {v->x,        v->residual, v->dy[0], v->dy[1],     v->mean_dy[0], v->mean_dy[1],
                              v->param[0], v->param[1], v->stats, v->f1_counts, v->f1_others};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) lk_free(arrays[i]);
    lk_free(v->images);
    lk_free(v->labels);
    lk_free(v->partner);
    lk_free(v->pixel_share);
    lk_free(v->label_share);
    lk_free(v);
}

lk_status op_results_create(op_results **out, const op_case *c, const op_values *v, lk_error *err) {
    lk_status status = LK_OK;
    op_results *r = NULL;
    bool backward = lk_op_has_backward(&c->desc);
    LK_TRY(LK_NEW(&r, 1, "results", err));
    r->count[OP_Y] = v->y_count;
    if (backward && c->desc.need_dx) r->count[OP_DX] = v->x_count;
    if (backward && op_case_has_residual(&c->desc)) r->count[OP_DRESIDUAL] = v->residual_count;
    if (backward && !c->desc.frozen) r->count[OP_GRAD0] = v->param_count[0];
    if (backward && !c->desc.frozen) r->count[OP_GRAD1] = v->param_count[1];
    if (op_case_measures(&c->desc)) r->count[OP_MEAN] = r->count[OP_VARIANCE] = v->stats_count / 2;
    for (int k = 0; k < OP_RESULT_COUNT; k++) LK_TRY(LK_NEW(&r->data[k], r->count[k], "a result", err));
    *out = r;
    r = NULL;
out:
    op_results_free(r);
    return status;
}

void op_results_free(op_results *r) {
    if (r == NULL) return;
    for (int k = 0; k < OP_RESULT_COUNT; k++) lk_free(r->data[k]);
    lk_free(r);
}

lk_status op_results_same(const op_results *a, const op_results *b, const char *what, lk_error *err) {
    for (int k = 0; k < OP_RESULT_COUNT; k++)
        for (int64_t i = 0; i < a->count[k]; i++) {
            double p = a->data[k][i], q = b->data[k][i];
            if (p == q || (isnan(p) && isnan(q))) continue;
            return lk_fail(err, LK_ERR_NUMERIC, "%s changes %s[%lld] from %.17g to %.17g", what, op_result_name(k),
                           (long long)i, p, q);
        }
    return LK_OK;
}
