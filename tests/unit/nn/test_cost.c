/* The model of time that predictions state. */
#include <math.h>
#include <string.h>

#include "nn/cost.h"
#include "tests/unit/unit.h"

static const lk_cost COST = {.bytes_per_second = 2e12, .flops_per_second = 5e14, .link_bytes_per_second = 1e11};

static void near(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-12 + 1e-9 * fabs(expected))) fail_msg("%.17g is not %.17g", value, expected);
}

static void the_longer_of_memory_and_arithmetic(void **state) {
    (void)state;
    near(lk_cost_seconds(&COST, 2e9, 1e9, 1), 1e-3 + LK_COST_LAUNCH_SECONDS);
    near(lk_cost_seconds(&COST, 2e9, 1e12, 3), 2e-3 + 3 * LK_COST_LAUNCH_SECONDS);
    near(lk_cost_seconds(&COST, 0, 0, 0), 0);
}

static void only_what_backward_does_not_hide_is_exposed(void **state) {
    (void)state;
    near(lk_cost_exchange_seconds(&COST, 1, 1e9, 1e8, 0), 0);
    /* Two ranks: half of the slab out and half back. */
    near(lk_cost_exchange_seconds(&COST, 2, 1e9, 1e8, 1), 1e-3);
    near(lk_cost_exchange_seconds(&COST, 2, 1e9, 1e8, 4e-3), 1e-3 + 5e-3);
    near(lk_cost_exchange_seconds(&COST, 4, 1e9, 1e9, 1), 1.5e-2);
}

static void kinds_have_rates_of_their_type(void **state) {
    (void)state;
    int count;
    const lk_gpu_kind *kinds = lk_gpu_kinds(&count);
    assert_true(count >= 2);
    for (int i = 0; i < count; i++) {
        lk_cost bf16 = lk_cost_of(&kinds[i], LK_BF16), f32 = lk_cost_of(&kinds[i], LK_F32);
        near(bf16.flops_per_second, 0.6 * kinds[i].short_flops);
        near(f32.flops_per_second, 0.6 * kinds[i].f32_flops);
        near(bf16.bytes_per_second, 0.85 * kinds[i].bandwidth);
        assert_ptr_equal(lk_gpu_kind_find(kinds[i].name), &kinds[i]);
        assert_non_null(strstr(kinds[i].properties, kinds[i].match));
    }
    assert_ptr_equal(lk_gpu_kind_of("NVIDIA A100-SXM4-80GB sm_80, driver"), lk_gpu_kind_find("a100"));
    assert_null(lk_gpu_kind_find("b17"));
    assert_null(lk_gpu_kind_of("stand-in GPU sm_90"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longer_of_memory_and_arithmetic),
        cmocka_unit_test(only_what_backward_does_not_hide_is_exposed),
        cmocka_unit_test(kinds_have_rates_of_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
