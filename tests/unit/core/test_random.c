/* The counter-based generator: published answers, independence of what a draw is for, ranges and distributions. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "tests/unit/unit.h"

/* Known answers of philox4x32-10 (Random123's kat_vectors): a purpose of 0 leaves the key as the seed. */
static void test_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], words[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t words[4];
        lk_random_key key = {(uint64_t)known[i].key[1] << 32 | known[i].key[0], known[i].counter[3], 0};
        uint64_t index = (uint64_t)known[i].counter[1] << 32 | known[i].counter[0];
        lk_random_words(&key, index, known[i].counter[2], words);
        assert_memory_equal(words, known[i].words, sizeof words);
    }
}

/* A change of any part of what a draw is for changes it: no two of these are equal. */
static void test_every_part_counts(void **state) {
    (void)state;
    enum { DRAWS = 2 * 3 * 7 * 3 * 3 };
    uint32_t words[DRAWS][4];
    static const uint64_t indices[] = {0, 1, (uint64_t)1 << 32};
    int draws = 0;
    for (uint64_t seed = 0; seed < 2; seed++)
        for (uint32_t epoch = 0; epoch < 3; epoch++)
            for (uint32_t purpose = LK_RANDOM_INIT; purpose <= LK_RANDOM_GOLDEN; purpose++)
                for (int i = 0; i < 3; i++)
                    for (uint32_t sub = 0; sub < 3; sub++) {
                        lk_random_key key = {seed, epoch, purpose};
                        lk_random_words(&key, indices[i], sub, words[draws++]);
                    }
    assert_int_equal(draws, DRAWS);
    for (int i = 0; i < draws; i++)
        for (int j = 0; j < i; j++) assert_int_not_equal(memcmp(words[i], words[j], sizeof words[i]), 0);
}

/* Beta(a, b): mean and variance within five standard errors; tiny and huge a and b stay numbers in [0, 1]. The
 * distribution itself is compared with SciPy's (tests/parity/test_image_mix.py). */
static void test_beta(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    static const double shapes[][2] = {{0.2, 0.2}, {1, 1}, {0.4, 3}, {8, 2}, {1e-3, 1e-3}, {1e4, 1e4}};
    lk_random_key key = {5, 1, LK_RANDOM_MIX};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        double a = shapes[s][0], b = shapes[s][1], sum = 0, squares = 0;
        double mean = a / (a + b), variance = mean * (1 - mean) / (a + b + 1);
        for (int i = 0; i < DRAWS; i++) {
            double x = lk_random_beta(&key, (uint64_t)i, 16, a, b);
            assert_true(x >= 0 && x <= 1);
            sum += x;
            squares += (x - mean) * (x - mean);
        }
        assert_true(fabs(sum / DRAWS - mean) <= 5 * sqrt(variance / DRAWS));
        assert_true(fabs(squares / DRAWS / variance - 1) <= 5 * sqrt(2.0 / DRAWS) + 0.02);
    }
    assert_true(lk_random_beta(&key, 3, 16, 1, 1) == lk_random_beta(&key, 3, 16, 1, 1));
    assert_true(lk_random_beta(&key, 3, 16, 1, 1) != lk_random_beta(&key, 4, 16, 1, 1));
}

