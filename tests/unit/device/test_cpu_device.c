/* The cpu device itself: creation, memory, what it says about itself, what it refuses and how. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "device/device.h"
#include "tests/unit/unit.h"

static lk_device *create(int threads) {
    lk_error err = {0};
    lk_device *device = NULL;
    assert_int_equal(lk_device_create(&device, "cpu", threads, &err), LK_OK);
    return device;
}

static lk_op_desc conv_desc(int64_t channels, int64_t size, int64_t out) {
    lk_op_desc d = {.kind = LK_OP_CONV2D, .training = true, .need_dx = true, .dy_count = 1, .compute = LK_F32};
    d.x = (lk_act_desc){LK_F32, 2, channels, size, size, 8};
    d.conv.out_channels = out;
    d.conv.kernel_h = d.conv.kernel_w = 3;
    d.conv.stride = d.conv.pad = d.conv.dilation = d.conv.groups = 1;
    return d;
}

/* One sentence that names the device and the op. */
static void assert_refused(lk_device *device, const lk_op_desc *d) {
    lk_error err = {0};
    lk_op *op = NULL;
    lk_op_info info;
    lk_status status = device->op_plan(device, &op, d, &info, &err);
    assert_true(status == LK_ERR_UNSUPPORTED || status == LK_ERR_CONFIG);
    assert_null(op);
    assert_int_equal(err.status, status);
    assert_non_null(strstr(err.message, "cpu"));
    assert_non_null(strstr(err.message, lk_op_kind_name(d->kind)));
    assert_null(strchr(err.message, '\n'));
}

static void thread_counts_out_of_range(void **state) {
    (void)state;
    static const int bad[] = {0, -1, 1025};
    for (size_t i = 0; i < 3; i++) {
        lk_error err = {0};
        lk_device *device = NULL;
        assert_int_equal(lk_device_create(&device, "cpu", bad[i], &err), LK_ERR_CONFIG);
        assert_null(device);
        assert_non_null(strstr(err.message, "threads"));
    }
}

static void identity_names_what_fixes_the_bits(void **state) { /* P5 */
    (void)state;
    lk_device *one = create(1), *again = create(1), *two = create(2);
    const char *text = one->identity(one);
    assert_non_null(strstr(text, "oneDNN"));
    assert_non_null(strstr(text, "own loops"));
    assert_non_null(strstr(text, "family"));
    assert_string_equal(text, again->identity(again));
    assert_string_not_equal(text, two->identity(two)); /* oneDNN's weight gradients change bits with the threads */
    lk_device_free(one), lk_device_free(again), lk_device_free(two);
}

static void compute_types(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_error err = {0};
    assert_int_equal(device->supports_dtype(device, LK_F32, &err), LK_OK);
    assert_int_equal(device->supports_dtype(device, LK_F64, &err), LK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "float32 or bfloat16"));
    lk_error_clear(&err);
    bool has = false;
#if defined(__x86_64__)
    has = __builtin_cpu_supports("avx512bf16");
#endif
    lk_status status = device->supports_dtype(device, LK_BF16, &err);
    if (has) {
        assert_int_equal(status, LK_OK);
    } else {
        assert_int_equal(status, LK_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "AVX-512 BF16"));
        assert_non_null(strstr(err.message, "use float32"));
    }
    lk_device_free(device);
}

static void memory_is_aligned_and_zero(void **state) {
    (void)state;
    lk_device *device = create(1);
    static const int64_t sizes[] = {0, 1, 4096, ((int64_t)9 << 20) + 5}; /* the last in huge pages, not a multiple */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        lk_error err = {0};
        void *p = NULL;
        for (int round = 0; round < 2; round++) { /* memory that was used before is zero as well */
            assert_int_equal(device->alloc(device, &p, sizes[i], "test", &err), LK_OK);
            assert_int_equal((uintptr_t)p % LK_ALIGNMENT, 0);
            for (int64_t b = 0; b < sizes[i]; b++) assert_int_equal(((unsigned char *)p)[b], 0);
            memset(p, 0xab, (size_t)sizes[i]);
            device->release(device, p);
        }
    }
    lk_error err = {0};
    void *p = NULL;
    static const int64_t bad[] = {-1, INT64_MAX};
    for (int i = 0; i < 2; i++) {
        lk_error_clear(&err);
        assert_int_equal(device->alloc(device, &p, bad[i], "an arena", &err), LK_ERR_MEMORY);
        assert_null(p);
        assert_non_null(strstr(err.message, "an arena"));
    }
    device->release(device, NULL);
    lk_device_free(device);
}

