/* The arena's layout: no two buffers that live at once overlap. */

#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "nn/arena.h"
#include "tests/unit/unit.h"

#define MANY 400

static const lk_random_key KEY = {.seed = 11, .purpose = LK_RANDOM_SPLIT};

static int64_t draw(uint64_t index, uint32_t sub, int64_t bound) {
    return (int64_t)lk_random_below(&KEY, index, sub, (uint64_t)bound);
}

static void make_ranges(lk_live *ranges, int count, uint32_t round) {
    for (int i = 0; i < count; i++) {
        int first = (int)draw((uint64_t)i, round * 4, 200);
        ranges[i] =
            (lk_live){.bytes = draw((uint64_t)i, round * 4 + 1, 1 << (4 + draw((uint64_t)i, round * 4 + 2, 18))),
                      .first = first,
                      .last = first + (int)draw((uint64_t)i, round * 4 + 3, 60)};
    }
}

static void random_ranges_never_overlap(void **state) {
    (void)state;
    static lk_live ranges[MANY];
    double waste = 0;
    for (uint32_t round = 0; round < 50; round++) {
        int count = 1 + (int)draw(round, 999, MANY - 1);
        make_ranges(ranges, count, round);
        int64_t bytes = 0;
        lk_error err = {0};
        assert_int_equal(lk_arena_assign(ranges, count, &bytes, &err), LK_OK);
        assert_true(lk_arena_is_sound(ranges, count, bytes, NULL, NULL));
        int64_t bound = lk_arena_lower_bound(ranges, count);
        assert_true(bytes >= bound);
        waste += (double)bytes / (double)bound - 1;
    }
    /* Greedy placement is within a few per cent of the bound on average; 10 % would mean a broken gap search. */
    print_message("arena over its lower bound: %.2f %% on average\n", waste / 50 * 100);
    assert_true(waste / 50 < 0.10);
}

static void a_chain_reuses_two_buffers(void **state) {
    (void)state;
    lk_live ranges[10];
    for (int i = 0; i < 10; i++) ranges[i] = (lk_live){.bytes = 1000, .first = i, .last = i + 1};
    int64_t bytes = 0;
    assert_int_equal(lk_arena_assign(ranges, 10, &bytes, NULL), LK_OK);
    assert_int_equal(bytes, 2 * 1024);
}

static void the_checker_finds_every_fault(void **state) {
    (void)state;
    static lk_live ranges[MANY], broken[MANY];
    make_ranges(ranges, MANY, 77);
    int64_t bytes = 0;
    assert_int_equal(lk_arena_assign(ranges, MANY, &bytes, NULL), LK_OK);
    int a = -1, b = -1, planted = 0;
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < MANY; k++) broken[k] = ranges[k];
        int j = (int)draw((uint64_t)i, 5000, MANY);
        bool together = ranges[i].first <= ranges[j].last && ranges[j].first <= ranges[i].last;
        if (i == j || !together || ranges[i].bytes == 0 || ranges[j].bytes == 0) continue;
        planted++;
        broken[i].offset = ranges[j].offset;
        assert_false(lk_arena_is_sound(broken, MANY, INT64_MAX / 2, &a, &b));
        assert_true(a == i || b == i);
    }
    assert_true(planted > 50);
    ranges[3].offset += 8;
    assert_false(lk_arena_is_sound(ranges, MANY, bytes, &a, &b));
    assert_int_equal(a, 3);
    assert_int_equal(b, 3);
}

static void outside_of_the_arena_is_a_fault(void **state) {
    (void)state;
    lk_live one = {.bytes = 100, .first = 0, .last = 0, .offset = 64};
    assert_true(lk_arena_is_sound(&one, 1, 164, NULL, NULL));
    assert_false(lk_arena_is_sound(&one, 1, 163, NULL, NULL));
    one.offset = -64;
    assert_false(lk_arena_is_sound(&one, 1, 1000, NULL, NULL));
}

static void too_large_is_a_sentence(void **state) {
    (void)state;
    lk_live ranges[2] = {{.bytes = INT64_C(1) << 61}, {.bytes = (INT64_C(1) << 61) + 1}};
    int64_t bytes = 0;
    lk_error err = {0};
    assert_int_equal(lk_arena_assign(ranges, 2, &bytes, &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "smaller microbatch"));
}

static void no_ranges_need_no_memory(void **state) {
    (void)state;
    int64_t bytes = 7;
    assert_int_equal(lk_arena_assign(NULL, 0, &bytes, NULL), LK_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(lk_arena_lower_bound(NULL, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_ranges_never_overlap),   cmocka_unit_test(a_chain_reuses_two_buffers),
        cmocka_unit_test(the_checker_finds_every_fault), cmocka_unit_test(outside_of_the_arena_is_a_fault),
        cmocka_unit_test(too_large_is_a_sentence),       cmocka_unit_test(no_ranges_need_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
