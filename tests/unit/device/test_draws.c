/* What an op draws is a function of the job's seed and the sample's place, not of who computes it (P5, P16). */
#include <math.h>

#include "core/random.h"
#include "device/device.h"
#include "tests/unit/unit.h"

static lk_run run_at(int64_t first_position) {
    return (lk_run){.seed = 4, .epoch = 2, .first_position = first_position};
}

/* The definition, spelled out. */
static void a_draw_is_what_the_key_says(void **state) {
    (void)state;
    lk_random_key key = {.seed = 4, .epoch = 2, .purpose = LK_RANDOM_DROPOUT};
    lk_run run = run_at(1000);
    int dropped = 0;
    for (int64_t row = 0; row < 4; row++)
        for (int64_t element = 0; element < 50; element++) {
            uint64_t index = (uint64_t)((1000 + row) * 50 + element);
            bool drops = lk_run_drops(&run, 7, row, 50, element, 0.3);
            assert_int_equal(drops, (double)lk_random_uniform(&key, index, 7) < 0.3);
            dropped += drops;
        }
    assert_true(dropped > 30 && dropped < 90);
}

static void the_cut_into_microbatches_does_not_matter(void **state) {
    (void)state;
    lk_run whole = run_at(16), second = run_at(20);
    for (int64_t row = 0; row < 4; row++)
        for (int64_t element = 0; element < 99; element++)
            assert_int_equal(lk_run_drops(&whole, 1, row + 4, 99, element, 0.5),
                             lk_run_drops(&second, 1, row, 99, element, 0.5));
}

/* Each part of the key changes about half of the draws at rate 1/2; 400 draws differ in 200 +- 10. */
static void every_part_of_the_key_counts(void **state) {
    (void)state;
    lk_run run = run_at(0), others[] = {run, run, run};
    others[0].seed++;
    others[1].epoch++;
    others[2].first_position++;
    int differ[4] = {0};
    for (int64_t element = 0; element < 400; element++) {
        bool drops = lk_run_drops(&run, 3, 0, 400, element, 0.5);
        for (int i = 0; i < 3; i++) differ[i] += drops != lk_run_drops(&others[i], 3, 0, 400, element, 0.5);
        differ[3] += drops != lk_run_drops(&run, 4, 0, 400, element, 0.5);
    }
    for (int i = 0; i < 4; i++) assert_true(differ[i] > 150 && differ[i] < 250);
}

static void the_rate_is_kept(void **state) {
    (void)state;
    lk_run run = run_at(0);
    const double rates[] = {0, 0.1, 0.5, 0.9};
    for (int i = 0; i < 4; i++) {
        int dropped = 0;
        for (int64_t element = 0; element < 20000; element++)
            dropped += lk_run_drops(&run, 0, element / 100, 100, element % 100, rates[i]);
        double spread = sqrt(20000 * rates[i] * (1 - rates[i]));
        assert_true(fabs(dropped - 20000 * rates[i]) <= 4 * spread);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_draw_is_what_the_key_says),
        cmocka_unit_test(the_cut_into_microbatches_does_not_matter),
        cmocka_unit_test(every_part_of_the_key_counts),
        cmocka_unit_test(the_rate_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
