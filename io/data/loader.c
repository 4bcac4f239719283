#include "io/data/loader.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "io/data/loader_internal.h"

/* Waits until no worker touches what is being dropped, so that the caller may free the sample lists. */
void lk_loader_cancel(lk_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    for (lk_load *load = loader->first; load != NULL; load = load->next) {
        if (load->taken) continue;
        load->cancelled = true;
        load->next_row = load->request.rows;
    }
    loader->queue_count = 0;
    loader->queue_first = 0;
    for (lk_load *load = loader->first; load != NULL;) {
        if (!load->cancelled) {
            load = load->next;
        } else if (load->running > 0) {
            pthread_cond_wait(&loader->done, &loader->mutex);
            load = loader->first;
        } else {
            lk_load *next = load->next;
            lk_load_unlink(loader, load);
            lk_load_recycle(loader, load);
            load = next;
        }
    }
    pthread_mutex_unlock(&loader->mutex);
}

static void stop_workers(lk_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    loader->stopping = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->mutex);
    for (int i = 0; i < loader->started; i++) pthread_join(loader->workers[i].thread, NULL);
}

static void free_loads(const lk_loader *loader, lk_load *load) {
    while (load != NULL) {
        lk_load *next = load->next;
        lk_load_free(loader, load);
        load = next;
    }
}

void lk_loader_free(lk_loader *loader) {
    if (loader == NULL) return;
    stop_workers(loader);
    for (int i = 0; loader->workers != NULL && i < loader->config.workers; i++) {
        lk_transformer_free(loader->workers[i].transformer);
        lk_free(loader->workers[i].buffer);
        lk_free(loader->workers[i].box);
    }
    free_loads(loader, loader->first);
    free_loads(loader, loader->spare);
    lk_free(loader->workers);
    lk_free(loader->queue);
    pthread_cond_destroy(&loader->done);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->mutex);
    lk_free(loader);
}

/* Signals belong to the thread that runs main(). */
static lk_status start_workers(lk_loader *loader, lk_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (int i = 0; i < loader->config.workers && failed == 0; i++) {
        loader->workers[i].loader = loader;
        failed = pthread_create(&loader->workers[i].thread, NULL, lk_loader_work, &loader->workers[i]);
        if (failed == 0) loader->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return lk_fail(err, LK_ERR_MEMORY, "cannot start loader thread %d of %d: %s; use fewer workers",
                       loader->started + 1, loader->config.workers, strerror(failed));
    return LK_OK;
}

lk_status lk_loader_create(lk_loader **out, const lk_dataset *dataset, const lk_loader_config *config, lk_error *err) {
    lk_status status = LK_OK;
    lk_loader *loader = NULL;
    *out = NULL;
    const lk_preprocess *p = &config->preprocess;
    if (config->workers < 1 || config->prefetch < 1 || config->microbatch < 1)
        return lk_fail(err, LK_ERR_CONFIG,
                       "the loader needs at least 1 worker, 1 microbatch ahead and 1 sample a "
                       "microbatch, not %d, %d and %lld",
                       config->workers, config->prefetch, (long long)config->microbatch);
    if (p->height < 1 || p->width < 1 || (p->channels != 1 && p->channels != 3))
        return lk_fail(err, LK_ERR_CONFIG, "the loader cannot make images of %d x %d pixels with %d channels",
                       p->height, p->width, p->channels);
    LK_TRY(LK_NEW(&loader, 1, "the loader", err));
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->done, NULL);
    loader->dataset = dataset;
    loader->config = *config;
    loader->image_bytes = (size_t)p->height * (size_t)p->width * (size_t)p->channels;
    LK_TRY(LK_NEW(&loader->workers, config->workers, "loader threads", err));
    for (int i = 0; i < config->workers; i++) {
        LK_TRY(lk_transformer_create(&loader->workers[i].transformer, p, err));
        LK_TRY(lk_alloc((void **)&loader->workers[i].box, loader->image_bytes, 1, "the box of cutmix", err));
    }
    LK_TRY(start_workers(loader, err));
    *out = loader;
    loader = NULL;
out:
    lk_loader_free(loader);
    return status;
}

static lk_status check_request(const lk_loader *loader, const lk_load_request *request, lk_error *err) {
    if (request->rows < 1 || request->rows > loader->config.microbatch)
        return lk_fail(err, LK_ERR_INTERNAL, "a microbatch of %lld samples was asked of a loader made for %lld",
                       (long long)request->rows, (long long)loader->config.microbatch);
    for (int64_t i = 0; i < request->rows; i++)
        if (request->samples[i] < 0 || request->samples[i] >= loader->dataset->count)
            return lk_fail(err, LK_ERR_INTERNAL, "sample %lld was asked of %s, which has %lld",
                           (long long)request->samples[i], loader->dataset->path, (long long)loader->dataset->count);
    return LK_OK;
}

