/* The reference device's formulas against numbers worked out by hand. The wide comparison is tests/ops. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "device/device.h"
#include "tests/unit/unit.h"

#define MAX 64 /* elements of any tensor of these tests */

typedef struct fixture {
    lk_device *device;
    lk_stream *stream;
    lk_op *op;
    lk_call *call;
    lk_op_info info;
    double x[MAX], residual[MAX], y[MAX], dy[MAX], second[MAX], dx[MAX], dresidual[MAX];
    double params[MAX], grads[MAX], stats[MAX], workspace[4096];
    int64_t stash[MAX];
    int32_t labels[MAX];
    uint8_t images[MAX];
    lk_run run;
    lk_error err;
} fixture;

static int setup(void **state) {
    fixture *f = NULL;
    assert_int_equal(LK_NEW(&f, 1, "a fixture", NULL), LK_OK);
    assert_int_equal(lk_device_create(&f->device, "reference", 1, &f->err), LK_OK);
    assert_int_equal(f->device->stream_create(f->device, &f->stream, &f->err), LK_OK);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    if (f->call != NULL) f->device->call_free(f->device, f->call);
    if (f->op != NULL) f->device->op_free(f->device, f->op);
    f->device->stream_free(f->device, f->stream);
    lk_device_free(f->device);
    lk_free(f);
    return 0;
}

/* Plans, binds and runs forward, then backward where planned. Outputs start as NaN. */
static lk_status run(fixture *f, lk_op_desc desc) {
    desc.x.block = desc.kind == LK_OP_INPUT ? desc.x.c : 1;
    desc.x.dtype = desc.kind == LK_OP_INPUT ? LK_U8 : LK_F64;
    desc.compute = LK_F64;
    for (int i = 0; i < MAX; i++) f->y[i] = f->dx[i] = f->dresidual[i] = f->grads[i] = NAN;
    lk_op_buffers b = {.x = f->x,
                       .residual = f->residual,
                       .y = f->y,
                       .dy = {f->dy, f->second},
                       .dx = f->dx,
                       .dresidual = f->dresidual,
                       .stash = f->stash,
                       .workspace = f->workspace,
                       .param_offset = {0, 32}};
    f->run = (lk_run){.params = f->params,
                      .grads = f->grads,
                      .stats = f->stats,
                      .images = f->images,
                      .labels = f->labels,
                      .rows = f->run.rows == 0 ? desc.x.n : f->run.rows,
                      .loss_scale = 0.5};
    assert_int_equal(f->device->op_plan(f->device, &f->op, &desc, &f->info, &f->err), LK_OK);
    assert_true(f->info.workspace_bytes <= (int64_t)sizeof f->workspace);
    assert_int_equal(f->device->bind(f->device, &f->call, f->op, &b, &f->err), LK_OK);
    LK_RETURN_IF(f->device->forward(f->device, f->stream, f->call, &f->run, &f->err));
    if (!desc.training) return LK_OK;
    return f->device->backward(f->device, f->stream, f->call, &f->run, &f->err);
}

/* Within some last places; NaN fails. */
static void assert_values(const double *seen, const double *want, int count) {
    for (int i = 0; i < count; i++)
        if (!(fabs(seen[i] - want[i]) <= 1e-14 * (1 + fabs(want[i]))))
            fail_msg("element %d is %.17g, not %.17g", i, seen[i], want[i]);
}
#define ASSERT_VALUES(seen, ...) \
    assert_values(seen, (const double[]){__VA_ARGS__}, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)))
#define SET(target, ...) memcpy(target, (const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}))

static void input_is_normalised_to_planes(void **state) {
    fixture *f = *state;
    const uint8_t pixels[] = {0, 255, 51, 102}; /* two pixels of two channels */
    memcpy(f->images, pixels, sizeof pixels);
    lk_op_desc desc = {.kind = LK_OP_INPUT, .x = {.n = 1, .c = 2, .h = 1, .w = 2}, .input = {{0.5f, 0.25f}, {0.5f, 2}}};
    assert_int_equal(run(f, desc), LK_OK);
    ASSERT_VALUES(f->y, -1, -0.6, 0.375, 0.075);
}

/* 1 x 3 input, kernel 1 x 2, no padding in height: y[i] = 2 x[i] + 3 x[i + 1] + 1. */
static void convolution_is_a_sliding_product(void **state) {
    fixture *f = *state;
    SET(f->x, 1, 10, 100);
    SET(f->params, 2, 3);
    f->params[32] = 1;
    SET(f->dy, 1, 5);
    lk_op_desc desc = {.kind = LK_OP_CONV2D,
                       .training = true,
                       .need_dx = true,
                       .dy_count = 1,
                       .x = {.n = 1, .c = 1, .h = 1, .w = 3},
                       .conv = {1, 1, 2, 1, 0, 1, 1, true}};
    assert_int_equal(run(f, desc), LK_OK);
    ASSERT_VALUES(f->y, 33, 321);
    ASSERT_VALUES(f->dx, 2, 13, 15);
    ASSERT_VALUES(f->grads, 51, 510);
    ASSERT_VALUES(f->grads + 32, 6);
    assert_true(f->info.flops_forward == 2 * 2 * 2 + 2);
}

