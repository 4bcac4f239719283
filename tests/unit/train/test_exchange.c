/* Leaves that meet: on one rank and across ranks, in whole and short windows, with one that fails at any moment. Nobody
 * may be left waiting (P19); what each gets is the same whoever runs it (P5). */
#include <stdio.h>

#include "tests/unit/dist/loopback.h"
#include "tests/unit/unit.h"
#include "train/exchange.h"

enum { LEAVES = 8, NUMBERS = 6, MEETINGS = 5 };
#define TIMEOUT 30.0 /* seconds; far more than a whole run takes */

/* One window of one launch. */
typedef struct window {
    int group, present;
    int bad, bad_meeting; /* this leaf fails before this meeting; bad -1: none */
    lk_status status[LEAVES];
    lk_error err[LEAVES];
    int wrong; /* numbers that were not those of the leaf that gave them */
    pthread_mutex_t mutex;
} window;

typedef struct runner {
    window *w;
    lk_exchange_member member;
    pthread_t thread;
} runner;

static double number(int leaf, int meeting, int64_t i) { return 1000 * leaf + 10 * meeting + (double)i; }

static lk_status meet(runner *r, int meeting, lk_error *err) {
    double mine[NUMBERS], all[LEAVES * NUMBERS];
    int parts = 0, first = r->member.leaf / r->w->group * r->w->group;
    int64_t count = 1 + (meeting * 7) % NUMBERS;
    for (int64_t i = 0; i < count; i++) mine[i] = number(r->member.leaf, meeting, i);
    LK_RETURN_IF(lk_exchange_gather(&r->member, mine, count, all, &parts, err));
    int left = r->w->present - first, wrong = parts != (left < r->w->group ? left : r->w->group);
    for (int part = 0; part < parts; part++)
        for (int64_t i = 0; i < count; i++) wrong += all[part * count + i] != number(first + part, meeting, i);
    pthread_mutex_lock(&r->w->mutex);
    r->w->wrong += wrong;
    pthread_mutex_unlock(&r->w->mutex);
    return LK_OK;
}

static void *run_leaf(void *argument) {
    runner *r = argument;
    window *w = r->w;
    int leaf = r->member.leaf;
    lk_error *err = &w->err[leaf];
    lk_status status = LK_OK;
    for (int meeting = 0; meeting < MEETINGS && status == LK_OK; meeting++) {
        if (leaf == w->bad && meeting == w->bad_meeting)
            status = lk_fail(err, LK_ERR_DATA, "leaf %d is bad", leaf);
        else
            status = meet(r, meeting, err);
    }
    w->status[leaf] = lk_exchange_leave(&r->member, status, err);
    return NULL;
}

static void run_rank(lk_comm *comm, void *context) {
    window *w = context;
    lk_exchange *exchange;
    lk_error err = {0};
    lk_span share = lk_tree_share(LEAVES, comm->size, comm->rank);
    lk_exchange_config config = {
        .leaves = LEAVES, .group = w->group, .lanes = lk_exchange_lanes(share.count, w->group, 1), .numbers = NUMBERS};
    runner runners[LEAVES] = {0};
    assert_int_equal(lk_exchange_create(&exchange, comm, &config, &err), LK_OK);
    lk_exchange_begin(exchange, w->present);
    int mine = w->present - share.first;
    if (mine > share.count) mine = share.count;
    lk_status worst = LK_OK;
    for (int first = 0; first < mine && worst == LK_OK; first += config.lanes) {
        int count = mine - first < config.lanes ? mine - first : config.lanes;
        for (int i = 0; i < count; i++)
            runners[i] = (runner){.w = w, .member = {exchange, share.first + first + i, i == 0}};
        for (int i = 1; i < count; i++) pthread_create(&runners[i].thread, NULL, run_leaf, &runners[i]);
        run_leaf(&runners[0]);
        for (int i = 1; i < count; i++) pthread_join(runners[i].thread, NULL);
        for (int i = 0; i < count && worst == LK_OK; i++) worst = w->status[share.first + first + i];
        assert_int_equal(lk_exchange_end(exchange, worst, &err), LK_OK);
    }
    lk_exchange_free(exchange);
}

static void run_window(window *w, int ranks) {
    static loop_world world;
    loop_world_init(&world, (int[]){ranks, 0});
    pthread_mutex_init(&w->mutex, NULL);
    loop_run(&world, TIMEOUT, 3, run_rank, w);
    pthread_mutex_destroy(&w->mutex);
    assert_int_equal(w->wrong, 0);
}

static void test_everybody_gets_all(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= LEAVES; ranks *= 2)
        for (int group = 2; group <= LEAVES; group *= 2)
            for (int present = 1; present <= LEAVES; present++) {
                window w = {.group = group, .present = present, .bad = -1};
                run_window(&w, ranks);
                for (int leaf = 0; leaf < present; leaf++)
                    if (w.status[leaf] != LK_OK) fail_msg("leaf %d: %s", leaf, w.err[leaf].message);
            }
}

/* All of the group end with it; on the failed leaf's rank with its sentence, elsewhere with a milder status, so that
 * the ranks agree on that sentence. */
static void test_a_failure_releases_all(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= LEAVES; ranks *= 2)
        for (int group = 2; group <= LEAVES; group *= 2)
            for (int try = 0; try < 6; try++) {
                int present = try % 2 == 0 ? LEAVES : LEAVES - 1;
                window w = {.group = group, .present = present};
                w.bad = (try * 3 + ranks + group) % present;
                w.bad_meeting = try * 5 % MEETINGS;
                run_window(&w, ranks);
                int share = LEAVES / ranks, first = w.bad / group * group;
                for (int leaf = first; leaf < first + group && leaf < present; leaf++) {
                    bool same_rank = leaf / share == w.bad / share;
                    assert_int_equal(w.status[leaf], same_rank ? LK_ERR_DATA : LK_STOPPED);
                    if (same_rank) assert_string_equal(w.err[leaf].message, w.err[w.bad].message);
                    if (!same_rank) assert_non_null(strstr(w.err[leaf].message, "rank "));
                }
            }
}

static void test_which_launches_work(void **state) {
    (void)state;
    char text[64];
    assert_string_equal(lk_exchange_ranks_print(8, 1, 4, text, sizeof text), "1, 2, 4, 8");
    assert_string_equal(lk_exchange_ranks_print(6, 1, 2, text, sizeof text), "1, 6");
    assert_string_equal(lk_exchange_ranks_print(6, 1, 1, text, sizeof text), "1, 2, 6");
    assert_string_equal(lk_exchange_ranks_print(6, 2, 1, text, sizeof text), "1, 3"); /* three chains of two */
    assert_string_equal(lk_exchange_ranks_print(8, 2, 4, text, sizeof text), "1, 2, 4");
    assert_int_equal(lk_exchange_lanes(8, 0, 3), 3);
    assert_int_equal(lk_exchange_lanes(8, 2, 3), 2);
    assert_int_equal(lk_exchange_lanes(8, 2, 5), 4);
    assert_int_equal(lk_exchange_lanes(8, 4, 1), 4); /* more lanes than cores */
    assert_int_equal(lk_exchange_lanes(2, 4, 1), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everybody_gets_all),
                                       cmocka_unit_test(test_a_failure_releases_all),
                                       cmocka_unit_test(test_which_launches_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
