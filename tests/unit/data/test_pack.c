/* The parts of packing: tables, names, text, division into splits. */
#include <math.h>

#include "io/data/csv.h"
#include "io/data/idx.h"
#include "io/data/pack_items.h"
#include "io/data/pack_worker.h"
#include "io/data/utf8.h"
#include "support.h"

/* Reads a table written as `text` and prints rows as "a|b;c|d;" into out. Returns the status. */
static lk_status read_table(void **state, const char *text, size_t size, char out[512], lk_error *err) {
    char path[320];
    lk_csv *csv = NULL;
    bool more = true;
    path_in(path, state, "t.csv");
    spill(path, text, size);
    out[0] = '\0';
    lk_status status = lk_csv_open(&csv, path, err);
    while (status == LK_OK && more) {
        status = lk_csv_next(csv, &more, err);
        if (status != LK_OK || !more) break;
        snprintf(out + strlen(out), 512 - strlen(out), "%s|%s;", lk_csv_field(csv, 0), lk_csv_field(csv, 1));
    }
    lk_csv_free(csv);
    return status;
}

static void test_csv(void **state) {
    static const struct {
        const char *text, *rows;
    } good[] = {
        {"a,b\n1,2\n", "1|2;"},
        {"a,b\r\n1,2\r\n3,4", "1|2;3|4;"},
        {"\xef\xbb\xbf"
         "a,b\n1,2",
         "1|2;"},
        {"a,b\n\"x, y\",\"say \"\"hi\"\"\"\n", "x, y|say \"hi\";"},
        {"a,b\n\"line\nbreak\",\n\n\r\n,z\n", "line\nbreak|;|z;"},
        {"a,b\n\"\",\"\"\n", "|;"},
        {"a,b\n", ""},
        {"\"a\",\"b\"\n 1 , 2 \n", " 1 | 2 ;"},
    };
    static const struct {
        const char *text, *sentence;
    } bad[] = {
        {"", "is empty"},
        {"\n\n", "is empty"},
        {"a,a\n1,2\n", "two columns named \"a\""},
        {"a,b\n1\n", "line 2 has 1 fields, but the header has 2"},
        {"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields"},
        {"a,b\n\"1,2\n", "never closed"},
        {"a,b\n\"1\"x,2\n", "line 2: text follows a closing quote"},
        {"a,b\n1\"2,3\n", "line 2: a quote within a field"},
        {"a,b\r1,2\n", "carriage return"},
    };
    char rows[512];
    lk_error err = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        check_ok(read_table(state, good[i].text, strlen(good[i].text), rows, &err), err);
        assert_string_equal(rows, good[i].rows);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_fails(read_table(state, bad[i].text, strlen(bad[i].text), rows, &err), LK_ERR_DATA, bad[i].sentence, err);
    check_fails(read_table(state, "a,b\n1,\0\n", 8, rows, &err), LK_ERR_DATA, "line 2: a zero byte", err);
    char *wide = malloc(100000);
    memset(wide, 'x', 100000);
    memcpy(wide, "a,b\n", 4);
    check_fails(read_table(state, wide, 100000, rows, &err), LK_ERR_DATA, "longer than 65536 bytes", err);
    memset(wide + 4, ',', 99996);
    check_fails(read_table(state, wide, 100000, rows, &err), LK_ERR_DATA, "more than 4095 fields", err);
    free(wide);
}

static void test_utf8(void **state) {
    (void)state;
    static const char *const good[] = {
        "", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",     "\xc3", "\xc0\xaf", "\xe0\x80\x80",    "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xe2\x82", "a\nb", "\x7f",     "\xf0\x8f\x80\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(lk_utf8_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16];
        assert_false(lk_utf8_is_valid(bad[i]));
        strcpy(text, bad[i]);
        lk_utf8_clean(text);
        assert_true(lk_utf8_is_valid(text));
        assert_int_equal(strlen(text), strlen(bad[i]));
    }
}

