/* Reduction buckets: every trained parameter lies in one, long runs of frozen ones in none. */
#include <string.h>

#include "core/random.h"
#include "tests/unit/unit.h"
#include "train/buckets.h"

#define MOST 40

/* count parameters of drawn sizes, multiples of 16; returns the slab's count. */
static int64_t draw(lk_param *params, int count, uint64_t seed, uint64_t frozen_of_8) {
    lk_random_key key = {.seed = seed, .purpose = LK_RANDOM_INIT};
    int64_t offset = 0;
    memset(params, 0, MOST * sizeof *params);
    for (int i = 0; i < count; i++) {
        params[i].offset = offset;
        params[i].frozen = lk_random_below(&key, (uint64_t)i, 0, 8) < frozen_of_8;
        offset += 16 * (1 + (int64_t)lk_random_below(&key, (uint64_t)i, 1, 20));
    }
    return offset;
}

static int64_t end_of(const lk_param *params, int count, int i, int64_t slab) {
    return i + 1 < count ? params[i + 1].offset : slab;
}

static void check(const lk_buckets *b, const lk_param *params, int count, int64_t slab, int64_t least) {
    int64_t covered = 0;
    for (int k = 0; k < b->count; k++) {
        int inside = 0;
        assert_true(b->begins[k] < b->ends[k] && b->begins[k] >= (k > 0 ? b->ends[k - 1] : 0) && b->ends[k] <= slab);
        for (int i = 0; i < count; i++) inside += b->of_param[i] == k;
        assert_int_equal(inside, b->params_in[k]);
        assert_true(inside > 0);
        covered += b->ends[k] - b->begins[k];
    }
    int64_t run = 0, run_begin = 0;
    for (int i = 0; i < count; i++) {
        int64_t end = end_of(params, count, i, slab);
        if (!params[i].frozen) {
            int k = b->of_param[i];
            run = 0;
            assert_true(k >= 0 && params[i].offset >= b->begins[k] && end <= b->ends[k]);
            continue;
        }
        assert_int_equal(b->of_param[i], -1);
        if (run == 0) run_begin = params[i].offset;
        run = end - run_begin;
        for (int k = 0; k < b->count && run >= least; k++) /* a long run does not travel */
            assert_true(end <= b->begins[k] || run_begin >= b->ends[k]);
    }
    if (count > 0 && !params[0].frozen && least == 1) assert_true(covered <= slab);
}

static void buckets_cover_what_is_trained(void **state) {
    (void)state;
    static const int64_t least[] = {1, 100, 500, 1 << 20};
    lk_error err = {0};
    lk_param params[MOST];
    for (uint64_t seed = 0; seed < 200; seed++) {
        int count = 1 + (int)(seed % MOST), trained = 0;
        int64_t slab = draw(params, count, seed, seed % 8);
        lk_buckets b;
        for (int i = 0; i < count; i++) trained += !params[i].frozen;
        assert_int_equal(lk_buckets_create(&b, params, count, slab, least[seed % 4], &err), LK_OK);
        assert_int_equal(b.count > 0, trained > 0);
        check(&b, params, count, slab, least[seed % 4]);
        lk_buckets_free(&b);
    }
}

/* Nothing frozen: the buckets join without gaps and cover the slab. */
static void without_frozen_parameters_they_join(void **state) {
    (void)state;
    lk_error err = {0};
    lk_param params[MOST];
    int64_t slab = draw(params, MOST, 3, 0);
    lk_buckets b;
    assert_int_equal(lk_buckets_create(&b, params, MOST, slab, 300, &err), LK_OK);
    assert_true(b.count > 5 && b.begins[0] == 0 && b.ends[b.count - 1] == slab);
    for (int k = 1; k < b.count; k++) {
        assert_true(b.begins[k] == b.ends[k - 1]);
        assert_true(b.ends[k] - b.begins[k] >= 300);
    }
    lk_buckets_free(&b);
}

/* A classifier alone on a frozen network: its parameters are all that travels. */
static void a_frozen_network_does_not_travel(void **state) {
    (void)state;
    lk_error err = {0};
    lk_param params[MOST];
    int64_t slab = draw(params, MOST, 4, 8);
    params[MOST - 1].frozen = params[MOST - 2].frozen = false;
    lk_buckets b;
    assert_int_equal(lk_buckets_create(&b, params, MOST, slab, 1 << 20, &err), LK_OK);
    assert_int_equal(b.count, 1);
    assert_true(b.begins[0] == params[MOST - 2].offset && b.ends[0] == slab);
    lk_buckets_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_what_is_trained),
        cmocka_unit_test(without_frozen_parameters_they_join),
        cmocka_unit_test(a_frozen_network_does_not_travel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
