/* Learning rates by formula; tests/parity/test_optim.py compares them with torch. */
#include <math.h>

#include "optim/schedule.h"
#include "tests/unit/unit.h"

static void assert_near(double a, double b) {
    double error = a > b ? a - b : b - a;
    if (!(error <= 1e-15)) fail_msg("%.17g is not %.17g", a, b);
}

static void test_step(void **state) {
    (void)state;
    const lk_schedule s = {.kind = LK_SCHEDULE_STEP, .lr = 0.1, .updates_per_tick = 1, .period = 30, .gamma = 0.1};
    assert_true(lk_schedule_lr(&s, 0) == 0.1);
    assert_true(lk_schedule_lr(&s, 29) == 0.1);
    assert_near(lk_schedule_lr(&s, 30), 0.01);
    assert_near(lk_schedule_lr(&s, 89), 0.001);
}

static void test_warmup_comes_before_the_schedule(void **state) {
    (void)state;
    const lk_schedule s = {.kind = LK_SCHEDULE_STEP,
                           .lr = 1,
                           .updates_per_tick = 1,
                           .period = 10,
                           .gamma = 0.5,
                           .warmup = 4,
                           .warmup_factor = 0.2};
    const double wanted[] = {0.2, 0.4, 0.6, 0.8, 1};
    for (int i = 0; i < 5; i++) assert_near(lk_schedule_lr(&s, i), wanted[i]);
    assert_near(lk_schedule_lr(&s, 13), 1);
    assert_near(lk_schedule_lr(&s, 14), 0.5);
    assert_int_equal(lk_schedule_warmup_updates(&s), 4);
}

static void test_a_rate_changes_once_an_epoch(void **state) {
    (void)state;
    const lk_schedule s = {.kind = LK_SCHEDULE_STEP,
                           .lr = 1,
                           .updates_per_tick = 7,
                           .period = 2,
                           .gamma = 0.5,
                           .warmup = 1,
                           .warmup_factor = 0.25};
    for (int update = 0; update < 7 * 8; update++) {
        int epoch = update / 7;
        assert_true(lk_schedule_lr(&s, update) == (epoch == 0 ? 0.25 : pow(0.5, (epoch - 1) / 2)));
    }
    assert_int_equal(lk_schedule_warmup_updates(&s), 7);
}

static void test_what_has_an_end_stays_there(void **state) {
    (void)state;
    lk_schedule s = {.lr = 1,
                     .updates_per_tick = 1,
                     .length = 100,
                     .eta_min = 0.25,
                     .power = 1,
                     .cycle = {.pct_start = 0.25, .div_factor = 5, .final_div_factor = 2}};
    s.kind = LK_SCHEDULE_COSINE;
    assert_near(lk_schedule_lr(&s, 0), 1);
    assert_near(lk_schedule_lr(&s, 50), 0.625);
    for (int at = 100; at < 131; at++) assert_near(lk_schedule_lr(&s, at), 0.25);
    s.kind = LK_SCHEDULE_POLYNOMIAL;
    assert_near(lk_schedule_lr(&s, 50), 0.625);
    for (int at = 100; at < 131; at++) assert_near(lk_schedule_lr(&s, at), 0.25);
    s.kind = LK_SCHEDULE_ONE_CYCLE;
    assert_near(lk_schedule_lr(&s, 0), 0.2);
    assert_near(lk_schedule_lr(&s, 24), 1);
    for (int at = 99; at < 131; at++) assert_near(lk_schedule_lr(&s, at), 0.1);
}

static void test_one_cycle_of_any_length_is_finite(void **state) {
    (void)state;
    for (int64_t length = 1; length < 12; length++)
        for (int share = 0; share <= 10; share++)
            for (int three = 0; three < 2; three++) {
                const lk_schedule s = {.kind = LK_SCHEDULE_ONE_CYCLE,
                                       .lr = 1,
                                       .updates_per_tick = 1,
                                       .length = length,
                                       .cycle = {.pct_start = share / (three ? 20.0 : 10.0),
                                                 .div_factor = 25,
                                                 .final_div_factor = 1e4,
                                                 .base_momentum = 0.85,
                                                 .max_momentum = 0.95,
                                                 .three_phase = three,
                                                 .cycle_momentum = true}};
                for (int64_t at = 0; at < length + 2; at++) {
                    double lr = lk_schedule_lr(&s, at), momentum = 0;
                    assert_true(lr >= 0 && lr <= 1 + 1e-15);
                    assert_true(lk_schedule_momentum(&s, at, &momentum));
                    assert_true(momentum >= 0.85 - 1e-15 && momentum <= 0.95 + 1e-15);
                }
            }
}

static void test_constant(void **state) {
    (void)state;
    double momentum = 7;
    const lk_schedule s = {.kind = LK_SCHEDULE_CONSTANT, .lr = 0.3, .updates_per_tick = 1};
    assert_true(lk_schedule_lr(&s, 0) == 0.3 && lk_schedule_lr(&s, INT64_C(1) << 60) == 0.3);
    assert_false(lk_schedule_momentum(&s, 0, &momentum));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_warmup_comes_before_the_schedule),
        cmocka_unit_test(test_a_rate_changes_once_an_epoch),
        cmocka_unit_test(test_what_has_an_end_stays_there),
        cmocka_unit_test(test_one_cycle_of_any_length_is_finite),
        cmocka_unit_test(test_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
