/* The sampler's laws against a plain enumeration. */
#include <math.h>

#include "io/data/sampler.h"
#include "support.h"

static lk_status create(lk_sampler **out, const int64_t *indices, int64_t count, uint64_t seed, int64_t batch,
                        int64_t microbatch, bool shuffle, bool drop_last, lk_error *err) {
    const lk_sampler_config config = {
        .seed = seed, .batch = batch, .microbatch = microbatch, .drop_last = drop_last, .fixed_order = !shuffle};
    return lk_sampler_create(out, indices, count, &config, err);
}

/* Cuts count samples into windows and leaves one by one, and compares every answer. */
static void check_cut(int64_t count, int64_t microbatch, int64_t leaves, bool drop_last) {
    lk_error err = {0};
    lk_sampler *sampler = NULL;
    int64_t batch = microbatch * leaves, indices[64];
    for (int64_t i = 0; i < count; i++) indices[i] = 1000 + i;
    if (drop_last && batch > count) {
        check_fails(create(&sampler, indices, count, 1, batch, microbatch, true, true, &err), LK_ERR_CONFIG,
                    "drop_last", err);
        return;
    }
    check_ok(create(&sampler, indices, count, 1, batch, microbatch, true, drop_last, &err), err);
    int64_t position = 0, update = 0;
    while (position < count && !(drop_last && count - position < batch)) {
        int64_t samples = 0;
        int present = 0;
        for (int64_t leaf = 0; leaf < leaves; leaf++) {
            int64_t first, rows, expected = 0;
            while (expected < microbatch && position + expected < count) expected++;
            lk_sampler_leaf(sampler, update, (int)leaf, &first, &rows);
            assert_int_equal(rows, expected);
            if (expected > 0) assert_int_equal(first, position);
            position += expected;
            samples += expected;
            present += expected > 0;
        }
        assert_int_equal(lk_sampler_window_samples(sampler, update), samples);
        assert_int_equal(lk_sampler_window_leaves(sampler, update), present);
        update++;
    }
    assert_int_equal(lk_sampler_updates(sampler), update);
    assert_int_equal(lk_sampler_window_samples(sampler, update), 0);
    assert_int_equal(lk_sampler_window_leaves(sampler, update), 0);
    assert_int_equal(lk_sampler_window_samples(sampler, -1), 0);
    lk_sampler_free(sampler);
}

static void test_cuts(void **state) {
    (void)state;
    for (int64_t count = 1; count <= 40; count++)
        for (int64_t microbatch = 1; microbatch <= 7; microbatch++)
            for (int64_t leaves = 1; leaves <= 6; leaves++)
                for (int drop = 0; drop < 2; drop++) check_cut(count, microbatch, leaves, drop == 1);
}

static void check_permutation(const lk_sampler *sampler, int64_t count) {
    bool seen[64] = {false};
    for (int64_t i = 0; i < count; i++) {
        int64_t sample = sampler->order[i] - 1000;
        assert_in_range(sample, 0, count - 1);
        assert_false(seen[sample]);
        seen[sample] = true;
    }
}

/* The order depends on seed and epoch alone, and is a permutation of the pool each time. */
static void test_orders(void **state) {
    (void)state;
    enum { COUNT = 50 };
    lk_error err = {0};
    lk_sampler *a = NULL, *b = NULL;
    int64_t indices[COUNT], first[COUNT];
    for (int64_t i = 0; i < COUNT; i++) indices[i] = 1000 + i;
    check_ok(create(&a, indices, COUNT, 7, 8, 4, true, false, &err), err);
    check_ok(create(&b, indices, COUNT, 7, 16, 2, true, true, &err), err);
    check_permutation(a, COUNT);
    assert_memory_equal(a->order, b->order, sizeof first);
    memcpy(first, a->order, sizeof first);
    lk_sampler_set_epoch(a, 1);
    check_permutation(a, COUNT);
    assert_memory_not_equal(a->order, first, sizeof first);
    lk_sampler_set_epoch(a, 0);
    assert_memory_equal(a->order, first, sizeof first);
    lk_sampler_free(b);
    check_ok(create(&b, indices, COUNT, 8, 8, 4, true, false, &err), err);
    assert_memory_not_equal(b->order, first, sizeof first);
    lk_sampler_free(b);
    check_ok(create(&b, indices, COUNT, 8, 8, 4, false, false, &err), err);
    lk_sampler_set_epoch(b, 3);
    assert_memory_equal(b->order, indices, sizeof first);
    lk_sampler_free(a);
    lk_sampler_free(b);
    lk_sampler_free(NULL);
}

