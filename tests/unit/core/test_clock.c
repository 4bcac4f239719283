/* The age of the process, by which start-up is measured. */
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "tests/unit/unit.h"

/* What the system says of this process grows with the clock, to the hundredth that the system counts by. */
static void age_grows_with_the_clock(void **state) {
    (void)state;
    double clock = lk_clock_seconds(), age = lk_clock_process_age();
    usleep(60000);
    double passed = lk_clock_seconds() - clock, grown = lk_clock_process_age() - age;
    assert_true(age >= 0 && grown > 0.04);
    assert_true(grown - passed < 0.05 && passed - grown < 0.05);
}

/* A child that was just started is younger than its parent. */
static void a_child_is_younger(void **state) {
    (void)state;
    usleep(60000);
    double mine = lk_clock_process_age();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(lk_clock_process_age() < mine - 0.03 ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void unix_seconds_are_of_this_century(void **state) {
    (void)state;
    assert_true(lk_clock_unix_seconds() > 1.7e9 && lk_clock_unix_seconds() < 4.1e9);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(age_grows_with_the_clock), cmocka_unit_test(a_child_is_younger),
                                       cmocka_unit_test(unix_seconds_are_of_this_century)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
