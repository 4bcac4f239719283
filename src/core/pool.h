/* A fixed pool of threads for short, blocking parallel loops. */
#ifndef LK_CORE_POOL_H
#define LK_CORE_POOL_H

#include "core/error.h"

typedef struct lk_pool lk_pool;

/* Work item `index`, run by `worker` (0: the thread that called lk_pool_run). Failures go through the context. */
typedef void (*lk_pool_function)(void *context, int index, int worker);
/* Run on a worker's own thread when it starts or ends; never for worker 0. */
typedef void (*lk_pool_hook)(void *context, int worker);

/* threads >= 1, the caller included: threads - 1 are started. They block all signals and sleep when there is no work.
 * Owner: the caller, with lk_pool_free. Errors: LK_ERR_MEMORY when the system gives no more threads. */
LK_MUST_CHECK lk_status lk_pool_create(lk_pool **out, int threads, lk_error *err);
/* The same with hooks (either may be NULL); returns when every `start` has returned. */
LK_MUST_CHECK lk_status lk_pool_create_with_hooks(lk_pool **out, int threads, lk_pool_hook start, lk_pool_hook stop,
                                                  void *context, lk_error *err);
/* Ends and joins the threads. NULL is accepted. */
void lk_pool_free(lk_pool *pool);

int lk_pool_threads(const lk_pool *pool);

/* Runs function(context, i, worker) for i in [0, count) and returns when all are done. Blocking. Item i < threads runs
 * on worker i, so that what belongs to a thread (a stream, a decoder) stays with it; the others go to whoever is free.
 * One run at a time, from one thread; a function must not run its own pool. */
void lk_pool_run(lk_pool *pool, lk_pool_function function, void *context, int count);

#endif