static void test_refusals(void **state) {
    (void)state;
    lk_error err = {0};
    lk_sampler *sampler = NULL;
    int64_t indices[4] = {0, 1, 2, 3};
    check_fails(create(&sampler, indices, 4, 0, 10, 4, true, false, &err), LK_ERR_CONFIG,
                "not a multiple of microbatch 4", err);
    check_fails(create(&sampler, indices, 4, 0, 0, 4, true, false, &err), LK_ERR_CONFIG, "batch 0", err);
    check_fails(create(&sampler, indices, 4, 0, 4, 0, true, false, &err), LK_ERR_CONFIG, "microbatch 0", err);
    check_fails(create(&sampler, indices, 0, 0, 4, 4, true, false, &err), LK_ERR_CONFIG, "no sample", err);
    assert_null(sampler);
}

enum { CLASSES = 4, POOL = 61, DRAWS = 250 };

/* Class k of sample 1000 + i: 1, 40, 20 and none of class 2. */
static int32_t label_of(int64_t i) { return i == 0 ? 3 : i < 41 ? 0 : 1; }

static void make_pool(int64_t *indices, int32_t *labels) {
    for (int64_t i = 0; i < POOL; i++) {
        indices[i] = 1000 + i * 37 % POOL; /* not in order */
        labels[i] = label_of(indices[i] - 1000);
    }
}

static lk_sampler *drawing(lk_sampler_kind kind, int64_t draws, int64_t repeats, const double *weights) {
    lk_error err = {0};
    lk_sampler *sampler = NULL;
    int64_t indices[POOL];
    int32_t labels[POOL];
    make_pool(indices, labels);
    const lk_sampler_config config = {.seed = 7,
                                      .batch = 16,
                                      .microbatch = 4,
                                      .kind = kind,
                                      .labels = labels,
                                      .classes = CLASSES,
                                      .weights = weights,
                                      .draws = draws,
                                      .repeats = repeats};
    check_ok(lk_sampler_create(&sampler, indices, POOL, &config, &err), err);
    return sampler;
}

static void count_draws(const lk_sampler *sampler, int64_t of_sample[POOL], int64_t of_class[CLASSES]) {
    memset(of_sample, 0, POOL * sizeof *of_sample);
    memset(of_class, 0, CLASSES * sizeof *of_class);
    for (int64_t i = 0; i < sampler->count; i++) {
        int64_t at = sampler->order[i] - 1000;
        assert_in_range(at, 0, POOL - 1);
        of_sample[at]++;
        of_class[label_of(at)]++;
    }
}

/* Every class that has samples equally often, to one draw, and so every sample within it, in each epoch. */
static void test_balanced(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 3, 4, 60, DRAWS};
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        lk_sampler *sampler = drawing(LK_SAMPLER_BALANCED, lengths[l], 1, NULL);
        bool extra[CLASSES] = {false};
        assert_int_equal(sampler->count, lengths[l] == 0 ? POOL : lengths[l]);
        for (uint32_t epoch = 0; epoch < 40; epoch++) {
            int64_t of_sample[POOL], of_class[CLASSES], least[CLASSES], most[CLASSES] = {0};
            for (int k = 0; k < CLASSES; k++) least[k] = INT64_MAX;
            lk_sampler_set_epoch(sampler, epoch);
            count_draws(sampler, of_sample, of_class);
            for (int64_t i = 0; i < POOL; i++) {
                int32_t k = label_of(i);
                if (of_sample[i] < least[k]) least[k] = of_sample[i];
                if (of_sample[i] > most[k]) most[k] = of_sample[i];
            }
            assert_int_equal(of_class[2], 0);
            for (int k = 0; k < CLASSES; k++) {
                if (k == 2) continue;
                assert_in_range(of_class[k], sampler->count / 3, (sampler->count + 2) / 3);
                assert_in_range(most[k] - least[k], 0, 1);
                extra[k] = extra[k] || of_class[k] > sampler->count / 3;
            }
        }
        if (sampler->count % 3 != 0) assert_true(extra[0] && extra[1] && extra[3]); /* not always the same class */
        lk_sampler_free(sampler);
    }
}

