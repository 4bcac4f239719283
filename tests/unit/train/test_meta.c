/* What travels with a model: every field round trips, every bad one is named (P4, P24). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* clang-format off */
#include <cmocka.h> /* needs those above */
/* clang-format on */

#include "core/memory.h"
#include "train/meta.h"

static char *CLASSES[] = {"T-shirt", "trouser \"wide\"",
                          "Gr\xc3\xb6\xc3\x9f"
                          "e"};

static lk_meta make_meta(void) {
    return (lk_meta){.architecture = "resnet18",
                     .class_count = 3,
                     .class_names = CLASSES,
                     .preprocess = {.channels = 3,
                                    .height = 224,
                                    .width = 192,
                                    .resize = LK_RESIZE_SHORT_SIDE,
                                    .resize_size = 256,
                                    .interpolation = LK_BICUBIC,
                                    .scaled_decode = true,
                                    .mean = {0.485f, 0.1f / 3, 0},
                                    .std = {0.229f, 1e-7f, 3.4e38f}},
                     .stored_rule = "{\"short_side\": 256}",
                     .program = "lockstep 0.1.0",
                     .dataset_hash = {0xfedcba9876543210, 7}};
}

static void assert_same(const lk_meta *a, const lk_meta *b) {
    assert_string_equal(a->architecture, b->architecture);
    assert_string_equal(a->stored_rule, b->stored_rule);
    assert_string_equal(a->program, b->program);
    assert_int_equal(a->class_count, b->class_count);
    for (int i = 0; i < a->class_count; i++) assert_string_equal(a->class_names[i], b->class_names[i]);
    const lk_preprocess *p = &a->preprocess, *q = &b->preprocess;
    assert_int_equal(p->channels, q->channels);
    assert_int_equal(p->height, q->height);
    assert_int_equal(p->width, q->width);
    assert_int_equal(p->resize, q->resize);
    assert_int_equal(p->resize_size, q->resize_size);
    assert_int_equal(p->interpolation, q->interpolation);
    assert_int_equal(p->scaled_decode, q->scaled_decode);
    assert_memory_equal(p->mean, q->mean, sizeof p->mean[0] * (size_t)p->channels);
    assert_memory_equal(p->std, q->std, sizeof p->std[0] * (size_t)p->channels);
    assert_true(a->dataset_hash[0] == b->dataset_hash[0] && a->dataset_hash[1] == b->dataset_hash[1]);
}

static void test_every_field_round_trips(void **state) {
    (void)state;
    lk_meta meta = make_meta(), back;
    lk_error err = {0};
    for (int i = 0; i < 3; i++) {
        if (i == 1) meta.preprocess.resize = LK_RESIZE_STRETCH, meta.preprocess.resize_size = 0;
        if (i == 2) meta.preprocess.channels = 1, meta.preprocess.interpolation = LK_BILINEAR;
        char *json;
        assert_int_equal(lk_meta_write(&json, &meta, &err), LK_OK);
        if (lk_meta_parse(&back, json, "x.h5", &err) != LK_OK) fail_msg("%s", err.message);
        assert_same(&meta, &back);
        char *again;
        assert_int_equal(lk_meta_write(&again, &back, &err), LK_OK);
        assert_string_equal(json, again);
        lk_free(json);
        lk_free(again);
        lk_meta_free(&back);
    }
}

static int64_t COUNTS[] = {7, 0, INT64_C(3000000000)};

static void test_training_counts_round_trip(void **state) {
    (void)state;
    lk_meta meta = make_meta(), back;
    lk_error err = {0};
    char *json;
    meta.training_counts = COUNTS;
    assert_int_equal(lk_meta_write(&json, &meta, &err), LK_OK);
    if (lk_meta_parse(&back, json, "x.h5", &err) != LK_OK) fail_msg("%s", err.message);
    assert_same(&meta, &back);
    assert_memory_equal(back.training_counts, COUNTS, sizeof COUNTS);
    lk_free(json);
    lk_meta_free(&back);
}

