/* Metrics from a confusion matrix. With "print" it reads K and K x K counts from stdin and prints all of them for
 * tests/parity/test_metrics.py. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "tests/unit/unit.h"
#include "train/metrics.h"

static void assert_near(double a, double b) {
    if (!(fabs(a - b) <= 1e-15)) fail_msg("%.17g is not %.17g", a, b);
}

static void test_by_hand(void **state) {
    (void)state;
    const int64_t confusion[] = {3, 1, 0, 1, 2, 0, 0, 0, 0};
    const double losses[] = {1, 2, 3, 4, 5, 6, 7};
    lk_metrics m;
    lk_error err = {0};
    assert_int_equal(lk_metrics_compute(&m, confusion, 3, losses, 7, &err), LK_OK);
    assert_near(m.loss, 4);
    assert_near(m.accuracy, 5.0 / 7);
    assert_near(m.per_class[0].f1, 6.0 / 8);
    assert_near(m.per_class[1].recall, 2.0 / 3);
    /* P3: the third class does not occur. */
    assert_near(m.macro_f1, (6.0 / 8 + 4.0 / 6) / 2);
    assert_near(m.macro_f1_all, (6.0 / 8 + 4.0 / 6) / 3);
    assert_near(m.balanced_accuracy, (3.0 / 4 + 2.0 / 3) / 2);
    assert_int_equal(m.per_class[2].support, 0);
    lk_metrics_free(&m);
    lk_metrics_free(NULL);
}

static void test_every_sample_counts(void **state) {
    (void)state;
    const int64_t confusion[] = {3, 1, 0, 2};
    lk_metrics m;
    lk_error err = {0};
    assert_int_equal(lk_metrics_compute(&m, confusion, 2, NULL, 7, &err), LK_ERR_INTERNAL);
    assert_non_null(strstr(err.message, "holds 6 samples of 7 (P1)"));
    lk_metrics_free(&m);
}

static void test_nothing_gives_zeros(void **state) {
    (void)state;
    const int64_t confusion[4] = {0};
    lk_metrics m;
    lk_error err = {0};
    assert_int_equal(lk_metrics_compute(&m, confusion, 2, NULL, 0, &err), LK_OK);
    assert_true(m.loss == 0 && m.accuracy == 0 && m.macro_f1 == 0 && m.balanced_accuracy == 0);
    lk_metrics_free(&m);
}

static void test_argmax_is_numpys(void **state) {
    (void)state;
    const double equal[] = {1, 3, 3, 2}, with_nan[] = {1, 3, NAN, 4, NAN}, first_nan[] = {NAN, 5}, one[] = {-1};
    assert_int_equal(lk_argmax(equal, 4), 1);
    assert_int_equal(lk_argmax(with_nan, 5), 2);
    assert_int_equal(lk_argmax(first_nan, 2), 0);
    assert_int_equal(lk_argmax(one, 1), 0);
}

static void assert_contains(const char *text, const char *part) {
    if (strstr(text, part) == NULL) fail_msg("'%s' lacks '%s'", text, part);
}

static void test_tables(void **state) {
    (void)state;
    static const char *const names[] = {"shoe", "Пальто", "\xe5\xa4\x96\xe5\xa5\x97", "bad\xff\nname"};
    const int64_t confusion[] = {12, 1, 0, 0, 1, 2, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0};
    lk_metrics m;
    lk_error err = {0};
    assert_int_equal(lk_metrics_compute(&m, confusion, 4, NULL, 23, &err), LK_OK);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    lk_metrics_print(&m, names, out);
    lk_confusion_print(confusion, names, 4, out);
    fclose(out);
    assert_contains(text, "class      support  precision  recall      F1\n");
    assert_contains(text, "\nshoe            13     0.9231  0.9231  0.9231\n");
    assert_contains(text, "\nПальто           6     0.6667  0.3333  0.4444\n");
    /* Two letters, four columns. */
    assert_contains(text, "\n\xe5\xa4\x96\xe5\xa5\x97             4     0.5714  1.0000  0.7273\n");
    assert_contains(text, "\nbad??name        0     0.0000  0.0000  0.0000\n");
    assert_contains(text, "left out of macro F1; with them as 0 it is 0.5237.\nThey are 1 of 4: bad??name\n");
    assert_contains(text, "\n 0 shoe      12  1  0  0\n");
    free(text);
    lk_metrics_free(&m);
}

static void test_large_matrix_lists_confusions(void **state) {
    (void)state;
    enum { CLASSES = 30 };
    static int64_t confusion[CLASSES * CLASSES];
    static char storage[CLASSES][16];
    const char *names[CLASSES];
    for (int k = 0; k < CLASSES; k++) {
        snprintf(storage[k], sizeof storage[k], "class%d", k);
        names[k] = storage[k];
        confusion[k * CLASSES + k] = 100;
    }
    confusion[3 * CLASSES + 4] = 7;
    confusion[5 * CLASSES + 1] = 9;
    confusion[29 * CLASSES + 0] = 7;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    lk_confusion_print(confusion, names, CLASSES, out);
    fclose(out);
    const char *first = strstr(text, "9  class5 "), *second = strstr(text, "7  class3 "),
               *third = strstr(text, "7  class29 ");
    assert_true(first != NULL && second > first && third > second);
    assert_null(strstr(text, "100"));
    free(text);
}

static int print_metrics(void) {
    int classes;
    int64_t samples = 0, *confusion = NULL;
    lk_metrics m;
    lk_error err = {0};
    if (scanf("%d", &classes) != 1 || classes < 1 || classes > 1000) return 1;
    if (LK_NEW(&confusion, classes * classes, "a matrix", &err) != LK_OK) return 1;
    for (int i = 0; i < classes * classes; i++) {
        if (scanf("%" SCNd64, &confusion[i]) != 1) return 1;
        samples += confusion[i];
    }
    if (lk_metrics_compute(&m, confusion, classes, NULL, samples, &err) != LK_OK) return 1;
    printf("%.17g %.17g %.17g %.17g\n", m.accuracy, m.macro_f1, m.macro_f1_all, m.balanced_accuracy);
    for (int k = 0; k < classes; k++) {
        const lk_class_metrics *c = &m.per_class[k];
        printf("%.17g %.17g %.17g %" PRId64 "\n", c->precision, c->recall, c->f1, c->support);
    }
    lk_metrics_free(&m);
    lk_free(confusion);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "print") == 0) return print_metrics();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_every_sample_counts),
        cmocka_unit_test(test_nothing_gives_zeros),
        cmocka_unit_test(test_argmax_is_numpys),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_large_matrix_lists_confusions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
