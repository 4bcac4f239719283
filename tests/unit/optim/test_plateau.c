/* ReduceLROnPlateau. With arguments it prints rates for tests/parity/test_optim.py:
 * larger_is_better factor patience threshold absolute cooldown min_lr eps lr, the figures on the standard input. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "optim/plateau.h"
#include "tests/unit/unit.h"

static void test_patience_and_cooldown(void **state) {
    (void)state;
    const lk_plateau p = {.factor = 0.5, .patience = 1, .threshold = 0, .cooldown = 2};
    lk_plateau_state s;
    lk_plateau_start(&s, 1);
    const struct {
        double figure, lr;
    } steps[] = {{3, 1},   {3, 1},    {3, 0.5},  {3, 0.5},    {3, 0.5},
                 {3, 0.5}, {3, 0.25}, {2, 0.25}, {NAN, 0.25}, {NAN, 0.25}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        double before = s.lr;
        assert_true(lk_plateau_step(&p, &s, steps[i].figure) == (steps[i].lr != before));
        assert_true(s.lr == steps[i].lr);
    }
    assert_true(s.best == 2 && s.has_best == 1);
}

static void test_the_rate_has_a_floor(void **state) {
    (void)state;
    const lk_plateau p = {.larger_is_better = true, .factor = 0.1, .min_lr = 0.05, .eps = 1e-8};
    lk_plateau_state s;
    lk_plateau_start(&s, 1);
    assert_false(lk_plateau_step(&p, &s, 0.5));
    assert_true(lk_plateau_step(&p, &s, 0.5) && s.lr == 0.1);
    assert_true(lk_plateau_step(&p, &s, 0.5) && s.lr == 0.05);
    assert_false(lk_plateau_step(&p, &s, 0.5));
    assert_true(s.lr == 0.05);
}

int main(int argc, char **argv) {
    if (argc == 10) {
        const lk_plateau p = {.larger_is_better = atoi(argv[1]) != 0,
                              .factor = atof(argv[2]),
                              .patience = atoll(argv[3]),
                              .threshold = atof(argv[4]),
                              .absolute = atoi(argv[5]) != 0,
                              .cooldown = atoll(argv[6]),
                              .min_lr = atof(argv[7]),
                              .eps = atof(argv[8])};
        lk_plateau_state s;
        lk_plateau_start(&s, atof(argv[9]));
        double figure;
        while (scanf("%lf", &figure) == 1) {
            lk_plateau_step(&p, &s, figure);
            printf("%.17g\n", s.lr);
        }
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patience_and_cooldown),
        cmocka_unit_test(test_the_rate_has_a_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
