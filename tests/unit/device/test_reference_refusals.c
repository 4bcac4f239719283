/* What the reference device refuses, with which status and sentence. */
#include <string.h>

#include "device/device.h"
#include "tests/unit/unit.h"

static lk_device *create(int threads) {
    lk_device *device = NULL;
    lk_error err = {0};
    assert_int_equal(lk_device_create(&device, "reference", threads, &err), LK_OK);
    return device;
}

static lk_op_desc batchnorm_desc(int64_t n, int64_t c) {
    return (lk_op_desc){.kind = LK_OP_BATCHNORM,
                        .training = true,
                        .need_dx = true,
                        .dy_count = 1,
                        .x = {LK_F64, n, c, 1, 1, 1},
                        .compute = LK_F64,
                        .batchnorm = {.eps = 1e-5, .act = LK_ACT_RELU}};
}

static void assert_refused(lk_device *device, const lk_op_desc *desc, lk_status want, const char *part) {
    lk_error err = {0};
    lk_op *op = NULL;
    lk_op_info info;
    assert_int_equal(device->op_plan(device, &op, desc, &info, &err), want);
    assert_null(op);
    if (strstr(err.message, part) == NULL) fail_msg("'%s' is not in: %s", part, err.message);
}

static void one_value_a_channel_is_a_configuration_error(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_op_desc desc = batchnorm_desc(1, 8);
    assert_refused(device, &desc, LK_ERR_CONFIG, "batchnorm of 1 x 8 x 1 x 1");
    assert_refused(device, &desc, LK_ERR_CONFIG, "drop_last");
    desc.training = false; /* evaluation has no such limit */
    lk_op *op = NULL;
    lk_op_info info;
    assert_int_equal(device->op_plan(device, &op, &desc, &info, NULL), LK_OK);
    device->op_free(device, op);
    lk_device_free(device);
}

static void foreign_layouts_are_unsupported(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_op_desc desc = batchnorm_desc(4, 8);
    desc.x.block = 8;
    assert_refused(device, &desc, LK_ERR_UNSUPPORTED, "channel block 8");
    desc = batchnorm_desc(4, 8);
    desc.x.dtype = LK_F32;
    assert_refused(device, &desc, LK_ERR_UNSUPPORTED, "not float32");
    desc = batchnorm_desc(4, 8);
    desc.dy_count = 3;
    assert_refused(device, &desc, LK_ERR_CONFIG, "3 gradients");
    lk_device_free(device);
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_op_desc desc = batchnorm_desc(INT64_MAX, INT64_MAX);
    assert_refused(device, &desc, LK_ERR_CONFIG, "too large");
    desc = (lk_op_desc){.kind = LK_OP_CONV2D,
                        .x = {LK_F64, 1, 1, 8, 8, 1},
                        .conv = {.out_channels = INT64_MAX,
                                 .kernel_h = INT64_MAX,
                                 .kernel_w = 1,
                                 .stride = 1,
                                 .pad = INT64_MAX,
                                 .dilation = INT64_MAX,
                                 .groups = 1}};
    assert_refused(device, &desc, LK_ERR_CONFIG, "does not fit");
    desc.conv.kernel_h = desc.conv.dilation = 1;
    desc.conv.pad = 0;
    assert_refused(device, &desc, LK_ERR_CONFIG, "too large");
    lk_device_free(device);
}

static void like_must_be_the_same_layer(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_op_desc first = batchnorm_desc(4, 8), desc = batchnorm_desc(2, 9);
    lk_op *op = NULL;
    lk_op_info info;
    assert_int_equal(device->op_plan(device, &op, &first, &info, NULL), LK_OK);
    desc.like = op;
    assert_refused(device, &desc, LK_ERR_CONFIG, "other parameters");
    device->op_free(device, op);
    lk_device_free(device);
}

static void a_missing_buffer_is_named(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_op_desc desc = batchnorm_desc(2, 1);
    lk_op *op = NULL;
    lk_call *call = NULL;
    lk_op_info info;
    double x[2] = {1, 2}, y[2], stash[2], dx[2];
    assert_int_equal(device->op_plan(device, &op, &desc, &info, NULL), LK_OK);
    lk_op_buffers b = {.x = x, .y = y, .stash = stash, .dx = dx};
    lk_error err = {0};
    assert_int_equal(device->bind(device, &call, op, &b, &err), LK_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "without dy[0]"));
    assert_null(call);
    device->op_free(device, op);
    lk_device_free(device);
}

static void backward_of_an_evaluation_plan_is_refused(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_op_desc desc = batchnorm_desc(2, 1);
    desc.training = false;
    lk_op *op = NULL;
    lk_call *call = NULL;
    lk_op_info info;
    lk_error err = {0};
    double x[2] = {1, 2}, y[2];
    lk_op_buffers b = {.x = x, .y = y};
    assert_int_equal(device->op_plan(device, &op, &desc, &info, NULL), LK_OK);
    assert_int_equal(device->bind(device, &call, op, &b, NULL), LK_OK);
    assert_int_equal(device->backward(device, NULL, call, &(lk_run){0}, &err), LK_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "without a backward pass"));
    device->call_free(device, call);
    device->op_free(device, op);
    lk_device_free(device);
}

static void threads_and_types_are_checked(void **state) {
    (void)state;
    lk_device *device = NULL;
    lk_error err = {0};
    assert_int_equal(lk_device_create(&device, "reference", 0, &err), LK_ERR_CONFIG);
    assert_null(device);
    lk_error_clear(&err);
    assert_int_equal(lk_device_create(&device, "abacus", 1, &err), LK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "abacus"));
    device = create(2);
    lk_error_clear(&err);
    assert_int_equal(device->supports_dtype(device, LK_BF16, &err), LK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "bfloat16"));
    assert_int_equal(device->supports_dtype(device, LK_F32, NULL), LK_OK);
    assert_non_null(strstr(device->identity(device), "float64"));
    lk_device_free(device);
    lk_device_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_a_channel_is_a_configuration_error),
        cmocka_unit_test(foreign_layouts_are_unsupported),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(like_must_be_the_same_layer),
        cmocka_unit_test(a_missing_buffer_is_named),
        cmocka_unit_test(backward_of_an_evaluation_plan_is_refused),
        cmocka_unit_test(threads_and_types_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
