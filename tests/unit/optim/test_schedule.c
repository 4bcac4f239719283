/* Learning rates by formula. With arguments it prints rates for tests/parity/test_optim.py:
 * kind lr step_updates gamma warmup_updates warmup_factor total_updates eta_min count */
#include <stdio.h>
#include <stdlib.h>

#include "optim/schedule.h"
#include "tests/unit/unit.h"

static void assert_near(double a, double b) {
    double error = a > b ? a - b : b - a;
    if (!(error <= 1e-15)) fail_msg("%.17g is not %.17g", a, b);
}

static void test_step(void **state) {
    (void)state;
    const lk_schedule s = {.kind = LK_SCHEDULE_STEP, .lr = 0.1, .step_updates = 30, .gamma = 0.1};
    assert_true(lk_schedule_lr(&s, 0) == 0.1);
    assert_true(lk_schedule_lr(&s, 29) == 0.1);
    assert_near(lk_schedule_lr(&s, 30), 0.01);
    assert_near(lk_schedule_lr(&s, 89), 0.001);
}

static void test_warmup_comes_before_the_schedule(void **state) {
    (void)state;
    const lk_schedule s = {
        .kind = LK_SCHEDULE_STEP, .lr = 1, .step_updates = 10, .gamma = 0.5, .warmup_updates = 4, .warmup_factor = 0.2};
    const double wanted[] = {0.2, 0.4, 0.6, 0.8, 1};
    for (int i = 0; i < 5; i++) assert_near(lk_schedule_lr(&s, i), wanted[i]);
    assert_near(lk_schedule_lr(&s, 13), 1);
    assert_near(lk_schedule_lr(&s, 14), 0.5);
}

static void test_cosine_ends_at_its_minimum(void **state) {
    (void)state;
    const lk_schedule s = {.kind = LK_SCHEDULE_COSINE, .lr = 1, .total_updates = 100, .eta_min = 0.25};
    assert_near(lk_schedule_lr(&s, 0), 1);
    assert_near(lk_schedule_lr(&s, 50), 0.625);
    assert_near(lk_schedule_lr(&s, 100), 0.25);
    assert_near(lk_schedule_lr(&s, 130), 0.25);
}

static void test_constant(void **state) {
    (void)state;
    const lk_schedule s = {.kind = LK_SCHEDULE_CONSTANT, .lr = 0.3};
    assert_true(lk_schedule_lr(&s, 0) == 0.3 && lk_schedule_lr(&s, INT64_C(1) << 60) == 0.3);
}

int main(int argc, char **argv) {
    if (argc == 10) {
        const lk_schedule s = {.kind = (lk_schedule_kind)atoi(argv[1]),
                               .lr = atof(argv[2]),
                               .step_updates = atoll(argv[3]),
                               .gamma = atof(argv[4]),
                               .warmup_updates = atoll(argv[5]),
                               .warmup_factor = atof(argv[6]),
                               .total_updates = atoll(argv[7]),
                               .eta_min = atof(argv[8])};
        for (int64_t i = 0; i < atoll(argv[9]); i++) printf("%.17g\n", lk_schedule_lr(&s, i));
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_warmup_comes_before_the_schedule),
        cmocka_unit_test(test_cosine_ends_at_its_minimum),
        cmocka_unit_test(test_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
