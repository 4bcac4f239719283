/* The search for images that look alike: no pair is lost, whatever the number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "io/scan/similar.h"
#include "tests/unit/unit.h"

enum { IMAGES = 700, THREADS = 3 };

typedef struct set {
    uint8_t *thumbnails;
    lk_fingerprint *prints;
} set;

static uint32_t draw(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* A few waves under a chequered texture, which 8 x 8 means do not see. Every third picture differs a little from an
 * earlier one: in each pixel, or, which the means see far more than the pixels, in whole cells. */
static set make_set(void) {
    set s;
    uint32_t state = 5;
    s.thumbnails = malloc((size_t)IMAGES * LK_SCAN_PIXELS);
    s.prints = calloc(IMAGES, sizeof *s.prints);
    for (int i = 0; i < IMAGES; i++) {
        uint8_t *own = s.thumbnails + (size_t)i * LK_SCAN_PIXELS;
        s.prints[i].readable = true;
        s.prints[i].deviation = 40;
        if (i % 3 == 2) {
            const uint8_t *other = s.thumbnails + (size_t)(draw(&state) % (uint32_t)i) * LK_SCAN_PIXELS;
            int strength = 1 + (int)(draw(&state) % 40), change[64];
            for (int cell = 0; cell < 64; cell++)
                change[cell] = (int)(draw(&state) % (uint32_t)(2 * strength)) - strength;
            for (int p = 0; p < LK_SCAN_PIXELS; p++) {
                int own_change = (int)(draw(&state) % (uint32_t)(2 * strength)) - strength;
                int value =
                    other[p] + (i % 2 == 0 ? own_change : change[p / LK_SCAN_SIDE / 4 * 8 + p % LK_SCAN_SIDE / 4]);
                own[p] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
            continue;
        }
        double fx = draw(&state) % 100 / 25.0, fy = draw(&state) % 100 / 25.0, phase = draw(&state) % 100 / 16.0;
        for (int p = 0; p < LK_SCAN_PIXELS; p++)
            own[p] = (uint8_t)(128 + 50 * ((p + p / LK_SCAN_SIDE) % 2) +
                               70 * sin(fx * (p % LK_SCAN_SIDE) / 10 + fy * (p / LK_SCAN_SIDE) / 10 + phase));
    }
    return s;
}

static void free_set(set *s) {
    free(s->thumbnails);
    free(s->prints);
}

/* Correlation of 8 x 8 means in double, straight from its definition. */
static double coarse_correlation(const uint8_t *a, const uint8_t *b) {
    double x[64] = {0}, y[64] = {0}, mx = 0, my = 0, xy = 0, xx = 0, yy = 0;
    for (int p = 0; p < LK_SCAN_PIXELS; p++) {
        int cell = p / LK_SCAN_SIDE / 4 * 8 + p % LK_SCAN_SIDE / 4;
        x[cell] += a[p];
        y[cell] += b[p];
    }
    for (int i = 0; i < 64; i++) {
        mx += x[i] / 64;
        my += y[i] / 64;
    }
    for (int i = 0; i < 64; i++) {
        xy += (x[i] - mx) * (y[i] - my);
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
    }
    return xy / sqrt(xx * yy);
}

static void join_all_pairs(lk_sets *sets, const set *s, double similarity, int *pairs) {
    for (int i = 0; i < IMAGES; i++)
        for (int j = 0; j < i; j++) {
            const uint8_t *a = s->thumbnails + (size_t)i * LK_SCAN_PIXELS;
            const uint8_t *b = s->thumbnails + (size_t)j * LK_SCAN_PIXELS;
            if (lk_similar_correlation(a, b) < similarity || coarse_correlation(a, b) < 2 * similarity - 1) continue;
            lk_sets_join(sets, i, j);
            ++*pairs;
        }
}

static void test_no_pair_is_lost(void **state) {
    (void)state;
    set s = make_set();
    lk_error err = {0};
    for (int threads = 1; threads <= THREADS; threads += 2)
        for (int step = 0; step < 3; step++) {
            double similarity = 0.93 + 0.03 * step;
            int pairs = 0;
            lk_sets all, found;
            lk_pool *pool;
            lk_similar_counts counts;
            assert_int_equal(lk_pool_create(&pool, threads, &err), LK_OK);
            assert_int_equal(lk_sets_create(&all, IMAGES, &err), LK_OK);
            assert_int_equal(lk_sets_create(&found, IMAGES, &err), LK_OK);
            join_all_pairs(&all, &s, similarity, &pairs);
            assert_true(pairs > 50);
            assert_int_equal(lk_similar_join(&found, s.prints, s.thumbnails, IMAGES, similarity, pool, &counts, &err),
                             LK_OK);
            for (int i = 0; i < IMAGES; i++) assert_int_equal(lk_sets_find(&found, i), lk_sets_find(&all, i));
            assert_true(counts.compared < IMAGES * (IMAGES - 1) / 2);
            assert_true(counts.correlated < counts.compared);
            lk_sets_free(&all);
            lk_sets_free(&found);
            lk_pool_free(pool);
        }
    free_set(&s);
}

static void test_blank_and_unreadable_images_are_left_out(void **state) {
    (void)state;
    set s = make_set();
    lk_error err = {0};
    lk_sets sets;
    lk_pool *pool;
    memcpy(s.thumbnails + LK_SCAN_PIXELS, s.thumbnails, LK_SCAN_PIXELS);
    memcpy(s.thumbnails + 2 * LK_SCAN_PIXELS, s.thumbnails, LK_SCAN_PIXELS);
    s.prints[1].readable = false;
    s.prints[2].deviation = 0;
    assert_int_equal(lk_pool_create(&pool, 1, &err), LK_OK);
    assert_int_equal(lk_sets_create(&sets, 3, &err), LK_OK);
    assert_int_equal(lk_similar_join(&sets, s.prints, s.thumbnails, 3, 0.99, pool, NULL, &err), LK_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(lk_sets_find(&sets, i), i);
    s.prints[1].readable = true;
    assert_int_equal(lk_similar_join(&sets, s.prints, s.thumbnails, 3, 0.99, pool, NULL, &err), LK_OK);
    assert_int_equal(lk_sets_find(&sets, 1), 0);
    assert_int_equal(lk_similar_join(&sets, s.prints, s.thumbnails, 0, 0.99, pool, NULL, &err), LK_OK);
    lk_sets_free(&sets);
    lk_pool_free(pool);
    free_set(&s);
}

static void test_correlation(void **state) {
    (void)state;
    uint8_t a[LK_SCAN_PIXELS], b[LK_SCAN_PIXELS];
    for (int i = 0; i < LK_SCAN_PIXELS; i++) {
        a[i] = (uint8_t)(i % 251);
        b[i] = (uint8_t)(255 - a[i]);
    }
    assert_true(fabs(lk_similar_correlation(a, a) - 1) < 1e-12);
    assert_true(fabs(lk_similar_correlation(a, b) + 1) < 1e-12);
    memset(b, 255, sizeof b);
    assert_true(lk_similar_correlation(a, b) == 0);
    assert_true(lk_similar_correlation(b, b) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_pair_is_lost),
        cmocka_unit_test(test_blank_and_unreadable_images_are_left_out),
        cmocka_unit_test(test_correlation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