/* Values are part of a run's bits. */
static void test_purposes(void **state) {
    (void)state;
    assert_int_equal(LK_RANDOM_INIT, 1);
    assert_int_equal(LK_RANDOM_SHUFFLE, 2);
    assert_int_equal(LK_RANDOM_AUGMENT, 3);
    assert_int_equal(LK_RANDOM_DROPOUT, 4);
    assert_int_equal(LK_RANDOM_MIX, 5);
    assert_int_equal(LK_RANDOM_SPLIT, 6);
    assert_int_equal(LK_RANDOM_GOLDEN, 7);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov-Smirnov distance of n sorted values from a distribution, times sqrt(n): above 1.95 once in 1000. */
static double distance(double *values, int n, double (*cumulative)(double)) {
    double worst = 0;
    qsort(values, (size_t)n, sizeof *values, by_value);
    for (int i = 0; i < n; i++) {
        double p = cumulative(values[i]);
        worst = fmax(worst, fmax(fabs(p - (double)i / n), fabs((double)(i + 1) / n - p)));
    }
    return worst * sqrt(n);
}

static double uniform_cumulative(double x) { return x; }
static double normal_cumulative(double x) { return 0.5 * erfc(-x / sqrt(2.0)); }

enum { MANY = 100000 };

static void test_distributions(void **state) {
    (void)state;
    static double values[MANY];
    lk_random_key key = {42, 3, LK_RANDOM_INIT};
    for (int i = 0; i < MANY; i++) {
        float x = lk_random_uniform(&key, (uint64_t)i, 0);
        assert_true(x >= 0.0f && x < 1.0f && x * 0x1p24f == floorf(x * 0x1p24f));
        values[i] = x;
    }
    assert_true(distance(values, MANY, uniform_cumulative) < 1.95);
    for (int i = 0; i < MANY; i++) {
        values[i] = lk_random_uniform_double(&key, (uint64_t)i, 1);
        assert_true(values[i] >= 0.0 && values[i] < 1.0);
    }
    assert_true(distance(values, MANY, uniform_cumulative) < 1.95);
    for (int i = 0; i < MANY; i++) {
        values[i] = lk_random_normal(&key, (uint64_t)i, 2);
        assert_true(isfinite(values[i]));
    }
    assert_true(distance(values, MANY, normal_cumulative) < 1.95);
}

static void test_below(void **state) {
    (void)state;
    lk_random_key key = {7, 0, LK_RANDOM_SHUFFLE};
    static const uint64_t bounds[] = {1, 2, 3, 10, 1000, (uint64_t)1 << 32, ((uint64_t)1 << 63) + 1, UINT64_MAX};
    for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++)
        for (uint64_t i = 0; i < 1000; i++) assert_true(lk_random_below(&key, i, 0, bounds[b]) < bounds[b]);
    /* Each of ten values as often: chi-squared with 9 degrees of freedom stays below 27.9 in 999 of 1000 cases. */
    int seen[10] = {0};
    double chi = 0;
    for (uint64_t i = 0; i < MANY; i++) seen[lk_random_below(&key, i, 1, 10)]++;
    for (int v = 0; v < 10; v++) chi += (seen[v] - MANY / 10.0) * (seen[v] - MANY / 10.0) / (MANY / 10.0);
    assert_true(chi < 27.9);
}

static void test_permutation(void **state) {
    (void)state;
    enum { N = 1000 };
    int64_t order[N], again[N], other[N];
    bool seen[N] = {false};
    lk_random_key key = {1, 5, LK_RANDOM_SHUFFLE}, next = {1, 6, LK_RANDOM_SHUFFLE};
    lk_random_permutation(&key, N, order);
    lk_random_permutation(&key, N, again);
    lk_random_permutation(&next, N, other);
    assert_memory_equal(order, again, sizeof order);
    assert_memory_not_equal(order, other, sizeof order);
    int fixed = 0;
    for (int i = 0; i < N; i++) {
        assert_true(order[i] >= 0 && order[i] < N && !seen[order[i]]);
        seen[order[i]] = true;
        fixed += order[i] == i;
    }
    assert_true(fixed < 10); /* one on average */
    lk_random_permutation(&key, 1, order);
    assert_int_equal(order[0], 0);
    lk_random_permutation(&key, 0, order);
}

/* All 24 orders of four come about as often. Chi-squared, 23 degrees of freedom: below 49.8 in 999 of 1000 cases. */
static void test_permutation_is_fair(void **state) {
    (void)state;
    enum { RUNS = 24000 };
    int seen[256] = {0}, kinds = 0;
    double chi = 0;
    for (uint32_t run = 0; run < RUNS; run++) {
        int64_t order[4];
        lk_random_key key = {9, run, LK_RANDOM_SHUFFLE};
        lk_random_permutation(&key, 4, order);
        seen[order[0] * 64 + order[1] * 16 + order[2] * 4 + order[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        if (seen[i] == 0) continue;
        kinds++;
        chi += (seen[i] - RUNS / 24.0) * (seen[i] - RUNS / 24.0) / (RUNS / 24.0);
    }
    assert_int_equal(kinds, 24);
    assert_true(chi < 49.8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_every_part_counts),   cmocka_unit_test(test_beta),
        cmocka_unit_test(test_purposes),      cmocka_unit_test(test_distributions),       cmocka_unit_test(test_below),
        cmocka_unit_test(test_permutation),   cmocka_unit_test(test_permutation_is_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