/* Shares of the classes and of samples in one, over many draws: within five standard errors. */
static void test_weighted(void **state) {
    (void)state;
    enum { MANY = 40000 };
    static const double weights[CLASSES] = {1, 0.5, 3, 20}; /* class 2 has no sample */
    static const int64_t sizes[CLASSES] = {40, 20, 0, 1};
    lk_sampler *sampler = drawing(LK_SAMPLER_WEIGHTED, MANY, 1, weights);
    int64_t of_sample[POOL], of_class[CLASSES];
    count_draws(sampler, of_sample, of_class);
    double total = 1 * 40 + 0.5 * 20 + 20 * 1;
    for (int k = 0; k < CLASSES; k++) {
        double p = weights[k] * (double)sizes[k] / total;
        assert_true(fabs((double)of_class[k] - p * MANY) <= 5 * sqrt(p * (1 - p) * MANY));
    }
    for (int64_t i = 0; i < POOL; i++) {
        double p = weights[label_of(i)] / total;
        assert_true(fabs((double)of_sample[i] - p * MANY) <= 5 * sqrt(p * (1 - p) * MANY));
    }
    lk_sampler_free(sampler);
    static const double one[CLASSES] = {0, 0, 5, 1e-300};
    sampler = drawing(LK_SAMPLER_WEIGHTED, 50, 1, one);
    for (int64_t i = 0; i < 50; i++) assert_int_equal(sampler->order[i], 1000);
    lk_sampler_free(sampler);
}

/* A window holds its draws once, then again: copies are as far apart as they can be; each draw comes `repeats` times.
 */
static void test_repeats(void **state) {
    (void)state;
    for (int64_t repeats = 1; repeats <= 5; repeats++) {
        lk_sampler *plain = drawing(LK_SAMPLER_SHUFFLED, 0, 1, NULL);
        lk_sampler *sampler = drawing(LK_SAMPLER_SHUFFLED, 0, repeats, NULL);
        int64_t of_sample[POOL], of_class[CLASSES], unique;
        lk_error err = {0};
        assert_int_equal(sampler->count, POOL * repeats);
        count_draws(sampler, of_sample, of_class);
        for (int64_t i = 0; i < POOL; i++) assert_int_equal(of_sample[i], repeats);
        check_ok(lk_sampler_unique(sampler, sampler->count, &unique, &err), err);
        assert_int_equal(unique, POOL);
        for (int64_t first = 0; first < sampler->count; first += 16) {
            int64_t end = first + 16 < sampler->count ? first + 16 : sampler->count;
            for (int64_t i = first; i < end; i++) {
                bool found = false; /* the window's samples are those of its positions in the plain order, repeated */
                for (int64_t p = first; p < end; p++) found = found || sampler->order[i] == plain->order[p / repeats];
                assert_true(found);
                if (i > first && end - first == 16) assert_int_not_equal(sampler->order[i], sampler->order[i - 1]);
            }
        }
        lk_sampler_free(plain);
        lk_sampler_free(sampler);
    }
}

/* P10, P16: a function of (seed, epoch), whichever epochs came before. */
static void test_drawing_is_a_function_of_the_epoch(void **state) {
    (void)state;
    static const double weights[CLASSES] = {1, 1, 1, 4};
    for (int kind = 0; kind < LK_SAMPLER_KIND_COUNT; kind++) {
        lk_sampler *a = drawing((lk_sampler_kind)kind, DRAWS, 2, weights);
        lk_sampler *b = drawing((lk_sampler_kind)kind, DRAWS, 2, weights);
        size_t bytes = (size_t)a->count * sizeof *a->order;
        lk_sampler_set_epoch(a, 3);
        assert_memory_not_equal(a->order, b->order, bytes);
        lk_sampler_set_epoch(b, 9);
        lk_sampler_set_epoch(b, 3);
        assert_memory_equal(a->order, b->order, bytes);
        lk_sampler_free(a);
        lk_sampler_free(b);
    }
}

static void test_weights_refused(void **state) {
    (void)state;
    lk_error err = {0};
    lk_sampler *sampler = NULL;
    int64_t indices[POOL];
    int32_t labels[POOL];
    make_pool(indices, labels);
    double weights[CLASSES] = {0, 0, 5, 0};
    const lk_sampler_config config = {.batch = 4,
                                      .microbatch = 4,
                                      .kind = LK_SAMPLER_WEIGHTED,
                                      .labels = labels,
                                      .classes = CLASSES,
                                      .weights = weights};
    check_fails(lk_sampler_create(&sampler, indices, POOL, &config, &err), LK_ERR_CONFIG, "leave no sample", err);
    weights[1] = -1;
    check_fails(lk_sampler_create(&sampler, indices, POOL, &config, &err), LK_ERR_CONFIG, "class 1 is -1", err);
    weights[1] = NAN;
    check_fails(lk_sampler_create(&sampler, indices, POOL, &config, &err), LK_ERR_CONFIG, "class 1 is", err);
    assert_null(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts),
                                       cmocka_unit_test(test_orders),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_balanced),
                                       cmocka_unit_test(test_weighted),
                                       cmocka_unit_test(test_repeats),
                                       cmocka_unit_test(test_drawing_is_a_function_of_the_epoch),
                                       cmocka_unit_test(test_weights_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
