#include "core/pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "core/memory.h"

typedef struct worker {
    lk_pool *pool;
    pthread_t thread;
    int number;
} worker;

struct lk_pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake; /* workers wait: a new generation, or closing */
    pthread_cond_t done; /* the caller waits: busy is 0 */
    worker *workers;     /* threads; entry 0 is the caller's and has no thread */
    int threads, started;
    int busy;            /* workers that have not finished the current generation */
    unsigned generation; /* counts runs */
    bool closing;
    lk_pool_hook start, stop;
    void *hook_context;
    lk_pool_function function;
    void *context;
    int count;
    atomic_int next; /* first item that nobody took */
};

static void work(lk_pool *pool, int number) {
    int index = number;
    while (index < pool->count) {
        pool->function(pool->context, index, number);
        index = atomic_fetch_add(&pool->next, 1);
    }
}

static void report_done(lk_pool *pool) {
    if (--pool->busy == 0) pthread_cond_signal(&pool->done);
}

static void *run_worker(void *argument) {
    worker *self = argument;
    lk_pool *pool = self->pool;
    unsigned generation = 0;
    if (pool->start != NULL) pool->start(pool->hook_context, self->number);
    pthread_mutex_lock(&pool->mutex);
    report_done(pool);
    for (;;) {
        while (pool->generation == generation && !pool->closing) pthread_cond_wait(&pool->wake, &pool->mutex);
        if (pool->closing) break;
        generation = pool->generation;
        pthread_mutex_unlock(&pool->mutex);
        work(pool, self->number);
        pthread_mutex_lock(&pool->mutex);
        report_done(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (pool->stop != NULL) pool->stop(pool->hook_context, self->number);
    return NULL;
}

static lk_status start_workers(lk_pool *pool, lk_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    lk_status status = LK_OK;
    for (int i = 1; i < pool->threads && status == LK_OK; i++) {
        pool->workers[i] = (worker){.pool = pool, .number = i};
        pool->busy++;
        int code = pthread_create(&pool->workers[i].thread, NULL, run_worker, &pool->workers[i]);
        if (code == 0) {
            pool->started++;
        } else {
            pool->busy--;
            status = lk_fail(err, LK_ERR_MEMORY, "cannot start thread %d of %d: %s", i, pool->threads, strerror(code));
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* The mutex is held. */
static void wait_done(lk_pool *pool) {
    while (pool->busy > 0) pthread_cond_wait(&pool->done, &pool->mutex);
}

lk_status lk_pool_create(lk_pool **out, int threads, lk_error *err) {
    return lk_pool_create_with_hooks(out, threads, NULL, NULL, NULL, err);
}

lk_status lk_pool_create_with_hooks(lk_pool **out, int threads, lk_pool_hook start, lk_pool_hook stop, void *context,
                                    lk_error *err) {
    assert(threads >= 1);
    lk_status status = LK_OK;
    lk_pool *pool = NULL;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&pool, 1, "a thread pool", err));
    *pool = (lk_pool){.threads = threads, .start = start, .stop = stop, .hook_context = context};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    LK_TRY(LK_NEW(&pool->workers, threads, "a thread pool", err));
    pthread_mutex_lock(&pool->mutex); /* start_workers counts busy while the first are running */
    status = start_workers(pool, err);
    wait_done(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (status != LK_OK) goto out;
    *out = pool;
    pool = NULL;
out:
    lk_pool_free(pool);
    return status;
}

void lk_pool_free(lk_pool *pool) {
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    lk_free(pool->workers);
    lk_free(pool);
}

int lk_pool_threads(const lk_pool *pool) { return pool->threads; }

void lk_pool_run(lk_pool *pool, lk_pool_function function, void *context, int count) {
    pthread_mutex_lock(&pool->mutex);
    assert(pool->busy == 0);
    pool->function = function;
    pool->context = context;
    pool->count = count;
    atomic_store(&pool->next, pool->threads);
    bool alone = count <= 1 || pool->threads == 1;
    if (!alone) {
        pool->busy = pool->threads - 1;
        pool->generation++;
        pthread_cond_broadcast(&pool->wake);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (alone) {
        for (int i = 0; i < count; i++) function(context, i, 0);
        return;
    }
    work(pool, 0);
    pthread_mutex_lock(&pool->mutex);
    wait_done(pool);
    pthread_mutex_unlock(&pool->mutex);
}
