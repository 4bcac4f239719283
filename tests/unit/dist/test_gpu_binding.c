/* Which rank gets which GPU, and the sentences where it cannot be (P21). */
#include <stdio.h>
#include <string.h>

#include "dist/gpu_binding.h"
#include "tests/unit/unit.h"

#define RANKS 8

/* A machine: what each rank is shown, as numbers of the node's GPUs. */
typedef struct world {
    lk_gpu_view views[RANKS];
    int nodes[RANKS];
    const char *hosts[RANKS];
    int ranks;
    bool share;
    lk_gpu_choice choices[RANKS];
    lk_error err;
} world;

/* shown: digits; near: as many characters, '-' for a GPU far from the rank's cores, NULL: all are near. */
static void add_rank(world *w, int node, const char *shown, const char *near) {
    static const char *const hosts[] = {"alpha", "beta"};
    lk_gpu_view *view = &w->views[w->ranks];
    w->nodes[w->ranks] = node;
    w->hosts[w->ranks++] = hosts[node];
    for (int i = 0; shown[i] != '\0'; i++) {
        lk_gpu *gpu = &view->gpus[view->count];
        view->near[view->count++] = near == NULL || near[i] != '-';
        snprintf(gpu->name, sizeof gpu->name, "kind A");
        gpu->uuid[0] = (uint8_t)shown[i];
    }
}

static lk_status choose(world *w) {
    return lk_gpu_choose(w->choices, w->views, w->nodes, w->hosts, w->ranks, w->share, &w->err);
}

/* expected: the number within the node of each rank's GPU. */
static void check_choices(world *w, const char *expected) {
    assert_int_equal(choose(w), LK_OK);
    for (int rank = 0; rank < w->ranks; rank++) {
        assert_int_equal(w->choices[rank].gpu.uuid[0], expected[rank]);
        const lk_gpu *seen = &w->views[rank].gpus[w->choices[rank].ordinal];
        assert_memory_equal(seen, &w->choices[rank].gpu, sizeof *seen);
    }
}

/* mpirun, or --gpu-bind=none: every rank sees all. */
static void test_all_see_all(void **state) {
    (void)state;
    world w = {.ranks = 0};
    for (int rank = 0; rank < 4; rank++) add_rank(&w, 0, "0123", NULL);
    for (int rank = 0; rank < 2; rank++) add_rank(&w, 1, "0123", NULL);
    check_choices(&w, "012301");
}

/* --gpus-per-task=1: every rank sees another one, as its number 0. */
static void test_one_each(void **state) {
    (void)state;
    world w = {.ranks = 0};
    add_rank(&w, 0, "2", NULL);
    add_rank(&w, 0, "0", NULL);
    add_rank(&w, 1, "2", NULL);
    check_choices(&w, "202");
    assert_int_equal(w.choices[0].ordinal, 0);
}

/* CUDA_VISIBLE_DEVICES turns the order round; one rank has no choice, and the others leave it its own. */
static void test_order_and_need(void **state) {
    (void)state;
    world w = {.ranks = 0};
    add_rank(&w, 0, "310", NULL);
    add_rank(&w, 0, "310", NULL);
    add_rank(&w, 0, "3", NULL);
    check_choices(&w, "103");
}

/* Ranks bound to the cores of one half of the machine. */
static void test_near_first(void **state) {
    (void)state;
    world w = {.ranks = 0};
    add_rank(&w, 0, "0123", "--xx");
    add_rank(&w, 0, "0123", "--xx");
    add_rank(&w, 0, "0123", "--xx");
    add_rank(&w, 0, "0123", "xx--");
    check_choices(&w, "2301");
}

/* --share-gpus: one after another as before, then the GPUs with fewest ranks, those near first. */
static void test_shared(void **state) {
    (void)state;
    world w = {.ranks = 0, .share = true};
    add_rank(&w, 0, "01", NULL);
    add_rank(&w, 0, "01", NULL);
    add_rank(&w, 0, "01", "-x");
    add_rank(&w, 0, "01", NULL);
    add_rank(&w, 0, "0", NULL);
    add_rank(&w, 0, "0", NULL);
    check_choices(&w, "111000");
    world enough = {.ranks = 0, .share = true};
    for (int rank = 0; rank < 4; rank++) add_rank(&enough, 0, "0123", NULL);
    check_choices(&enough, "0123");
}

static void check_failure(world *w, const char *sentence) {
    assert_int_equal(choose(w), LK_ERR_CONFIG);
    if (strstr(w->err.message, sentence) == NULL) fprintf(stderr, "%s\n", w->err.message);
    assert_non_null(strstr(w->err.message, sentence));
}

static void test_what_cannot_be(void **state) {
    (void)state;
    world none = {.ranks = 0};
    add_rank(&none, 0, "0", NULL);
    add_rank(&none, 1, "", NULL);
    check_failure(&none, "device cuda finds no GPU for rank 1 (beta)");
    world shared = {.ranks = 0};
    add_rank(&shared, 0, "1", NULL);
    add_rank(&shared, 0, "01", NULL);
    add_rank(&shared, 0, "1", NULL);
    check_failure(&shared, "ranks 0 and 2 (alpha) see one and the same GPU, kind A GPU-31000000-0000-0000-0000-");
    world few = {.ranks = 0};
    for (int rank = 0; rank < 3; rank++) add_rank(&few, 1, "01", NULL);
    check_failure(&few, "rank 2 (beta) has no GPU of its own: 3 ranks of the node share the 2 that it sees");
    world mixed = {.ranks = 0};
    add_rank(&mixed, 0, "01", NULL);
    add_rank(&mixed, 0, "01", NULL);
    for (int rank = 0; rank < 2; rank++) strcpy(mixed.views[rank].gpus[1].name, "kind B");
    check_failure(&mixed, "rank 1 (alpha) has a GPU of another kind than rank 0 (alpha): kind B and kind A");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_see_all),    cmocka_unit_test(test_one_each),
                                       cmocka_unit_test(test_order_and_need), cmocka_unit_test(test_near_first),
                                       cmocka_unit_test(test_shared),         cmocka_unit_test(test_what_cannot_be)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