static void test_names(void **state) {
    (void)state;
    lk_error err = {0};
    lk_names names = {0};
    int32_t index, moved[1001];
    char text[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", (i * 37) % 1000);
        check_ok(lk_names_add(&names, text, &index, &err), err);
        assert_int_equal(index, i);
        check_ok(lk_names_add(&names, text, &index, &err), err);
        assert_int_equal(index, i);
    }
    check_ok(lk_names_sort(&names, moved, &err), err); /* all are integers: by value */
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_string_equal(names.names[i], text);
        assert_int_equal(lk_names_find(&names, text), i);
        assert_int_equal(moved[i], i * 37 % 1000);
    }
    assert_int_equal(lk_names_find(&names, "x"), -1);
    check_ok(lk_names_add(&names, "x", &index, &err), err);
    check_ok(lk_names_sort(&names, moved, &err), err); /* one is not: bytewise */
    assert_string_equal(names.names[2], "10");
    assert_string_equal(names.names[1000], "x");
    check_fails(lk_names_add(&names, "", &index, &err), LK_ERR_DATA, "1 to 255 bytes", err);
    check_fails(lk_names_add(&names, "\xff", &index, &err), LK_ERR_DATA, "UTF-8", err);
    lk_names_free(&names);
}

/* counts[class] samples of each class, in groups of group_size (0: none). */
static void fill(lk_pack_items *items, const int *counts, int classes, int group_size) {
    lk_error err = {0};
    char name[32];
    int32_t ignored;
    int64_t n = 0;
    for (int k = 0; k < classes; k++) {
        snprintf(name, sizeof name, "class%03d", k);
        check_ok(lk_names_add(&items->classes, name, &ignored, &err), err);
        for (int i = 0; i < counts[k]; i++, n++) {
            int32_t group = group_size == 0 ? -1 : (int32_t)(n / group_size);
            snprintf(name, sizeof name, "g%d", group);
            if (group >= 0) check_ok(lk_names_add(&items->groups, name, &ignored, &err), err);
            check_ok(lk_pack_items_add(items, "x", k, group, LK_SPLIT_TRAIN, &err), err);
        }
    }
}

static void count_splits(const lk_pack_items *items, int64_t counts[][3], int64_t totals[3]) {
    memset(totals, 0, 3 * sizeof *totals);
    memset(counts, 0, (size_t)items->classes.count * sizeof *counts);
    for (int64_t i = 0; i < items->count; i++) {
        counts[items->items[i].label][items->items[i].split]++;
        totals[items->items[i].split]++;
    }
}

/* P18: without groups every class is within 2 of its share and the totals within 1, also where classes are tiny. */
static void test_stratified(void **state) {
    (void)state;
    lk_pack_options options = {.fractions = {0.8, 0.1, 0.1}, .fraction_count = 3, .seed = 5};
    for (int shape = 0; shape < 3; shape++) {
        enum { CLASSES = 30 };
        lk_error err = {0};
        lk_pack_items items = {0};
        int sizes[CLASSES], sum = 0;
        int64_t counts[CLASSES][3], totals[3];
        for (int k = 0; k < CLASSES; k++) sum += sizes[k] = shape == 0 ? 100 : shape == 1 ? 3 : 1 + k * k;
        fill(&items, sizes, CLASSES, 0);
        check_ok(lk_pack_items_split(&items, &options, &err), err);
        count_splits(&items, counts, totals);
        for (int s = 0; s < 3; s++) {
            /* A class that would have had no training sample gets one back. */
            double slack = shape == 2 && s == 0 ? 3 : shape == 2 ? 2 : 1;
            assert_true(fabs((double)totals[s] - options.fractions[s] * sum) <= slack);
            for (int k = 0; k < CLASSES; k++)
                assert_true(fabs((double)counts[k][s] - options.fractions[s] * sizes[k]) <= 2);
        }
        for (int k = 0; k < CLASSES; k++) assert_true(counts[k][0] > 0);
        lk_pack_items_free(&items);
    }
}

/* Classes of one sample: half of them would have nothing to learn from, were they not given their sample back. */
static void test_every_class_keeps_training(void **state) {
    (void)state;
    enum { CLASSES = 30 };
    int sizes[CLASSES];
    for (int group_size = 0; group_size < 2; group_size++) {
        const lk_pack_options options = {.fractions = {0.5, 0.25, 0.25}, .fraction_count = 3, .seed = 2};
        lk_error err = {0};
        lk_pack_items items = {0};
        int64_t counts[CLASSES][3], totals[3];
        for (int k = 0; k < CLASSES; k++) sizes[k] = k == 0 ? 100 : 1;
        fill(&items, sizes, CLASSES, group_size);
        check_ok(lk_pack_items_split(&items, &options, &err), err);
        count_splits(&items, counts, totals);
        for (int k = 1; k < CLASSES; k++) assert_int_equal(counts[k][0], 1);
        assert_in_range(counts[0][0], 48, 52);
        lk_pack_items_free(&items);
    }
}

