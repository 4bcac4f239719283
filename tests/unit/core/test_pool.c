#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/pool.h"
#include "tests/unit/unit.h"

enum { MOST = 500, THREADS = 4 };

typedef struct work {
    atomic_int runs[MOST];
    int worker_of[MOST];
    pthread_t thread_of[THREADS];
    atomic_int started, stopped; /* by workers other than 0 */
} work;

static void run_item(void *context, int index, int worker) {
    work *w = context;
    atomic_fetch_add(&w->runs[index], 1);
    w->worker_of[index] = worker;
    if (index < THREADS) w->thread_of[worker] = pthread_self();
}

static void test_every_item_once(void **state) {
    (void)state;
    lk_error err = {0};
    for (int threads = 1; threads <= THREADS; threads++) {
        lk_pool *pool;
        assert_int_equal(lk_pool_create(&pool, threads, &err), LK_OK);
        assert_int_equal(lk_pool_threads(pool), threads);
        for (int count = 0; count <= MOST; count += count < 6 ? 1 : 247) {
            static work w;
            memset(&w, 0, sizeof w);
            lk_pool_run(pool, run_item, &w, count);
            for (int i = 0; i < MOST; i++) assert_int_equal(w.runs[i], i < count);
        }
        lk_pool_free(pool);
    }
}

/* What lanes lean on: item i < threads always runs on the same thread. */
static void test_items_stay_with_their_thread(void **state) {
    (void)state;
    lk_error err = {0};
    lk_pool *pool;
    assert_int_equal(lk_pool_create(&pool, THREADS, &err), LK_OK);
    pthread_t first[THREADS];
    for (int round = 0; round < 200; round++) {
        static work w;
        memset(&w, 0, sizeof w);
        lk_pool_run(pool, run_item, &w, THREADS);
        if (round == 0) memcpy(first, w.thread_of, sizeof first);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(w.worker_of[i], i);
            assert_true(pthread_equal(w.thread_of[i], first[i]));
        }
    }
    assert_true(pthread_equal(first[0], pthread_self()));
    lk_pool_free(pool);
}

static void on_start(void *context, int worker) { atomic_fetch_add(&((work *)context)->started, worker > 0); }

static void on_stop(void *context, int worker) { atomic_fetch_add(&((work *)context)->stopped, worker > 0); }

static void test_hooks(void **state) {
    (void)state;
    lk_error err = {0};
    lk_pool *pool;
    static work w;
    assert_int_equal(lk_pool_create_with_hooks(&pool, THREADS, on_start, on_stop, &w, &err), LK_OK);
    assert_int_equal(w.started, THREADS - 1);
    assert_int_equal(w.stopped, 0);
    lk_pool_free(pool);
    assert_int_equal(w.stopped, THREADS - 1);
    lk_pool_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_items_stay_with_their_thread),
        cmocka_unit_test(test_hooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
