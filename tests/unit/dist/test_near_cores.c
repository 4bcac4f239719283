/* Which cores the threads of a rank keep to, on machines that hwloc makes up. */
#include "dist/near_cores.h"
#include "tests/unit/unit.h"

/* Two sockets of four cores with two threads each: cores 0 to 3 are processing units 0 to 7. own, local: lists of
 * units; expected: likewise, NULL where nothing is changed. */
static void check(const char *own, const char *local, int cores, const char *expected) {
    hwloc_topology_t machine;
    hwloc_bitmap_t sets[3];
    char *text = NULL;
    for (int i = 0; i < 3; i++) sets[i] = hwloc_bitmap_alloc();
    assert_int_equal(hwloc_topology_init(&machine), 0);
    assert_int_equal(hwloc_topology_set_synthetic(machine, "package:2 numa:1 core:4 pu:2"), 0);
    assert_int_equal(hwloc_topology_load(machine), 0);
    hwloc_bitmap_list_sscanf(sets[0], own);
    hwloc_bitmap_list_sscanf(sets[1], local);
    assert_int_equal(lk_near_cores_choose(sets[2], machine, sets[0], sets[1], cores), expected != NULL);
    hwloc_bitmap_list_asprintf(&text, sets[2]);
    if (expected != NULL) assert_string_equal(text, expected);
    free(text);
    for (int i = 0; i < 3; i++) hwloc_bitmap_free(sets[i]);
    hwloc_topology_destroy(machine);
}

static void test_an_unbound_rank_keeps_to_the_gpus_socket(void **state) {
    (void)state;
    check("0-15", "8-15", 4, "8-15"); /* two ranks on the node: each counts on half */
    check("0-15", "8-15", 2, "8-15");
}

static void test_no_core_is_lost(void **state) {
    (void)state;
    check("0-15", "8-15", 8, NULL); /* alone on the node: all cores are worth more than near ones */
    check("0-15", "8-15", 5, NULL);
}

static void test_the_launchers_binding_is_honoured(void **state) {
    (void)state;
    check("4-11", "0-7", 2, "4-7");
    check("0-7", "8-15", 4, NULL);  /* bound far from the GPU */
    check("8-11", "8-15", 2, NULL); /* bound near it */
    check("1,3,9", "0-7", 1, NULL); /* no whole core near it */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_unbound_rank_keeps_to_the_gpus_socket),
                                       cmocka_unit_test(test_no_core_is_lost),
                                       cmocka_unit_test(test_the_launchers_binding_is_honoured)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
