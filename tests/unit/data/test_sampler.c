/* The sampler's laws against a plain enumeration. */
#include "io/data/sampler.h"
#include "support.h"

/* Cuts count samples into windows and leaves one by one, and compares every answer. */
static void check_cut(int64_t count, int64_t microbatch, int64_t leaves, bool drop_last) {
    lk_error err = {0};
    lk_sampler *sampler = NULL;
    int64_t batch = microbatch * leaves, indices[64];
    for (int64_t i = 0; i < count; i++) indices[i] = 1000 + i;
    if (drop_last && batch > count) {
        check_fails(lk_sampler_create(&sampler, indices, count, 1, batch, microbatch, true, true, &err), LK_ERR_CONFIG,
                    "drop_last", err);
        return;
    }
    check_ok(lk_sampler_create(&sampler, indices, count, 1, batch, microbatch, true, drop_last, &err), err);
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
    check_ok(lk_sampler_create(&a, indices, COUNT, 7, 8, 4, true, false, &err), err);
    check_ok(lk_sampler_create(&b, indices, COUNT, 7, 16, 2, true, true, &err), err);
    check_permutation(a, COUNT);
    assert_memory_equal(a->order, b->order, sizeof first);
    memcpy(first, a->order, sizeof first);
    lk_sampler_set_epoch(a, 1);
    check_permutation(a, COUNT);
    assert_memory_not_equal(a->order, first, sizeof first);
    lk_sampler_set_epoch(a, 0);
    assert_memory_equal(a->order, first, sizeof first);
    lk_sampler_free(b);
    check_ok(lk_sampler_create(&b, indices, COUNT, 8, 8, 4, true, false, &err), err);
    assert_memory_not_equal(b->order, first, sizeof first);
    lk_sampler_free(b);
    check_ok(lk_sampler_create(&b, indices, COUNT, 8, 8, 4, false, false, &err), err);
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
    check_fails(lk_sampler_create(&sampler, indices, 4, 0, 10, 4, true, false, &err), LK_ERR_CONFIG,
                "not a multiple of microbatch 4", err);
    check_fails(lk_sampler_create(&sampler, indices, 4, 0, 0, 4, true, false, &err), LK_ERR_CONFIG, "batch 0", err);
    check_fails(lk_sampler_create(&sampler, indices, 4, 0, 4, 0, true, false, &err), LK_ERR_CONFIG, "microbatch 0",
                err);
    check_fails(lk_sampler_create(&sampler, indices, 0, 0, 4, 4, true, false, &err), LK_ERR_CONFIG, "no sample", err);
    assert_null(sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_orders),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
