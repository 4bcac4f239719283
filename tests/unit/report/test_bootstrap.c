/* The paired bootstrap. With "print" it reads problems from stdin (n classes runs a resamples seed level, labels, then
 * the predictions of each run) until they end, and prints for each the interval of run 0's macro-F1 and of the mean of
 * the first `a` runs minus that of the others, for tests/parity/test_bootstrap.py. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "report/bootstrap.h"
#include "tests/unit/unit.h"

static const int32_t LABELS[] = {0, 0, 0, 1, 1, 2, 2, 2};
static const int32_t RIGHT[] = {0, 0, 0, 1, 1, 2, 2, 2}, HALF[] = {0, 0, 1, 1, 0, 2, 2, 1};

static void test_equal_runs_do_not_differ(void **state) {
    (void)state;
    const int32_t *runs[] = {HALF, HALF};
    const int a[] = {0}, b[] = {1};
    lk_bootstrap *bootstrap;
    lk_interval difference;
    lk_error err = {0};
    assert_int_equal(lk_bootstrap_create(&bootstrap, LABELS, 8, 3, runs, 2, 200, 1, &err), LK_OK);
    assert_int_equal(lk_bootstrap_difference(bootstrap, a, 1, b, 1, 0.95, &difference, &err), LK_OK);
    assert_true(difference.estimate == 0 && difference.low == 0 && difference.high == 0 && difference.p == 1);
    lk_bootstrap_free(bootstrap);
}

static void test_a_perfect_run_is_certain(void **state) {
    (void)state;
    const int32_t *runs[] = {RIGHT, HALF};
    const int a[] = {0}, b[] = {1};
    lk_bootstrap *bootstrap;
    lk_interval mean, difference;
    lk_error err = {0};
    assert_int_equal(lk_bootstrap_create(&bootstrap, LABELS, 8, 3, runs, 2, 2000, 1, &err), LK_OK);
    assert_int_equal(lk_bootstrap_mean(bootstrap, a, 1, 0.95, &mean, &err), LK_OK);
    assert_true(mean.estimate == 1 && mean.low == 1 && mean.high == 1);
    assert_int_equal(lk_bootstrap_difference(bootstrap, a, 1, b, 1, 0.95, &difference, &err), LK_OK);
    assert_true(difference.low <= difference.estimate && difference.estimate <= difference.high);
    assert_true(difference.low > 0 && difference.p < 0.05);
    lk_bootstrap_free(bootstrap);
}

static void test_nothing_to_resample(void **state) {
    (void)state;
    const int32_t *runs[] = {HALF};
    lk_bootstrap *bootstrap;
    lk_error err = {0};
    assert_int_equal(lk_bootstrap_create(&bootstrap, LABELS, 0, 3, runs, 1, 10, 1, &err), LK_ERR_CONFIG);
    assert_null(bootstrap);
    lk_bootstrap_free(NULL);
}

static void test_holm_by_hand(void **state) {
    (void)state;
    double p[] = {0.04, 0.01, 0.03, 0.5};
    const double expected[] = {0.09, 0.04, 0.09, 0.5};
    lk_error err = {0};
    assert_int_equal(lk_holm(p, 4, &err), LK_OK);
    for (int i = 0; i < 4; i++)
        if (!(fabs(p[i] - expected[i]) <= 1e-15)) fail_msg("p[%d] is %.17g", i, p[i]);
}

static int32_t *read_list(int64_t count) {
    int32_t *list = calloc((size_t)count, sizeof *list);
    for (int64_t i = 0; i < count; i++)
        if (scanf("%" SCNd32, &list[i]) != 1) exit(1);
    return list;
}

static void print_interval(const lk_interval *i) {
    printf("%.17g %.17g %.17g %.17g ", i->estimate, i->low, i->high, i->p);
}

static int print_problem(int64_t n, int classes, int runs, int a_count, int resamples, uint64_t seed, double level) {
    int32_t *labels = read_list(n), *predictions[32];
    int members[32];
    lk_bootstrap *bootstrap;
    lk_interval first, difference;
    lk_error err = {0};
    for (int r = 0; r < runs; r++) {
        predictions[r] = read_list(n);
        members[r] = r;
    }
    if (lk_bootstrap_create(&bootstrap, labels, n, classes, (const int32_t *const *)predictions, runs, resamples, seed,
                            &err) != LK_OK ||
        lk_bootstrap_mean(bootstrap, members, 1, level, &first, &err) != LK_OK ||
        lk_bootstrap_difference(bootstrap, members, a_count, members + a_count, runs - a_count, level, &difference,
                                &err) != LK_OK)
        return 1;
    print_interval(&first);
    print_interval(&difference);
    putchar('\n');
    lk_bootstrap_free(bootstrap);
    for (int r = 0; r < runs; r++) free(predictions[r]);
    free(labels);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "print") == 0) {
        int64_t n;
        uint64_t seed;
        int classes, runs, a, resamples;
        double level;
        while (scanf("%" SCNd64 "%d%d%d%d%" SCNu64 "%lf", &n, &classes, &runs, &a, &resamples, &seed, &level) == 7)
            if (runs > 32 || print_problem(n, classes, runs, a, resamples, seed, level) != 0) return 1;
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_runs_do_not_differ),
        cmocka_unit_test(test_a_perfect_run_is_certain),
        cmocka_unit_test(test_nothing_to_resample),
        cmocka_unit_test(test_holm_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