/* Stride 2, padding 1: the first window starts in the padding. */
static void convolution_pads_with_zero(void **state) {
    fixture *f = *state;
    SET(f->x, 1, 2, 3);
    SET(f->params, 0, 0, 0, 4, 5, 6, 0, 0, 0); /* 3 x 3, only the middle row meets the input */
    lk_op_desc desc = {
        .kind = LK_OP_CONV2D, .x = {.n = 1, .c = 1, .h = 1, .w = 3}, .conv = {1, 3, 3, 2, 1, 1, 1, false}};
    assert_int_equal(run(f, desc), LK_OK);
    assert_int_equal(f->info.y.w, 2);
    ASSERT_VALUES(f->y, 5 * 1 + 6 * 2, 4 * 2 + 5 * 3);
}

/* Values 1 and 3: mean 2, biased variance 1, eps 3 makes the divisor 2. */
static void batchnorm_in_training(void **state) {
    fixture *f = *state;
    SET(f->x, 1, 3);
    SET(f->residual, -1, 0);
    f->params[0] = 4;
    f->params[32] = 1;
    SET(f->dy, 8, 2);
    lk_op_desc desc = {.kind = LK_OP_BATCHNORM,
                       .training = true,
                       .need_dx = true,
                       .dy_count = 1,
                       .x = {.n = 2, .c = 1, .h = 1, .w = 1},
                       .batchnorm = {3, LK_ACT_RELU, true}};
    assert_int_equal(run(f, desc), LK_OK);
    /* xhat = -1/2, 1/2; z = 4 xhat + 1 + residual = -2, 3 */
    ASSERT_VALUES(f->y, 0, 3);
    ASSERT_VALUES(f->stats, 2, 1);
    ASSERT_VALUES(f->dresidual, 0, 2);
    ASSERT_VALUES(f->grads, 1);      /* dgamma = 2 * 1/2 */
    ASSERT_VALUES(f->grads + 32, 2); /* dbeta */
    /* dx = 4/2 (dz - 2/2 - xhat 1/2) */
    ASSERT_VALUES(f->dx, 2 * (0 - 1 + 0.25), 2 * (2 - 1 - 0.25));
}

static void batchnorm_in_evaluation_reads_running_statistics(void **state) {
    fixture *f = *state;
    SET(f->x, 1, 3);
    SET(f->stats, 5, 7);
    f->params[0] = 6;
    lk_op_desc desc = {
        .kind = LK_OP_BATCHNORM, .x = {.n = 2, .c = 1, .h = 1, .w = 1}, .batchnorm = {.eps = 2, .act = LK_ACT_NONE}};
    assert_int_equal(run(f, desc), LK_OK);
    ASSERT_VALUES(f->y, -8, -4);
    ASSERT_VALUES(f->stats, 5, 7);
}

static void two_gradients_are_summed(void **state) {
    fixture *f = *state;
    SET(f->x, -1, 2, 0);
    SET(f->residual, 3, -5, 0);
    SET(f->dy, 1, 2, 4);
    SET(f->second, 10, 20, 40);
    lk_op_desc desc = {.kind = LK_OP_ADD,
                       .training = true,
                       .need_dx = true,
                       .dy_count = 2,
                       .x = {.n = 1, .c = 3, .h = 1, .w = 1},
                       .add = {LK_ACT_RELU}};
    assert_int_equal(run(f, desc), LK_OK);
    ASSERT_VALUES(f->y, 2, 0, 0);
    ASSERT_VALUES(f->dx, 11, 0, 0);
    ASSERT_VALUES(f->dresidual, 11, 0, 0);
}

static void the_first_maximum_gets_the_gradient(void **state) {
    fixture *f = *state;
    SET(f->x, 7, 7, 1, -3);
    f->dy[0] = 9;
    lk_op_desc desc = {.kind = LK_OP_MAXPOOL,
                       .training = true,
                       .need_dx = true,
                       .dy_count = 1,
                       .x = {.n = 1, .c = 1, .h = 2, .w = 2},
                       .maxpool = {2, 2, 0}};
    assert_int_equal(run(f, desc), LK_OK);
    ASSERT_VALUES(f->y, 7);
    ASSERT_VALUES(f->dx, 9, 0, 0, 0);
}

static void maxpool_passes_nan_and_never_takes_padding(void **state) {
    fixture *f = *state;
    SET(f->x, -4, NAN, -6, -5);
    lk_op_desc desc = {
        .kind = LK_OP_MAXPOOL, .x = {.n = 1, .c = 2, .h = 1, .w = 2}, .maxpool = {.kernel = 3, .stride = 2, .pad = 1}};
    assert_int_equal(run(f, desc), LK_OK);
    assert_true(isnan(f->y[0]));
    ASSERT_VALUES(f->y + 1, -5);
}

