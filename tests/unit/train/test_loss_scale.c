#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "tests/unit/unit.h"
#include "train/counters.h"

static void it_doubles_after_the_interval(void **state) {
    (void)state;
    lk_loss_scale s = {.scale = 65536};
    for (int i = 0; i < 1999; i++) lk_loss_scale_grow(&s, 2000);
    assert_true(s.scale == 65536);
    lk_loss_scale_grow(&s, 2000);
    assert_true(s.scale == 131072 && s.good == 0);
    for (int i = 0; i < 1999; i++) lk_loss_scale_grow(&s, 2000);
    assert_true(lk_loss_scale_back_off(&s)); /* an overflow starts the count again */
    for (int i = 0; i < 1999; i++) lk_loss_scale_grow(&s, 2000);
    assert_true(s.scale == 65536);
}

static void twenty_in_a_row_are_too_many(void **state) {
    (void)state;
    lk_loss_scale s = {.scale = 65536};
    for (int i = 0; i < 19; i++) assert_true(lk_loss_scale_back_off(&s));
    lk_loss_scale_grow(&s, 2000);
    for (int i = 0; i < 19; i++) assert_true(lk_loss_scale_back_off(&s));
    assert_false(lk_loss_scale_back_off(&s));
    assert_int_equal(s.skipped, 39);
}

static void it_stays_in_range(void **state) {
    (void)state;
    lk_loss_scale s = {.scale = LK_LOSS_SCALE_MOST};
    lk_loss_scale_grow(&s, 1);
    assert_true(s.scale == LK_LOSS_SCALE_MOST);
    const double bad[] = {0, -2, 3, 65535, 0x1p127, INFINITY, NAN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) assert_false(lk_loss_scale_valid(bad[i]));
    assert_true(lk_loss_scale_valid(1) && lk_loss_scale_valid(0.125) && lk_loss_scale_valid(65536));
}

/* P10; and a state without it is that of an older program. */
static void the_counters_carry_it(void **state) {
    (void)state;
    lk_counters before = {.scaling = {.scale = 0.5, .good = 7, .in_row = 3, .skipped = 40}, .skips = 2}, after;
    lk_error err = {0};
    char *json, *old, *at;
    before.skipped_samples = 64;
    assert_int_equal(lk_counters_write(&json, &before, &err), LK_OK);
    assert_int_equal(lk_counters_parse(&after, json, "test", &err), LK_OK);
    assert_memory_equal(&after.scaling, &before.scaling, sizeof after.scaling);
    assert_int_equal(after.skips, 2);
    assert_int_equal(after.skipped_samples, 64);
    assert_int_equal(lk_strdup(&old, json, &err), LK_OK);
    while ((at = strstr(old, "\"scaling.")) != NULL) at[1] = 'X';
    assert_int_equal(lk_counters_parse(&after, old, "test", &err), LK_OK);
    assert_true(after.scaling.scale == 0 && after.scaling.skipped == 0);
    at = strstr(json, "\"scaling.scale\": 0.5");
    assert_non_null(at);
    memcpy(at, "\"scaling.scale\": 0.7", strlen("\"scaling.scale\": 0.7"));
    assert_int_equal(lk_counters_parse(&after, json, "test", &err), LK_ERR_DATA);
    assert_non_null(strstr(err.message, "scaling.scale"));
    lk_free(json);
    lk_free(old);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_doubles_after_the_interval),
        cmocka_unit_test(twenty_in_a_row_are_too_many),
        cmocka_unit_test(it_stays_in_range),
        cmocka_unit_test(the_counters_carry_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
