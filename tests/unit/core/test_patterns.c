/* Glob patterns on dotted names. */
#include <string.h>

#include "core/patterns.h"
#include "tests/unit/unit.h"

static bool one(const char *pattern, const char *name) {
    lk_patterns p;
    lk_error err = {0};
    assert_int_equal(lk_patterns_parse(&p, pattern, "key", &err), LK_OK);
    return lk_patterns_match(&p, name);
}

static void test_matches(void **state) {
    (void)state;
    assert_true(one("layer1", "layer1.0.conv1.weight"));
    assert_true(one("layer1.0", "layer1.0.conv1.weight"));
    assert_true(one("layer*.0", "layer1.0.conv1.weight"));
    assert_true(one("layer[12]", "layer2.1.bn1.bias"));
    assert_true(one("*.bias", "fc.bias"));
    assert_true(one("*", "fc.bias"));
    assert_true(one("  fc.bias ,x", "fc.bias"));
    assert_false(one("layer", "layer1.0.conv1.weight"));
    assert_false(one("conv1", "layer1.0.conv1.weight"));
    assert_false(one("layer1.1", "layer1.10.conv1.weight"));
    assert_false(one("", "fc.bias"));
    assert_false(one(" ", "fc.bias"));
}

static void test_every_pattern_must_match(void **state) {
    (void)state;
    lk_patterns p;
    lk_error err = {0};
    assert_int_equal(lk_patterns_parse(&p, "fc, layer*, convv1", "freeze.names", &err), LK_OK);
    assert_int_equal(p.count, 3);
    assert_true(lk_patterns_match(&p, "fc.weight"));
    assert_true(lk_patterns_match(&p, "layer3.0.bn1.weight"));
    assert_int_equal(lk_patterns_check(&p, "freeze.names", "parameter of resnet18", &err), LK_ERR_CONFIG);
    assert_non_null(strstr(err.message, "'convv1' matches no parameter of resnet18"));
    assert_true(lk_patterns_match(&p, "convv1.weight"));
    assert_int_equal(lk_patterns_check(&p, "freeze.names", "parameter of resnet18", &err), LK_OK);
}

static void test_bad_lists(void **state) {
    (void)state;
    lk_patterns p;
    lk_error err = {0};
    char wide[LK_PATTERNS_LENGTH + 2];
    memset(wide, 'a', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    assert_int_equal(lk_patterns_parse(&p, wide, "key", &err), LK_ERR_CONFIG);
    assert_int_equal(lk_patterns_parse(&p, "a,,b", "key", &err), LK_ERR_CONFIG);
    assert_int_equal(lk_patterns_parse(&p, ",", "key", &err), LK_ERR_CONFIG);
    for (int i = 0; i < LK_PATTERNS_MAX + 1; i++) memcpy(wide + 2 * i, "a,", 2);
    wide[2 * LK_PATTERNS_MAX + 1] = '\0';
    assert_int_equal(lk_patterns_parse(&p, wide, "key", &err), LK_ERR_CONFIG);
    wide[2 * LK_PATTERNS_MAX - 1] = '\0';
    assert_int_equal(lk_patterns_parse(&p, wide, "key", &err), LK_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_every_pattern_must_match),
        cmocka_unit_test(test_bad_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
