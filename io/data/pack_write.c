#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "core/memory.h"
#include "io/data/pack_worker.h"

/* Workers take items in order, at most `slot_count` beyond the one that is written next: what is in memory is bounded
 * by the slots, whatever the size of the set, and the file does not depend on the number of workers. */
typedef struct slot {
    lk_pack_result result;
    bool ready;
} slot;

typedef struct pipeline {
    const lk_pack_items *items;
    const char *root;
    const lk_pack_options *options;
    pthread_mutex_t mutex;
    pthread_cond_t room;  /* a slot was emptied, or stopping */
    pthread_cond_t ready; /* a slot was filled */
    slot *slots;
    int64_t slot_count;
    int64_t next;    /* first item that no worker took */
    int64_t written; /* items before this one are done with */
    bool stopping;
} pipeline;

typedef struct worker {
    pipeline *pipeline;
    pthread_t thread;
    lk_pack_worker tools;
} worker;

static void *work(void *argument) {
    worker *worker = argument;
    pipeline *p = worker->pipeline;
    pthread_mutex_lock(&p->mutex);
    while (!p->stopping && p->next < p->items->count) {
        if (p->next >= p->written + p->slot_count) {
            pthread_cond_wait(&p->room, &p->mutex);
            continue;
        }
        int64_t i = p->next++;
        pthread_mutex_unlock(&p->mutex);
        slot *slot = &p->slots[i % p->slot_count];
        lk_status status = lk_pack_process(&worker->tools, &p->items->items[i], p->root, p->options, &slot->result);
        pthread_mutex_lock(&p->mutex);
        slot->result.error.status = status;
        slot->ready = true;
        pthread_cond_broadcast(&p->ready);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static int count_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

static lk_status start_workers(worker *workers, int count, int *started, lk_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    while (*started < count && failed == 0) {
        failed = pthread_create(&workers[*started].thread, NULL, work, &workers[*started]);
        if (failed == 0) ++*started;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) return LK_OK;
    return lk_fail(err, LK_ERR_MEMORY, "cannot start thread %d of %d: %s; use fewer workers", *started + 1, count,
                   strerror(failed));
}

static lk_status add_bad(lk_pack_report *report, const lk_pack_item *item, const lk_error *reason, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&report->bad, &report->bad_capacity, (size_t)report->bad_count + 1,
                         sizeof *report->bad, "the list of unreadable images", err));
    LK_RETURN_IF(lk_format(&report->bad[report->bad_count], err, "%s: %s", item->source, reason->message));
    report->bad_count++;
    return LK_OK;
}

/* One finished item: into the file, or onto the list of the bad. `kept` gets what was written. */
static lk_status write_item(const pipeline *p, int64_t i, lk_dataset_writer *writer, lk_pack_items *kept,
                            lk_pack_report *report, lk_error *err) {
    const lk_pack_item *item = &p->items->items[i];
    const lk_pack_result *result = &p->slots[i % p->slot_count].result;
    lk_status reason = result->error.status;
    report->source_bytes += result->source_bytes;
    if (reason == LK_OK) {
        LK_RETURN_IF(lk_dataset_writer_append(writer, &result->info, item->source, result->bytes, err));
        kept->items[kept->count++] = *item;
        return LK_OK;
    }
    if (reason != LK_ERR_DATA && reason != LK_ERR_IO)
        return lk_fail(err, reason, "cannot pack %s: %s", item->source, result->error.message);
    if (p->options->skip_bad) return add_bad(report, item, &result->error, err);
    return lk_fail(err, LK_ERR_DATA,
                   "%s%s%s cannot be used: %s; replace or remove it, or leave out all such images with --on-bad=skip",
                   item->source[0] == '/' ? "" : p->root, item->source[0] == '/' ? "" : "/", item->source,
                   result->error.message);
}

static lk_status write_all(pipeline *p, lk_dataset_writer *writer, lk_pack_items *kept, lk_pack_report *report,
                           lk_error *err) {
    lk_status status = LK_OK;
    for (int64_t i = 0; i < p->items->count && status == LK_OK; i++) {
        slot *slot = &p->slots[i % p->slot_count];
        pthread_mutex_lock(&p->mutex);
        while (!slot->ready) pthread_cond_wait(&p->ready, &p->mutex);
        pthread_mutex_unlock(&p->mutex);
        status = write_item(p, i, writer, kept, report, err);
        pthread_mutex_lock(&p->mutex);
        slot->ready = false;
        p->written = i + 1;
        pthread_cond_broadcast(&p->room);
        pthread_mutex_unlock(&p->mutex);
        if (p->options->progress != NULL) lk_progress_update(p->options->progress, i + 1);
        if (status == LK_OK && p->options->stop != NULL && p->options->stop(p->options->stop_user))
            status = lk_fail(err, LK_STOPPED, "stopped: nothing is written; run it again to pack");
    }
    return status;
}