/* Replaces the first `from` of text by `to`. Owner: the caller, with free. */
static char *replace(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    if (at == NULL) fail_msg("the description lacks %s", from);
    char *out = malloc(strlen(text) + strlen(to) + 1);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

static void test_bad_training_counts_are_named(void **state) {
    (void)state;
    static const char *const bad_counts[] = {"-3", "1.5", "\"3\"", "3000000000, 4", "9e18", "null"};
    lk_meta meta = make_meta();
    lk_error err = {0};
    char *json;
    meta.training_counts = COUNTS;
    assert_int_equal(lk_meta_write(&json, &meta, &err), LK_OK);
    for (size_t i = 0; i < sizeof bad_counts / sizeof bad_counts[0]; i++) {
        char *bad = replace(json, "3000000000", bad_counts[i]);
        lk_meta out;
        lk_error_clear(&err);
        assert_int_equal(lk_meta_parse(&out, bad, "x.h5", &err), LK_ERR_DATA);
        assert_non_null(strstr(err.message, "'training_counts'"));
        free(bad);
    }
    lk_free(json);
}

static void test_decision_round_trip(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"1.5", "0"},
                                         {"1.5", "1e9"},
                                         {"1.5", "null"},
                                         {"0.25", "1e400"},
                                         {"0.25", "\"x\""},
                                         {"0.25", "0.25, 1"},
                                         {"validation", "VAL"},
                                         {"77", "0"},
                                         {"\"folds\": 5", "\"folds\": 1"},
                                         {"\"ece\": 0.125", "\"ece\": 2"},
                                         {"\"figures\"", "\"f\""}};
    double offsets[] = {0.25, -1, 0.75};
    lk_decision decision = {.classes = 3,
                            .temperature = 1.5,
                            .offsets = offsets,
                            .split = "validation",
                            .samples = 77,
                            .folds = 5,
                            .dataset_hash = {1, 2},
                            .figures = {0.5, 0.625, 2, 1, 0.125, 0.0625}};
    lk_meta meta = make_meta(), back;
    lk_error err = {0};
    char *json;
    meta.decision = &decision;
    assert_int_equal(lk_meta_write(&json, &meta, &err), LK_OK);
    if (lk_meta_parse(&back, json, "x.h5", &err) != LK_OK) fail_msg("%s", err.message);
    assert_memory_equal(back.decision->offsets, offsets, sizeof offsets);
    assert_true(back.decision->temperature == 1.5 && back.decision->samples == 77 && !back.decision->folded);
    assert_memory_equal(&back.decision->figures, &decision.figures, sizeof decision.figures);
    assert_string_equal(back.decision->split, "validation");
    lk_meta_free(&back);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *text = replace(json, bad[i][0], bad[i][1]);
        lk_error_clear(&err);
        assert_int_equal(lk_meta_parse(&back, text, "x.h5", &err), LK_ERR_DATA);
        free(text);
    }
    lk_free(json);
}

static void test_average_round_trip(void **state) {
    (void)state;
    static const char *const bad[] = {"1", "-0.5", "\"x\"", "null", "0", "1e400"};
    lk_meta meta = make_meta(), back;
    lk_error err = {0};
    char *json;
    meta.ema_decay = 0.875;
    assert_int_equal(lk_meta_write(&json, &meta, &err), LK_OK);
    if (lk_meta_parse(&back, json, "x.h5", &err) != LK_OK) fail_msg("%s", err.message);
    assert_true(back.ema_decay == 0.875);
    lk_meta_free(&back);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *text = replace(json, "0.875", bad[i]);
        lk_error_clear(&err);
        assert_int_equal(lk_meta_parse(&back, text, "x.h5", &err), LK_ERR_DATA);
        free(text);
    }
    lk_free(json);
}

