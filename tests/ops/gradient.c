/* The reference's backward pass against central differences of its forward pass. */
#include <math.h>
#include <stdio.h>

#include "core/memory.h"
#include "core/random.h"
#include "modes.h"

#define STEP 1e-3      /* times the size of x; the formula's error is of order STEP^4 */
#define TOLERANCE 1e-6 /* relative to the derivative plus the root mean square of the gradient */
#define MAX_COORDINATES 24
#define WORK 2e8 /* operations spent on one gradient, by which large cases check fewer coordinates */

typedef struct differences {
    const op_case *c;
    op_values *values;
    op_lane *lane;       /* training plan of the reference */
    op_results *scratch; /* of the moved forward passes */
} differences;

/* The loss's F1 term over the window, which y leaves out: the counts of the others and of x as it is. */
static lk_status f1_of_window(const differences *d, double *out, lk_error *err) {
    const lk_loss_config *loss = &d->c->desc.loss;
    int64_t classes = d->c->desc.x.c;
    double *counts = NULL, sum = 0;
    *out = 0;
    if (d->c->desc.kind != LK_OP_LOSS || d->values->f1_others == NULL) return LK_OK;
    LK_RETURN_IF(LK_NEW(&counts, 3 * classes, "soft counts", err));
    for (int64_t i = 0; i < 3 * classes; i++) counts[i] = d->values->f1_others[i];
    op_values_count(d->values, classes, counts);
    for (int64_t k = 0; k < classes; k++)
        sum += 2 * counts[k] / (counts[classes + k] + counts[2 * classes + k] + loss->f1_epsilon);
    *out = loss->f1 * (1 - sum / (double)classes);
    lk_free(counts);
    return LK_OK;
}

/* The scalar whose gradient backward gives: sum of y (dy[0] + dy[1]), or loss_scale times the losses. */
static lk_status objective(differences *d, double *out, lk_error *err) {
    LK_RETURN_IF(op_lane_run(d->lane, d->values, d->scratch, err));
    const double *y = d->scratch->data[OP_Y];
    double sum = 0;
    for (int64_t i = 0; i < d->values->y_count; i++) {
        double weight = d->values->loss_scale;
        if (d->values->dy[0] != NULL) weight = d->values->dy[0][i];
        if (d->values->dy[1] != NULL) weight += d->values->dy[1][i];
        sum += y[i] * weight;
    }
    double f1;
    LK_RETURN_IF(f1_of_window(d, &f1, err));
    *out = sum + f1 * d->values->loss_scale * (double)d->values->f1_samples;
    return LK_OK;
}

/* (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h */
static lk_status derivative(differences *d, double *at, double h, double *out, lk_error *err) {
    const double moves[] = {1, -1, 2, -2}, weights[] = {8, -8, -1, 1};
    double original = *at, sum = 0;
    lk_status status = LK_OK;
    for (int i = 0; i < 4; i++) {
        double value;
        *at = original + moves[i] * h;
        LK_TRY(objective(d, &value, err));
        sum += weights[i] * value;
    }
    *out = sum / (12 * h);
out:
    *at = original;
    return status;
}

static lk_status check_gradient(differences *d, const char *name, double *input, const double *gradient, int64_t count,
                                double h, int coordinates, lk_error *err) {
    lk_random_key key = {.seed = 7, .purpose = LK_RANDOM_INIT};
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += gradient[i] * gradient[i];
    double size = sqrt(squares / (double)count);
    for (int k = 0; k < coordinates; k++) {
        int64_t i = (int64_t)lk_random_below(&key, (uint64_t)k, 0, (uint64_t)count);
        double slope;
        LK_RETURN_IF(derivative(d, &input[i], h, &slope, err));
        if (!(fabs(slope - gradient[i]) <= TOLERANCE * (fabs(slope) + size)))
            return lk_fail(err, LK_ERR_NUMERIC, "%s[%lld] is %.12g where differences give %.12g", name, (long long)i,
                           gradient[i], slope);
    }
    return LK_OK;
}

static lk_status check_case(op_context *context, const op_case *c, int *checked, lk_error *err) {
    differences d = {.c = c};
    op_plan *plan = NULL;
    op_results *results = NULL;
    lk_status status = LK_OK;
    LK_TRY(op_values_create(&d.values, context->reference, c, LK_F64, 3, err));
    LK_TRY(op_results_create(&d.scratch, c, d.values, err));
    LK_TRY(op_results_create(&results, c, d.values, err));
    LK_TRY(op_plan_create(&plan, context->device, c, LK_F64, 1, NULL, err));
    LK_TRY(op_lane_create(&d.lane, plan, (op_lane_options){.fill = 0xff}, err));
    LK_TRY(op_lane_run(d.lane, d.values, results, err));
    double h = STEP * (c->scale == 0 ? 1 : c->scale), work = plan->info.flops_forward + plan->info.flops_backward + 1;
    int coordinates = (int)fmin(MAX_COORDINATES, fmax(4, WORK / (4 * work)));
    /* At offset 1e4 an x of float64 holds 12 digits of the step of 1: a larger step loses less. */
    if (fabs(c->offset) > 100) h *= 10;
    if (c->desc.kind == LK_OP_LOSS) h = STEP; /* exp is not scale free */
    const struct {
        const char *name;
        double *input;
        op_result_kind kind;
    } inputs[] = {{"dx", d.values->x, OP_DX},
                  {"dresidual", d.values->residual, OP_DRESIDUAL},
                  {"grad0", d.values->param[0], OP_GRAD0},
                  {"grad1", d.values->param[1], OP_GRAD1}};
    for (int i = 0; i < 4; i++) {
        int64_t count = results->count[inputs[i].kind];
        if (count == 0) continue;
        double step = inputs[i].kind == OP_DX ? h : STEP;
        LK_TRY(check_gradient(&d, inputs[i].name, inputs[i].input, results->data[inputs[i].kind], count, step,
                              coordinates, err));
        *checked += coordinates;
    }
out:
    op_lane_free(d.lane);
    op_plan_free(plan);
    op_results_free(results);
    op_results_free(d.scratch);
    op_values_free(d.values);
    return status;
}

bool op_mode_gradient(op_context *context) {
    if (context->device->master != LK_F64) {
        printf("FAIL differences need a float64 device; compare measures %s against one\n", context->device->name);
        return false;
    }
    int count, cases[LK_OP_COUNT] = {0}, checked = 0, failures = 0;
    const op_case *list = op_cases(&count);
    for (int i = 0; i < count; i++) {
        /* No derivative at ties and exact zeros, nor through NaN. */
        bool smooth = !(list[i].flags & (OP_INTEGERS | OP_NAN_INPUT));
        if (!op_selected(context, &list[i]) || !lk_op_has_backward(&list[i].desc) || !smooth) continue;
        lk_error err = {0};
        int before = checked;
        if (check_case(context, &list[i], &checked, &err) != LK_OK) {
            printf("FAIL gradient of %s: %s\n", list[i].name, err.message);
            failures++;
        }
        if (checked > before) cases[list[i].desc.kind]++;
    }
    for (int kind = LK_OP_INPUT + 1; kind < LK_OP_COUNT && context->filter == NULL; kind++)
        if (cases[kind] < 5) {
            printf("FAIL gradient of %s: %d cases ran, at least 5 must\n", lk_op_kind_name((lk_op_kind)kind),
                   cases[kind]);
            failures++;
        }
    printf("gradient %s: %d derivatives, %d failures\n", context->device->name, checked, failures);
    return failures == 0 && checked > 0;
}