static lk_status run_pipeline(pipeline *p, int worker_count, lk_dataset_writer *writer, lk_pack_items *kept,
                              lk_pack_report *report, lk_error *err) {
    lk_status status = LK_OK;
    worker *workers = NULL;
    int started = 0;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->room, NULL);
    pthread_cond_init(&p->ready, NULL);
    LK_TRY(LK_NEW(&workers, worker_count, "packing threads", err));
    LK_TRY(LK_NEW(&p->slots, p->slot_count, "packing buffers", err));
    for (int i = 0; i < worker_count; i++) {
        workers[i].pipeline = p;
        LK_TRY(lk_pack_worker_init(&workers[i].tools, err));
    }
    LK_TRY(start_workers(workers, worker_count, &started, err));
    LK_TRY(write_all(p, writer, kept, report, err));
out:
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; workers != NULL && i < worker_count; i++) lk_pack_worker_free(&workers[i].tools);
    for (int64_t i = 0; p->slots != NULL && i < p->slot_count; i++) lk_free(p->slots[i].result.bytes);
    lk_free(p->slots);
    lk_free(workers);
    pthread_cond_destroy(&p->ready);
    pthread_cond_destroy(&p->room);
    pthread_mutex_destroy(&p->mutex);
    return status;
}

/* JSON of what is done to pixels before they are stored; "" for nothing. */
static lk_status describe_rule(char **out, const lk_pack_options *options, lk_error *err) {
    if (options->short_side == 0 && !options->raw) return lk_strdup(out, "", err);
    char *resize = NULL;
    lk_status status = options->short_side == 0
                           ? lk_strdup(&resize, "\"resize\": \"none\"", err)
                           : lk_format(&resize, err,
                                       "\"resize\": \"short_side\", \"size\": %d, \"interpolation\": \"bilinear\", "
                                       "\"antialias\": true, \"enlarge\": false",
                                       (int)options->short_side);
    if (status == LK_OK)
        status = options->raw
                     ? lk_format(out, err, "{%s, \"encoding\": \"raw\"}", resize)
                     : lk_format(out, err, "{%s, \"encoding\": \"jpeg\", \"quality\": %d}", resize, options->quality);
    lk_free(resize);
    return status;
}

/* With images left out, a class that was fit for training may be so no longer. */
static lk_status check_kept(const lk_pack_items *items, lk_pack_items *kept, const char *root, lk_error *err) {
    kept->classes = items->classes;
    return kept->count == items->count ? LK_OK : lk_pack_items_check(kept, root, err);
}

lk_status lk_pack_items_write(const lk_pack_items *items, const char *root, const char *out,
                              const lk_pack_options *options, lk_pack_report *report, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset_writer *writer = NULL;
    char *rule = NULL;
    lk_pack_items kept = {0}; /* a view: sources and names stay with `items` */
    int workers = options->workers > 0 ? options->workers : count_cores();
    pipeline pipeline = {.items = items, .root = root, .options = options, .slot_count = 2 * (int64_t)workers + 2};
    LK_TRY(describe_rule(&rule, options, err));
    LK_TRY(LK_NEW(&kept.items, items->count, "the list of images", err));
    const lk_writer_config config = {(const char *const *)items->classes.names,
                                     items->classes.count,
                                     (const char *const *)items->groups.names,
                                     items->groups.count,
                                     rule,
                                     options->overwrite};
    LK_TRY(lk_dataset_writer_create(&writer, out, &config, err));
    if (options->progress != NULL)
        lk_progress_start(options->progress, options->progress->out, "pack", "images", items->count);
    status = run_pipeline(&pipeline, workers, writer, &kept, report, err);
    if (options->progress != NULL && status == LK_OK) lk_progress_finish(options->progress);
    if (options->progress != NULL && status != LK_OK) lk_progress_clear(options->progress);
    if (status != LK_OK) goto out;
    LK_TRY(check_kept(items, &kept, root, err));
    LK_TRY(lk_dataset_writer_finish(writer, err));
out:
    lk_dataset_writer_free(writer);
    lk_free(kept.items);
    lk_free(rule);
    return status;
}