static void test_validation_part(void **state) {
    (void)state;
    enum { CLASSES = 7 };
    const int sizes[CLASSES] = {10, 20, 30, 40, 50, 60, 70};
    for (int kind = 0; kind < 2; kind++) {
        lk_error err = {0};
        lk_pack_items items = {0};
        int64_t counts[CLASSES][3], totals[3];
        fill(&items, sizes, CLASSES, 0);
        for (int64_t i = 0; i < items.count; i += 2) items.items[i].split = LK_SPLIT_TEST;
        const lk_pack_options options = {.validation = kind == 0 ? 28 : 0.2, .seed = 1};
        check_ok(lk_pack_items_split(&items, &options, &err), err);
        count_splits(&items, counts, totals);
        assert_int_equal(totals[LK_SPLIT_TEST], 140);
        assert_int_equal(totals[LK_SPLIT_VALIDATION], 28);
        for (int k = 0; k < CLASSES; k++) {
            assert_int_equal(counts[k][LK_SPLIT_TEST], sizes[k] / 2);
            assert_int_equal(counts[k][LK_SPLIT_VALIDATION], sizes[k] / 10);
        }
        const lk_pack_options all = {.validation = 112};
        check_fails(lk_pack_items_split(&items, &all, &err), LK_ERR_CONFIG, "take all 112 training samples", err);
        lk_pack_items_free(&items);
    }
}

/* P18: groups stay whole, and the splits are still near their shares of every class. */
static void test_groups(void **state) {
    (void)state;
    enum { CLASSES = 5 };
    const int sizes[CLASSES] = {400, 300, 200, 100, 83};
    lk_error err = {0};
    lk_pack_items items = {0};
    int64_t counts[CLASSES][3], totals[3];
    int split_of[400];
    const lk_pack_options options = {.fractions = {0.7, 0.2, 0.1}, .fraction_count = 3, .seed = 3};
    fill(&items, sizes, CLASSES, 7);
    check_ok(lk_pack_items_split(&items, &options, &err), err);
    for (int i = 0; i < 400; i++) split_of[i] = -1;
    for (int64_t i = 0; i < items.count; i++) {
        int *split = &split_of[items.items[i].group];
        if (*split < 0) *split = (int)items.items[i].split;
        assert_int_equal(*split, items.items[i].split);
    }
    count_splits(&items, counts, totals);
    for (int k = 0; k < CLASSES; k++)
        for (int s = 0; s < 3; s++) assert_true(fabs((double)counts[k][s] - options.fractions[s] * sizes[k]) <= 8);
    lk_pack_items_free(&items);
}

static void test_split_is_drawn_from_the_seed(void **state) {
    (void)state;
    const int sizes[2] = {500, 500};
    lk_error err = {0};
    lk_pack_items items[3] = {{0}, {0}, {0}};
    for (int i = 0; i < 3; i++) {
        const lk_pack_options options = {.fractions = {0.5, 0.5}, .fraction_count = 2, .seed = i == 2 ? 1 : 0};
        fill(&items[i], sizes, 2, 0);
        check_ok(lk_pack_items_split(&items[i], &options, &err), err);
    }
    int same = 0;
    for (int64_t i = 0; i < 1000; i++) {
        assert_int_equal(items[0].items[i].split, items[1].items[i].split);
        same += items[0].items[i].split == items[2].items[i].split;
    }
    assert_in_range(same, 400, 600);
    for (int i = 0; i < 3; i++) lk_pack_items_free(&items[i]);
}

static void test_split_refusals(void **state) {
    (void)state;
    const int sizes[2] = {5, 5};
    lk_error err = {0};
    lk_pack_items items = {0};
    lk_pack_options options = {.fractions = {0.8, 0.1, 0.3}, .fraction_count = 3};
    fill(&items, sizes, 2, 0);
    check_fails(lk_pack_items_split(&items, &options, &err), LK_ERR_CONFIG, "sum to 1.2", err);
    options.fractions[1] = -0.1;
    check_fails(lk_pack_items_split(&items, &options, &err), LK_ERR_CONFIG, "negative", err);
    for (int64_t i = 0; i < items.count; i++) items.items[i].label = -1;
    check_fails(lk_pack_items_split(&items, &options, &err), LK_ERR_CONFIG, "no labelled", err);
    lk_pack_items_free(&items);
}

