/* Inputs and results of a case in float64 and canonical order (NCHW, OIHW), whatever the device's types and layouts.
 * Inputs are exact in the compute type, so that rounding them is no part of a device's error. */
#ifndef LK_TESTS_OPS_VALUES_H
#define LK_TESTS_OPS_VALUES_H

#include "case.h"

typedef struct op_values {
    int64_t x_count, y_count, residual_count, param_count[LK_OP_MAX_PARAMS], stats_count;
    double *x, *residual, *dy[2], *param[LK_OP_MAX_PARAMS], *stats; /* NULL where the case has none */
    double
        *mean_dy[2];  /* n x c: what stands in the place of a dy that is that of a mean, spread over its pixels there */
    uint8_t *images;  /* N x H x W x C */
    int32_t *labels;  /* N */
    int32_t *partner; /* N, OP_MIXED; else NULL */
    float *pixel_share; /* N, OP_MIXED; else NULL */
    float *label_share; /* N, OP_MIXED; else NULL */
    int64_t rows;
    double loss_scale, weight_scale;
    /* LOSS with an F1 term over the window, else NULL: soft counts of the microbatch and others, of the others alone */
    double *f1_counts, *f1_others;
    int64_t f1_samples;
    uint64_t seed; /* of what the op itself draws, with epoch and first_position */
    uint32_t epoch;
    int64_t first_position;
} op_values;

/* LOSS: share of class k in the label of a valid row. */
double op_values_label(const op_values *v, int64_t row, int64_t k);
/* LOSS: adds the soft counts of the valid rows: tp, predicted, support, `classes` each. */
void op_values_count(const op_values *v, int64_t classes, double *counts);

typedef enum op_result_kind {
    OP_Y,
    OP_DX,
    OP_DRESIDUAL,
    OP_GRAD0,
    OP_GRAD1,
    OP_MEAN,
    OP_VARIANCE,
    OP_RESULT_COUNT
} op_result_kind;

/* "y", "dx", ...; static. */
const char *op_result_name(op_result_kind kind);

typedef struct op_results {
    int64_t count[OP_RESULT_COUNT]; /* 0 where the case has no such result */
    double *data[OP_RESULT_COUNT];
} op_results;

/* The descriptor of a case for a device that computes in `compute` and is given x in `block`s of channels (0: NHWC). */
lk_op_desc op_case_desc(const op_case *c, lk_dtype compute, int64_t block);

/* Draws the inputs of a case, a function of (case, compute, seed). `reference` infers shapes; where an activation has
 * kinks, dy is 0 near them, because there a rounding decides which gradient is right.
 * Owner: the caller, with op_values_free. */
LK_MUST_CHECK lk_status op_values_create(op_values **out, lk_device *reference, const op_case *c, lk_dtype compute,
                                         uint64_t seed, lk_error *err);
void op_values_free(op_values *values);

/* Owner: the caller, with op_results_free. */
LK_MUST_CHECK lk_status op_results_create(op_results **out, const op_case *c, const op_values *values, lk_error *err);
void op_results_free(op_results *results);

/* Same numbers? NaN equals NaN; 0 equals -0. Errors: LK_ERR_NUMERIC naming `what`, the result and the element. */
LK_MUST_CHECK lk_status op_results_same(const op_results *a, const op_results *b, const char *what, lk_error *err);

/* Rounds to the nearest value of a type, ties to even. */
double op_round(lk_dtype dtype, double value);

/* Element i of an array of any floating type. */
double op_get(lk_dtype dtype, const void *data, int64_t i);
void op_put(lk_dtype dtype, void *data, int64_t i, double value);

/* Between canonical order and an activation's layout; encode writes the channel padding as zero.
 * Returns from decode: is all channel padding zero? */
void op_encode(const lk_act_desc *desc, const double *canonical, void *data);
bool op_decode(const lk_act_desc *desc, const void *data, double *canonical);

/* The activation that a case ends in. */
lk_act op_case_act(const lk_op_desc *desc);
bool op_case_has_residual(const lk_op_desc *desc);
/* Descriptor of the second input; y: that of the output. */
lk_act_desc op_case_second(const lk_op_desc *desc, const lk_act_desc *y);
/* The run that these values describe, without addresses. */
lk_run op_values_run(const op_values *values);
/* BATCHNORM: does it find mean and variance itself? */
bool op_case_measures(const lk_op_desc *desc);
/* Does a gradient tensor arrive at y? */
bool op_case_takes_dy(const lk_op_desc *desc);

#endif