static void test_every_bad_field_is_named(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *part;
    } cases[] = {
        {"\"lockstep-meta\"", "\"other\"", "'format'"},
        {"\"version\": 1", "\"version\": 0", "'version'"},
        {"\"version\": 1", "\"version\": 2", "version 2, this program (" LK_VERSION ") reads up to 1"},
        {"\"program\"", "\"progam\"", "'program'"},
        {"\"resnet18\"", "\"resnet19\"", "'resnet19' is none that this program"},
        {"\"T-shirt\",", "", "NONE"},
        {"\"T-shirt\"", "\"\"", "'class_names'"},
        {"\"T-shirt\"", "3", "'class_names'"},
        {"\"T-shirt\"",
         "\"Gr\xc3\xb6\xc3\x9f"
         "e\"",
         "'class_names' holds a name twice"},
        {"\"RGB\"", "\"BGR\"", "'colour'"},
        {"\"RGB\"", "\"grey\"", "'mean'"},
        {"\"height\": 224", "\"height\": 0", "'height'"},
        {"\"height\": 224", "\"height\": 16385", "'height'"},
        {"\"width\": 192", "\"width\": 1.5", "'width'"},
        {"\"width\": 192", "\"width\": -192", "'width'"},
        {"\"scaled\"", "\"scald\"", "'decode'"},
        {"\"short_side\",", "\"long_side\",", "'resize'"},
        {"\"resize_size\": 256", "\"resize_size\": 99999", "'resize_size'"},
        {"\"resize_size\"", "\"resize_siz\"", "'resize_size'"},
        {"\"bicubic\"", "\"lanczos\"", "'interpolation'"},
        {"\"center\"", "\"random_resized\"", "'crop'"},
        {"0.229000002", "0", "'std'"},
        {"0.229000002", "-1", "'std'"},
        {"0.229000002", "1e300", "'std'"},
        {"0.229000002", "\"x\"", "'std'"},
        {"0.485000014,", "", "'mean'"},
        {"\"stored_rule\"", "\"stored\"", "'stored_rule'"},
        {"\"fedcba98", "\"Fedcba98", "'dataset_hash'"},
        {"\"fedcba98", "\"", "'dataset_hash'"},
        {"{", "[", "does not parse"},
        {"\"version\": 1,", "\"version\": 1, \"version\": 1,", "does not parse"},
        {"T-shirt", "T\\u0000", "does not parse"},
    };
    lk_meta meta = make_meta();
    lk_error err = {0};
    char *json;
    assert_int_equal(lk_meta_write(&json, &meta, &err), LK_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *bad = replace(json, cases[i].from, cases[i].to);
        lk_meta out;
        lk_error_clear(&err);
        lk_status status = lk_meta_parse(&out, bad, "dir/x.h5", &err);
        if (strcmp(cases[i].part, "NONE") == 0) {
            assert_int_equal(status, LK_OK);
            assert_int_equal(out.class_count, 2);
            lk_meta_free(&out);
        } else {
            assert_int_equal(status, LK_ERR_DATA);
            if (strstr(err.message, cases[i].part) == NULL || strstr(err.message, "dir/x.h5") == NULL)
                fail_msg("'%s' lacks '%s'", err.message, cases[i].part);
        }
        free(bad);
    }
    lk_free(json);
}

static void test_the_file_beside(void **state) {
    (void)state;
    char folder[] = "/tmp/lockstep-meta-XXXXXX", path[64], beside[80];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/001_f1_0.5000.h5", folder);
    snprintf(beside, sizeof beside, "%s.json", path);
    lk_meta meta = make_meta(), back;
    lk_error err = {0};
    assert_int_equal(lk_meta_write_beside(path, &meta, &err), LK_OK);
    char text[4096] = "";
    FILE *file = fopen(beside, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 100);
    fclose(file);
    assert_int_equal(lk_meta_parse(&back, text, beside, &err), LK_OK);
    assert_same(&meta, &back);
    lk_meta_free(&back);
    assert_int_equal(unlink(beside), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(lk_meta_write_beside(path, &meta, &err), LK_ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_round_trips),
        cmocka_unit_test(test_every_bad_field_is_named),
        cmocka_unit_test(test_training_counts_round_trip),
        cmocka_unit_test(test_decision_round_trip),
        cmocka_unit_test(test_average_round_trip),
        cmocka_unit_test(test_bad_training_counts_are_named),
        cmocka_unit_test(test_the_file_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
