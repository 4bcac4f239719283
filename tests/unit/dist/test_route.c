/* Routes of slices: every slice has one owner, and a bucket crosses the network once each way per node. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "dist/reduce_route.h"
#include "tests/unit/unit.h"

enum { MOST = 64 };

static lk_route make(int leaves, const int *node_sizes) {
    lk_route route;
    lk_error err = {0};
    int nodes[MOST], ranks = 0;
    for (int node = 0; node_sizes[node] > 0; node++)
        for (int i = 0; i < node_sizes[node]; i++) nodes[ranks++] = node * 3; /* numbers needn't be dense */
    assert_int_equal(lk_route_create(&route, leaves, ranks, nodes, &err), LK_OK);
    return route;
}

static int runs_of(const lk_route *route, int rank, int *slices) {
    int runs = 0;
    *slices = 0;
    for (int first = 0, end = 0; lk_route_next_run(route, rank, &first, &end); runs++)
        for (int slice = first; slice < end; slice++) {
            assert_int_equal(lk_route_handler(route, route->node_of[rank], slice), rank);
            ++*slices;
        }
    return runs;
}

static void check_route(const lk_route *route) {
    bool owned[MOST] = {false};
    for (int slice = 0; slice < route->ranks; slice++) {
        int owner = route->owner[slice];
        assert_true(owner >= 0 && owner < route->ranks && !owned[owner]);
        owned[owner] = true;
        assert_int_equal(lk_route_handler(route, route->node_of[owner], slice), owner);
        for (int node = 0; node < route->node_count; node++) {
            int handler = lk_route_handler(route, node, slice);
            assert_int_equal(route->node_of[handler], node);
        }
    }
    for (int node = 0; node < route->node_count; node++) {
        int all = 0;
        for (int rank = route->node_first[node]; rank < route->node_first[node + 1]; rank++) {
            int slices;
            runs_of(route, rank, &slices);
            all += slices;
        }
        assert_int_equal(all, route->ranks); /* each slice has one handler on every node */
    }
}

static void test_equal_nodes(void **state) {
    (void)state;
    static const int shapes[][9] = {{2, 2}, {4, 4}, {2, 2, 2, 2}, {8, 8, 8, 8, 8, 8, 8, 8}, {1, 1, 1, 1}, {8}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        int ranks = 0;
        for (int i = 0; shapes[s][i] > 0; i++) ranks += shapes[s][i];
        lk_route route = make(ranks, shapes[s]);
        assert_int_equal(route.levels, shapes[s][0] == 1 || shapes[s][1] == 0 ? 1 : 2);
        check_route(&route);
        for (int rank = 0; rank < ranks; rank++) {
            int slices;
            assert_int_equal(runs_of(&route, rank, &slices), 1); /* one message to each neighbour */
            assert_int_equal(slices, route.node_count);
        }
        lk_route_free(&route);
    }
}

static void test_unequal_nodes(void **state) {
    (void)state;
    static const struct {
        int leaves, levels, sizes[6];
    } cases[] = {
        {8, 2, {4, 2, 2}}, {8, 2, {4, 2, 1, 1}}, {3, 2, {2, 1}},    {8, 1, {5, 3}}, {3, 1, {1, 2}},
        {8, 1, {3, 5}},    {6, 1, {2, 2, 2}},    {6, 2, {3, 2, 1}}, {7, 2, {4, 3}}, {16, 2, {4, 2, 2}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        lk_route route = make(cases[c].leaves, cases[c].sizes);
        assert_int_equal(route.levels, cases[c].levels);
        assert_int_equal(route.node_count == 1, cases[c].levels == 1);
        check_route(&route);
        lk_route_free(&route);
    }
}

/* What leaves a node in the stage between nodes: one share of every slice owned elsewhere, whatever its ranks. */
static void test_network_traffic(void **state) {
    (void)state;
    lk_route route = make(16, (int[]){4, 4, 4, 4, 0});
    for (int node = 0; node < 4; node++) {
        int leaving = 0;
        for (int slice = 0; slice < 16; slice++) leaving += route.owner[slice] != lk_route_handler(&route, node, slice);
        assert_int_equal(leaving, 12); /* of 16 slices: (nodes - 1) / nodes, as a ring over the nodes */
    }
    lk_route_free(&route);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal_nodes), cmocka_unit_test(test_unequal_nodes),
                                       cmocka_unit_test(test_network_traffic)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
