/* What people see while they wait: progress, durations, messages. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/progress.h"
#include "tests/unit/unit.h"

static const char *render(int64_t done, int64_t total, double elapsed, int width, char *text, size_t size) {
    lk_progress p = {.title = "pack", .unit = "images", .total = total, .done = done};
    return lk_progress_render(&p, elapsed, width, text, size);
}

static void test_bar(void **state) {
    (void)state;
    char text[512];
    assert_string_equal(render(50, 200, 10, 59, text, sizeof text),
                        "pack [####............]  25% 50/200 5.00 images/s 0:30 left");
}

static void test_parts_that_do_not_fit_are_dropped(void **state) {
    (void)state;
    char text[512];
    for (int width = 1; width < 200; width++) {
        render(1234567, 2000000, 100, width, text, sizeof text);
        size_t length = strlen(text);
        assert_true(length <= (size_t)width);
        /* Parts are left out whole, as long as the counts fit. */
        if (width < 20) continue;
        const char *end = text + length;
        assert_true(strcmp(end - 4, "left") == 0 || strcmp(end - 8, "images/s") == 0 ||
                    strcmp(end - 7, "2000000") == 0);
    }
    assert_null(strchr(render(50, 200, 10, 40, text, sizeof text), '['));
    assert_non_null(strstr(text, "images/s"));
    assert_null(strstr(render(50, 200, 10, 30, text, sizeof text), "left"));
    assert_string_equal(render(50, 200, 10, 12, text, sizeof text), " 25% 50/200");
}

static void test_unknown_total_and_odd_values(void **state) {
    (void)state;
    char text[512];
    assert_string_equal(render(50, 0, 0.1, 80, text, sizeof text), "pack 50 500 images/s");
    assert_string_equal(render(0, 0, 0, 80, text, sizeof text), "pack 0 0.00 images/s");
    assert_null(strstr(render(0, 200, 5, 80, text, sizeof text), "left"));
    assert_non_null(strstr(render(300, 200, 1, 80, text, sizeof text), "100% 300/200"));
}

static void write_note(void *context, char *text, size_t size) { snprintf(text, size, "%s", (const char *)context); }

static void test_the_note_goes_before_the_time_left(void **state) {
    (void)state;
    char text[512];
    lk_progress p = {.title = "train", .unit = "updates", .total = 200, .done = 50, .note = write_note};
    p.note_context = (void *)(uintptr_t) "data wait 1.5% 120 MiB";
    assert_string_equal(lk_progress_render(&p, 10, 72, text, sizeof text),
                        "train  25% 50/200 5.00 updates/s 0:30 left data wait 1.5% 120 MiB");
    assert_non_null(strchr(lk_progress_render(&p, 10, 80, text, sizeof text), '['));
    lk_progress_render(&p, 10, 64, text, sizeof text);
    assert_null(strstr(text, "MiB"));
    assert_non_null(strstr(text, "left"));
}

static void test_width(void **state) {
    (void)state;
    FILE *file = tmpfile();
    const char *const columns[] = {"40", "0", "-3", "x", "99999"};
    for (int i = 0; i < 5; i++) {
        setenv("COLUMNS", columns[i], 1);
        assert_int_equal(lk_terminal_width(file), i == 0 ? 40 : 80);
    }
    unsetenv("COLUMNS");
    assert_int_equal(lk_terminal_width(file), 80);
    fclose(file);
}

static void test_no_terminal_gives_plain_lines(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    lk_progress p;
    lk_progress_start(&p, out, "pack", "images", 100);
    assert_false(p.cursor);
    lk_progress_update(&p, 1);
    p.last_shown -= 20;
    lk_progress_update(&p, 50);
    lk_progress_update(&p, 60);
    lk_progress_finish(&p);
    fclose(out);
    assert_null(strchr(text, '\r'));
    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "50/100"));
    assert_null(strstr(text, "60/100"));
    assert_non_null(strstr(text, "pack: 60 images in 0:00"));
    free(text);
    lk_progress_start(&p, NULL, "pack", "images", 100);
    lk_progress_update(&p, 1);
    lk_progress_finish(&p);
}

static void test_durations(void **state) {
    (void)state;
    char text[32];
    assert_string_equal(lk_clock_duration_text(6.6, text, sizeof text), "0:07");
    assert_string_equal(lk_clock_duration_text(754, text, sizeof text), "12:34");
    assert_string_equal(lk_clock_duration_text(3723, text, sizeof text), "1:02:03");
    assert_string_equal(lk_clock_duration_text(-1, text, sizeof text), "0:00");
    assert_string_equal(lk_clock_duration_text(1e300, text, sizeof text), "99:59:59");
    assert_string_equal(lk_clock_duration_text(0.0 / 0.0, text, sizeof text), "0:00");
    assert_int_equal(strlen(lk_clock_wall_text(text, sizeof text)), 20);
    double before = lk_clock_seconds();
    assert_true(lk_clock_seconds() >= before);
}

static char *log_line(lk_log log, lk_log_level level, const char *message) {
    char *text = NULL;
    size_t size = 0;
    log.out = open_memstream(&text, &size);
    lk_log_write(&log, level, "%s", message);
    fclose(log.out);
    return text;
}

static void expect_log(int size, bool colour, lk_log_level level, const char *wanted) {
    lk_log log = lk_log_create(stderr, 1, size);
    log.colour = colour;
    char *text = log_line(log, level, "few cores");
    assert_string_equal(text, wanted);
    free(text);
}

static void test_log(void **state) {
    (void)state;
    expect_log(1, false, LK_LOG_WARNING, "warning: few cores\n");
    expect_log(2, false, LK_LOG_ERROR, "[rank 1] error: few cores\n");
    expect_log(2, true, LK_LOG_WARNING, "[rank 1] \x1b[33mwarning: \x1b[0mfew cores\n");
    expect_log(1, true, LK_LOG_INFO, "few cores\n");
    expect_log(1, false, LK_LOG_DEBUG, "");
    char *longest = malloc(5000);
    memset(longest, 'x', 4999);
    longest[4999] = '\0';
    char *text = log_line(lk_log_create(stderr, 0, 1), LK_LOG_WARNING, longest);
    assert_int_equal(strlen(text), 2000 + strlen("warning: \n"));
    free(text);
    free(longest);
    lk_log_write(NULL, LK_LOG_ERROR, "nothing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_parts_that_do_not_fit_are_dropped),
        cmocka_unit_test(test_unknown_total_and_odd_values),
        cmocka_unit_test(test_the_note_goes_before_the_time_left),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_no_terminal_gives_plain_lines),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