static void impossible_convolutions(void **state) {
    (void)state;
    lk_device *device = create(1);
    for (int i = 0; i < 12; i++) {
        lk_op_desc d = conv_desc(32, 8, 32);
        if (i == 0) d.conv.groups = 0;
        if (i == 1) d.conv.groups = 5;
        if (i == 2) d.conv.stride = 0;
        if (i == 3) d.conv.kernel_h = 11;
        if (i == 4) d.conv.pad = -1;
        if (i == 5) d.conv.dilation = 0;
        if (i == 6) d.conv.out_channels = 0;
        if (i == 7) d.x.n = 0;
        if (i == 8) d.x.block = 24;
        if (i == 9) d.x.dtype = LK_F64;
        if (i == 10) d.dy_count = 2; /* convolutions take one */
        if (i == 11) d.compute = LK_F16;
        assert_refused(device, &d);
    }
    lk_device_free(device);
}

static void like_must_be_the_same_layer(void **state) {
    (void)state;
    lk_device *device = create(1);
    lk_error err = {0};
    lk_op *op = NULL, *tail = NULL;
    lk_op_info info, tail_info;
    lk_op_desc d = conv_desc(32, 8, 32), other = conv_desc(32, 8, 48);
    assert_int_equal(device->op_plan(device, &op, &d, &info, &err), LK_OK);
    other.like = op;
    assert_refused(device, &other);
    /* The same layer on images too small for the main plan's algorithm keeps the stored layout. */
    lk_op_desc small = conv_desc(32, 2, 32);
    small.like = op;
    assert_int_equal(device->op_plan(device, &tail, &small, &tail_info, &err), LK_OK);
    assert_int_equal(info.params[0].stored_count, tail_info.params[0].stored_count);
    float *plain = NULL, *a = NULL, *b = NULL;
    size_t count = 32 * 32 * 9, stored = (size_t)info.params[0].stored_count;
    assert_int_equal(LK_NEW(&plain, count, "weights", &err), LK_OK);
    assert_int_equal(LK_NEW(&a, stored, "weights", &err), LK_OK);
    assert_int_equal(LK_NEW(&b, stored, "weights", &err), LK_OK);
    for (size_t i = 0; i < count; i++) plain[i] = (float)i;
    assert_int_equal(device->param_pack(device, op, 0, plain, a, &err), LK_OK);
    assert_int_equal(device->param_pack(device, tail, 0, plain, b, &err), LK_OK);
    assert_memory_equal(a, b, stored * sizeof *a);
    lk_free(plain), lk_free(a), lk_free(b);
    device->op_free(device, tail);
    device->op_free(device, op);
    lk_device_free(device);
}

/* Nothing runs in a reference implementation, and each pass is named. */
static void implementations_are_named(void **state) {
    (void)state;
    lk_device *device = create(1);
    static const int64_t shapes[][3] = {{32, 8, 32}, {16, 8, 24}, {13, 9, 19}, {64, 14, 128}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        lk_error err = {0};
        lk_op *op = NULL;
        lk_op_info info;
        lk_op_desc d = conv_desc(shapes[i][0], shapes[i][1], shapes[i][2]);
        assert_int_equal(device->op_plan(device, &op, &d, &info, &err), LK_OK);
        const char *names[] = {info.impl_forward, info.impl_dx, info.impl_dw};
        for (int k = 0; k < 3; k++) {
            assert_true(names[k][0] != '\0');
            assert_null(strstr(names[k], "ref"));
        }
        assert_true(info.flops_forward > 0 && info.flops_backward == 2 * info.flops_forward);
        device->op_free(device, op);
    }
    lk_device_free(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_counts_out_of_range),
        cmocka_unit_test(identity_names_what_fixes_the_bits),
        cmocka_unit_test(compute_types),
        cmocka_unit_test(memory_is_aligned_and_zero),
        cmocka_unit_test(impossible_convolutions),
        cmocka_unit_test(like_must_be_the_same_layer),
        cmocka_unit_test(implementations_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