static void mean_and_linear(void **state) {
    fixture *f = *state;
    SET(f->x, 1, 2, 3, 6);
    SET(f->dy, 8, 12);
    lk_op_desc mean = {.kind = LK_OP_GLOBAL_AVGPOOL,
                       .training = true,
                       .need_dx = true,
                       .dy_count = 1,
                       .x = {.n = 1, .c = 2, .h = 2, .w = 1}};
    assert_int_equal(run(f, mean), LK_OK);
    ASSERT_VALUES(f->y, 1.5, 4.5);
    ASSERT_VALUES(f->dx, 4, 4, 6, 6);
    f->device->call_free(f->device, f->call);
    f->device->op_free(f->device, f->op);

    SET(f->params, 1, 2, 3, 4); /* O x I */
    SET(f->params + 32, 10, 20);
    SET(f->dy, 1, 0, 0, 1);
    lk_op_desc linear = {.kind = LK_OP_LINEAR,
                         .training = true,
                         .need_dx = true,
                         .dy_count = 1,
                         .x = {.n = 2, .c = 2, .h = 1, .w = 1},
                         .linear = {2}};
    assert_int_equal(run(f, linear), LK_OK);
    ASSERT_VALUES(f->y, 15, 31, 25, 53);
    ASSERT_VALUES(f->dx, 1, 2, 3, 4);
    ASSERT_VALUES(f->grads, 1, 2, 3, 6);
    ASSERT_VALUES(f->grads + 32, 1, 1);
}

/* Equal logits over 2 classes: softmax 1/2; smoothing 0.5 makes the target (3/4, 1/4). The last row is padding. */
static void the_loss_of_equal_logits(void **state) {
    fixture *f = *state;
    SET(f->x, 1000, 1000, 3, 4);
    f->labels[0] = 0;
    f->labels[1] = 99;
    f->run.rows = 1;
    lk_op_desc desc = {.kind = LK_OP_LOSS,
                       .training = true,
                       .need_dx = true,
                       .x = {.n = 2, .c = 2, .h = 1, .w = 1},
                       .loss = {.cross_entropy = 1, .smoothing = 0.5}};
    assert_int_equal(run(f, desc), LK_OK);
    ASSERT_VALUES(f->y, log(2), 0);
    ASSERT_VALUES(f->dx, -0.125, 0.125, 0, 0);
}

static void a_label_outside_the_classes_is_named(void **state) {
    fixture *f = *state;
    f->labels[1] = 2;
    lk_op_desc desc = {.kind = LK_OP_LOSS, .x = {.n = 2, .c = 2, .h = 1, .w = 1}, .loss = {.cross_entropy = 1}};
    assert_int_equal(run(f, desc), LK_ERR_DATA);
    assert_non_null(strstr(f->err.message, "sample 1"));
    assert_non_null(strstr(f->err.message, "label 2"));
}

static void slabs(void **state) {
    fixture *f = *state;
    double sum[] = {1, 2}, x[] = {10, 20}, running[] = {8}, fresh[] = {3}, squares[3];
    assert_int_equal(f->device->slab_add(f->device, f->stream, sum, x, 2, &f->err), LK_OK);
    ASSERT_VALUES(sum, 11, 22);
    assert_int_equal(f->device->slab_blend(f->device, f->stream, running, fresh, 1, 0.25, 4, &f->err), LK_OK);
    ASSERT_VALUES(running, 0.75 * 8 + 0.25 * 12);
    const int64_t ends[] = {1, 1, 2};
    assert_int_equal(f->device->slab_sum_squares(f->device, f->stream, x, ends, 3, squares, &f->err), LK_OK);
    ASSERT_VALUES(squares, 100, 0, 400);
    double p[] = {2}, g[] = {1}, v[] = {NAN};
    lk_sgd sgd = {.lr = 0.5, .momentum = 0.5, .weight_decay = 1, .first_step = true};
    assert_int_equal(f->device->slab_sgd(f->device, f->stream, p, g, v, 1, &sgd, &f->err), LK_OK);
    ASSERT_VALUES(p, 0.5); /* d = 1 + 2, v = 3 */
    sgd.first_step = false;
    assert_int_equal(f->device->slab_sgd(f->device, f->stream, p, g, v, 1, &sgd, &f->err), LK_OK);
    ASSERT_VALUES(v, 3); /* d = 1.5, v = 1.5 + 1.5 */
    ASSERT_VALUES(p, -1);
    assert_int_equal(f->device->slab_sgd(f->device, f->stream, p, g, NULL, 1, &sgd, &f->err), LK_ERR_INTERNAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(input_is_normalised_to_planes, setup, teardown),
        cmocka_unit_test_setup_teardown(convolution_is_a_sliding_product, setup, teardown),
        cmocka_unit_test_setup_teardown(convolution_pads_with_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(batchnorm_in_training, setup, teardown),
        cmocka_unit_test_setup_teardown(batchnorm_in_evaluation_reads_running_statistics, setup, teardown),
        cmocka_unit_test_setup_teardown(two_gradients_are_summed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_maximum_gets_the_gradient, setup, teardown),
        cmocka_unit_test_setup_teardown(maxpool_passes_nan_and_never_takes_padding, setup, teardown),
        cmocka_unit_test_setup_teardown(mean_and_linear, setup, teardown),
        cmocka_unit_test_setup_teardown(the_loss_of_equal_logits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_label_outside_the_classes_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(slabs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
