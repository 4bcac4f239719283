/* A job's loss from its keys and the counts of the training split. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"
#include "train/loss.h"

enum { CLASSES = 4 };
static const char *const NAMES[CLASSES] = {"dress", "hat", "pants", "shirt"};
static const int64_t COUNTS[CLASSES] = {40, 1, 10, 49}, ABSENT[CLASSES] = {40, 0, 10, 50};

/* The keys' defaults, changed by `overrides`. */
static lk_job *make_job(const char *overrides) {
    static lk_job job;
    char text[512];
    lk_error err = {0};
    snprintf(text, sizeof text, "data: x.h5\nmodel: resnet18\nloss: {%s}\n", overrides);
    lk_job_free(&job);
    if (lk_job_parse(&job, text, "test", &err) != LK_OK) fail_msg("%s", err.message);
    return &job;
}

static lk_loss make_loss(const char *overrides, const int64_t *counts) {
    lk_loss loss;
    lk_error err = {0};
    if (lk_loss_create(&loss, make_job(overrides), NAMES, CLASSES, counts, &err) != LK_OK) fail_msg("%s", err.message);
    return loss;
}

static void assert_near(double seen, double wanted) {
    if (!(fabs(seen - wanted) <= 1e-14 * (1 + fabs(wanted)))) fail_msg("%.17g is not %.17g", seen, wanted);
}

static void test_plain(void **state) {
    (void)state;
    lk_loss loss = make_loss("", NULL);
    assert_true(lk_loss_is_plain(&loss));
    assert_null(loss.config.class_weights);
    lk_loss_free(&loss);
}

static void test_weights(void **state) {
    (void)state;
    lk_loss loss = make_loss("weighting: inverse_frequency", COUNTS);
    for (int k = 0; k < CLASSES; k++) assert_near(loss.config.class_weights[k], 100.0 / (CLASSES * (double)COUNTS[k]));
    lk_loss_free(&loss);
    loss = make_loss("weighting: effective_number, effective_beta: 0.99", COUNTS);
    double sum = 0, raw = 0;
    for (int k = 0; k < CLASSES; k++) raw += (1 - 0.99) / (1 - pow(0.99, (double)COUNTS[k]));
    for (int k = 0; k < CLASSES; k++) {
        sum += loss.config.class_weights[k];
        assert_near(loss.config.class_weights[k], CLASSES * (1 - 0.99) / (1 - pow(0.99, (double)COUNTS[k])) / raw);
    }
    assert_near(sum, CLASSES);
    lk_loss_free(&loss);
    loss = make_loss("weighting: effective_number, effective_beta: 0", COUNTS);
    for (int k = 0; k < CLASSES; k++) assert_near(loss.config.class_weights[k], 1);
    lk_loss_free(&loss);
    loss = make_loss("weighting: given, class_weights: [1, 0, 2, 3]", ABSENT);
    assert_near(loss.config.class_weights[2], 2);
    assert_false(lk_loss_is_plain(&loss));
    lk_loss_free(&loss);
}

static void test_adjusted_logits(void **state) {
    (void)state;
    lk_loss loss = make_loss("logit_adjustment: 1.5", COUNTS);
    for (int k = 0; k < CLASSES; k++) assert_near(loss.config.logit_offsets[k], 1.5 * log((double)COUNTS[k] / 100));
    lk_loss_free(&loss);
}

static void test_printed(void **state) {
    (void)state;
    char text[512];
    lk_loss loss = make_loss("weighting: inverse_frequency, f1: 0.5, focal: 1, smoothing: 0.1", COUNTS);
    assert_string_equal(lk_loss_print(&loss, NAMES, text, sizeof text),
                        "1 cross-entropy + 1 focal (gamma 2) + 0.5 soft macro-F1 of the window; label smoothing 0.1 on "
                        "every class; inverse-frequency class weights: dress 0.625, hat 25, pants 2.5, shirt 0.5102");
    assert_string_equal(lk_loss_print(&loss, NAMES, text, 16), "1 cross-entropy");
    lk_loss_print(&loss, NAMES, text, 170);
    assert_string_equal(text + strlen(text) - 16, "625, hat 25, ...");
    lk_loss_free(&loss);
}

static void assert_refused(const char *overrides, int classes, const int64_t *counts, const char *part) {
    lk_loss loss;
    lk_error err = {0};
    assert_int_equal(lk_loss_create(&loss, make_job(overrides), NAMES, classes, counts, &err), LK_ERR_CONFIG);
    if (strstr(err.message, part) == NULL) fail_msg("'%s' lacks '%s'", err.message, part);
    assert_null(loss.values);
}

static void test_refused(void **state) {
    (void)state;
    assert_refused("", 1, COUNTS, "1 class");
    assert_refused("weighting: inverse_frequency", CLASSES, ABSENT, "class 'hat' has no training samples");
    assert_refused("weighting: effective_number", CLASSES, ABSENT, "class 'hat' has no training samples");
    assert_refused("logit_adjustment: 1", CLASSES, ABSENT, "class 'hat' has no training samples");
    assert_refused("weighting: inverse_frequency", CLASSES, NULL, "not known");
    assert_refused("weighting: given, class_weights: [1, 2]", CLASSES, COUNTS, "has 2 values");
    assert_refused("focal: 1, focal_alpha: [1, 2, 3, 4, 5]", CLASSES, COUNTS, "has 5 values");
    assert_refused("weighting: given, class_weights: [0, 0, 0, 0]", CLASSES, COUNTS, "all 0");
}

static void test_of_a_split(void **state) {
    (void)state;
    lk_loss loss = make_loss("weighting: given, class_weights: [1, 4, 2, 0]", COUNTS);
    lk_class_metrics per_class[CLASSES] = {{.support = 5}, {.support = 1}, {.support = 3}, {.support = 1}};
    lk_metrics metrics = {.samples = 10, .loss = 0.6, .classes = CLASSES, .per_class = per_class};
    assert_near(lk_loss_of_split(&loss.config, &metrics, NULL), 0.6 * 10 / (5 + 4 + 6));
    for (int k = 0; k < CLASSES; k++) per_class[k].support = k == 3 ? 10 : 0; /* all of the class that does not count */
    assert_true(lk_loss_of_split(&loss.config, &metrics, NULL) == 0);
    lk_loss_free(&loss);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),   cmocka_unit_test(test_weights), cmocka_unit_test(test_adjusted_logits),
        cmocka_unit_test(test_printed), cmocka_unit_test(test_refused), cmocka_unit_test(test_of_a_split),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lk_job_free(make_job(""));
    return failed;
}