/* Moves what is queued to the front and makes room for more. */
static lk_status reserve_queue(lk_loader *loader, int64_t more, lk_error *err) {
    if (loader->queue_count > 0)
        memmove(loader->queue, loader->queue + loader->queue_first,
                (size_t)loader->queue_count * sizeof *loader->queue);
    loader->queue_first = 0;
    return lk_grow((void **)&loader->queue, &loader->queue_capacity, (size_t)(loader->queue_count + more),
                   sizeof *loader->queue, "the loader's queue", err);
}

lk_status lk_loader_submit(lk_loader *loader, const lk_load_request *requests, int64_t count, const lk_augment *augment,
                           uint64_t seed, lk_error *err) {
    lk_status status = LK_OK;
    for (int64_t i = 0; i < count; i++) LK_RETURN_IF(check_request(loader, &requests[i], err));
    pthread_mutex_lock(&loader->mutex);
    if (loader->queue_count == 0 ||
        (size_t)(loader->queue_first + loader->queue_count + count) > loader->queue_capacity)
        LK_TRY(reserve_queue(loader, count, err));
    for (int64_t i = 0; i < count; i++) {
        lk_queued *queued = &loader->queue[loader->queue_first + loader->queue_count++];
        queued->request = requests[i];
        queued->augmented = augment != NULL;
        if (augment != NULL) queued->augment = *augment;
        queued->seed = seed;
    }
    lk_load_activate(loader);
out:
    pthread_mutex_unlock(&loader->mutex);
    return status;
}

static lk_load *first_unclaimed(const lk_loader *loader) {
    lk_load *load = loader->first;
    while (load != NULL && load->taken) load = load->next;
    return load;
}

/* The first load that nobody has claimed. */
static lk_load *claim(lk_loader *loader) {
    /* Only does something when buffers could not be had before: released ones may serve now. */
    lk_load_activate(loader);
    lk_load *load = first_unclaimed(loader);
    if (load == NULL) return NULL;
    load->taken = true;
    loader->ahead--;
    lk_load_activate(loader);
    return load;
}

/* A claimed load that is done leaves the list. */
static lk_microbatch hand_out(lk_loader *loader, lk_load *load) {
    lk_load_unlink(loader, load);
    lk_microbatch batch = {.tag = load->request.tag,
                           .rows = load->request.rows,
                           .images = load->images,
                           .labels = load->labels,
                           .samples = load->request.samples,
                           .owner = load};
    if (load->mix.kind == LK_MIX_NONE) return batch;
    batch.partner = load->partner;
    batch.pixel_share = load->pixel_share;
    batch.label_share = load->label_share;
    return batch;
}

bool lk_loader_try_next(lk_loader *loader, lk_microbatch *out) {
    pthread_mutex_lock(&loader->mutex);
    const lk_load *load = first_unclaimed(loader);
    bool ready = load != NULL && lk_load_is_done(load) && load->failed_row < 0;
    if (ready) *out = hand_out(loader, claim(loader));
    pthread_mutex_unlock(&loader->mutex);
    return ready;
}

lk_status lk_loader_next(lk_loader *loader, lk_microbatch *out, lk_error *err) {
    lk_status status = LK_OK;
    pthread_mutex_lock(&loader->mutex);
    lk_load *load = claim(loader);
    if (load == NULL) {
        status = loader->activation.status != LK_OK
                     ? lk_fail(err, loader->activation.status, "%s", loader->activation.message)
                     : lk_fail(err, LK_ERR_INTERNAL, "the loader was asked for a microbatch that nobody queued");
        pthread_mutex_unlock(&loader->mutex);
        return status;
    }
    if (!lk_load_is_done(load)) {
        double start = lk_clock_seconds();
        while (!lk_load_is_done(load)) pthread_cond_wait(&loader->done, &loader->mutex);
        loader->wait_seconds += lk_clock_seconds() - start;
    }
    if (load->failed_row >= 0) {
        status = lk_fail(err, load->error.status, "%s", load->error.message);
        lk_load_unlink(loader, load);
        lk_load_recycle(loader, load);
    } else {
        *out = hand_out(loader, load);
    }
    pthread_mutex_unlock(&loader->mutex);
    return status;
}

void lk_loader_release(lk_loader *loader, lk_microbatch *microbatch) {
    if (microbatch->owner == NULL) return;
    pthread_mutex_lock(&loader->mutex);
    lk_load_recycle(loader, microbatch->owner);
    pthread_mutex_unlock(&loader->mutex);
    *microbatch = (lk_microbatch){0};
}

double lk_loader_take_wait_seconds(lk_loader *loader) {
    pthread_mutex_lock(&loader->mutex);
    double seconds = loader->wait_seconds;
    loader->wait_seconds = 0;
    pthread_mutex_unlock(&loader->mutex);
    return seconds;
}