static void test_class_checks(void **state) {
    (void)state;
    lk_error err = {0};
    lk_pack_items items = {0};
    const int one[1] = {5}, gap[3] = {5, 0, 5}, two[2] = {5, 5};
    fill(&items, one, 1, 0);
    check_fails(lk_pack_items_check(&items, "SRC", &err), LK_ERR_DATA, "one class only", err);
    lk_pack_items_free(&items);
    fill(&items, gap, 3, 0);
    check_fails(lk_pack_items_check(&items, "SRC", &err), LK_ERR_DATA, "\"class001\" is empty", err);
    lk_pack_items_free(&items);
    fill(&items, two, 2, 0);
    check_ok(lk_pack_items_check(&items, "SRC", &err), err);
    for (int i = 5; i < 10; i++) items.items[i].split = LK_SPLIT_TEST;
    check_fails(lk_pack_items_check(&items, "SRC", &err), LK_ERR_DATA, "\"class001\" has no training image", err);
    for (int i = 0; i < 5; i++) items.items[i].split = LK_SPLIT_TEST; /* a set to evaluate on: fine */
    check_ok(lk_pack_items_check(&items, "SRC", &err), err);
    lk_pack_items_free(&items);
}

/* torchvision: int(size * long / short) */
static void test_short_side(void **state) {
    (void)state;
    int32_t width, height;
    lk_pack_short_side(640, 480, 256, &width, &height);
    assert_int_equal(width, 341);
    assert_int_equal(height, 256);
    lk_pack_short_side(400, 533, 256, &width, &height);
    assert_int_equal(width, 256);
    assert_int_equal(height, 341);
    lk_pack_short_side(300, 300, 7, &width, &height);
    assert_int_equal(width, 7);
    assert_int_equal(height, 7);
}

static void test_idx(void **state) {
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9};
    static const struct {
        uint8_t at, value;
        const char *sentence;
    } cases[] = {{0, 1, "not an IDX file"}, {2, 9, "not an IDX file"}, {3, 3, "not an IDX file"},
                 {4, 0xff, "dimension 0"},  {7, 0, "dimension 0"},     {7, 4, "truncated"},
                 {7, 2, "bytes behind"}};
    char path[320];
    lk_error err = {0};
    path_in(path, state, "x-ubyte");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[sizeof labels], read[4];
        lk_idx *idx = NULL;
        memcpy(bytes, labels, sizeof labels);
        bytes[cases[i].at] = cases[i].value;
        spill(path, bytes, sizeof bytes);
        lk_status status = lk_idx_open(&idx, path, 1, &err);
        if (status == LK_OK) status = lk_idx_read(idx, read, lk_idx_dims(idx)[0], &err);
        if (status == LK_OK) status = lk_idx_end(idx, &err);
        lk_idx_free(idx);
        assert_int_equal(status, LK_ERR_DATA);
        if (strstr(err.message, cases[i].sentence) == NULL) fail_msg("%s", err.message);
        lk_error_clear(&err);
    }
    for (size_t length = 0; length < sizeof labels; length++) {
        lk_idx *idx = NULL;
        uint8_t read[4];
        spill(path, labels, length);
        lk_status status = lk_idx_open(&idx, path, 1, &err);
        if (status == LK_OK) status = lk_idx_read(idx, read, 3, &err);
        assert_int_equal(status, LK_ERR_DATA);
        assert_non_null(strstr(err.message, "truncated"));
        lk_error_clear(&err);
        lk_idx_free(idx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_csv, folder_setup, folder_teardown),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_stratified),
        cmocka_unit_test(test_every_class_keeps_training),
        cmocka_unit_test(test_validation_part),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_split_is_drawn_from_the_seed),
        cmocka_unit_test(test_split_refusals),
        cmocka_unit_test(test_class_checks),
        cmocka_unit_test(test_short_side),
        cmocka_unit_test_setup_teardown(test_idx, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
