#include <string.h>

#include "core/memory.h"
#include "io/data/loader_internal.h"

/* Encoded bytes that one visit to the queue should bring: small samples are handed out by the dozen, so that the mutex
 * costs nothing beside them; photographs one or two at a time, so that several workers share a microbatch. */
#define LK_PART_BYTES 65536

typedef struct part {
    lk_load *load;
    int64_t first, count;
} part;

bool lk_load_is_done(const lk_load *load) { return load->running == 0 && load->next_row == load->request.rows; }

void lk_load_unlink(lk_loader *loader, lk_load *load) {
    lk_load *before = NULL;
    for (lk_load *it = loader->first; it != load; it = it->next) before = it;
    if (before == NULL)
        loader->first = load->next;
    else
        before->next = load->next;
    if (loader->last == load) loader->last = before;
    if (!load->taken) loader->ahead--;
    load->next = NULL;
}

void lk_load_recycle(lk_loader *loader, lk_load *load) {
    load->next = loader->spare;
    loader->spare = load;
}

static lk_status alloc_pixels(const lk_loader *loader, lk_load *load, lk_error *err) {
    static const char what[] = "the pixels of a microbatch";
    const lk_pixel_memory *memory = &loader->config.pixels;
    size_t rows = (size_t)loader->config.microbatch;
    if (memory->alloc == NULL) return lk_alloc((void **)&load->images, rows, loader->image_bytes, what, err);
    if (loader->image_bytes > INT64_MAX / rows)
        return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %s: too many bytes", what);
    return memory->alloc(memory->context, (void **)&load->images, (int64_t)(rows * loader->image_bytes), what, err);
}

static lk_status take_spare(lk_loader *loader, lk_load **out, lk_error *err) {
    lk_status status = LK_OK;
    if (loader->spare != NULL) {
        *out = loader->spare;
        loader->spare = (*out)->next;
        return LK_OK;
    }
    lk_load *load = NULL;
    LK_TRY(LK_NEW(&load, 1, "a microbatch", err));
    LK_TRY(alloc_pixels(loader, load, err));
    LK_TRY(LK_NEW(&load->labels, loader->config.microbatch, "the labels of a microbatch", err));
    LK_TRY(LK_NEW(&load->partner, loader->config.microbatch, "the partners of a microbatch", err));
    LK_TRY(LK_NEW(&load->pixel_share, loader->config.microbatch, "the shares of a microbatch", err));
    LK_TRY(LK_NEW(&load->label_share, loader->config.microbatch, "the shares of a microbatch", err));
    *out = load;
    return LK_OK;
out:
    lk_load_free(loader, load);
    return status;
}

void lk_load_free(const lk_loader *loader, lk_load *load) {
    const lk_pixel_memory *memory = &loader->config.pixels;
    if (load == NULL) return;
    if (memory->alloc != NULL && load->images != NULL)
        memory->release(memory->context, load->images);
    else
        lk_free(load->images);
    lk_free(load->labels);
    lk_free(load->partner);
    lk_free(load->pixel_share);
    lk_free(load->label_share);
    lk_free(load);
}

static void prepare_mixing(const lk_loader *loader, lk_load *load) {
    const lk_preprocess *p = &loader->config.preprocess;
    int64_t rows = load->request.rows;
    load->mix = (lk_mix_choice){.kind = LK_MIX_NONE};
    if (load->augmented)
        lk_mix_draw(&load->mix, &load->augment.mix, load->seed, load->request.epoch, load->request.first_position,
                    p->width, p->height);
    float pixels = load->mix.kind == LK_MIX_MIXUP ? (float)load->mix.lambda : 1, labels = (float)load->mix.lambda;
    for (int64_t row = 0; row < loader->config.microbatch; row++) {
        load->partner[row] = row < rows ? lk_mix_partner(row, rows) : (int32_t)row;
        load->pixel_share[row] = row < rows ? pixels : 1;
        load->label_share[row] = row < rows ? labels : 1;
    }
}

static void prepare(const lk_loader *loader, lk_load *load, const lk_queued *queued) {
    load->request = queued->request;
    load->augment = queued->augment;
    load->augmented = queued->augmented;
    load->seed = queued->seed;
    load->taken = load->cancelled = false;
    load->next_row = 0;
    load->running = 0;
    load->failed_row = -1;
    lk_error_clear(&load->error);
    load->next = NULL;
    prepare_mixing(loader, load);
    for (int64_t row = 0; row < loader->config.microbatch; row++)
        load->labels[row] = row < load->request.rows ? loader->dataset->samples[load->request.samples[row]].label : -1;
    size_t used = (size_t)load->request.rows * loader->image_bytes;
    memset(load->images + used, 0, (size_t)loader->config.microbatch * loader->image_bytes - used);
}

void lk_load_activate(lk_loader *loader) {
    while (loader->queue_count > 0 && loader->ahead < loader->config.prefetch) {
        lk_load *load = NULL;
        lk_error_clear(&loader->activation);
        if (take_spare(loader, &load, &loader->activation) != LK_OK) return;
        prepare(loader, load, &loader->queue[loader->queue_first]);
        loader->queue_first++;
        loader->queue_count--;
        loader->ahead++;
        if (loader->last == NULL)
            loader->first = load;
        else
            loader->last->next = load;
        loader->last = load;
        pthread_cond_broadcast(&loader->work);
    }
}

/* The next rows that no worker has, in order of submission. */
static bool find_part(lk_loader *loader, part *out) {
    lk_load *load = loader->first;
    while (load != NULL && load->next_row == load->request.rows) load = load->next;
    if (load == NULL) return false;
    int64_t bytes = 0, end = load->next_row;
    while (end < load->request.rows && (bytes == 0 || bytes < LK_PART_BYTES))
        bytes += loader->dataset->samples[load->request.samples[end++]].length;
    *out = (part){load, load->next_row, end - load->next_row};
    load->next_row = end;
    load->running++;
    return true;
}

static lk_status decode_row(lk_worker *worker, lk_load *load, int64_t row, lk_error *err) {
    const lk_dataset *dataset = worker->loader->dataset;
    int64_t sample = load->request.samples[row];
    const lk_sample_info *info = &dataset->samples[sample];
    LK_RETURN_IF(lk_grow((void **)&worker->buffer, &worker->capacity, (size_t)info->length, 1, "a sample", err));
    LK_RETURN_IF(lk_dataset_read(dataset, sample, worker->buffer, err));
    lk_sample_key key = {load->seed, load->request.epoch, load->request.first_position + row};
    lk_error reason = {0};
    lk_status status =
        lk_transform(worker->transformer, worker->buffer, (size_t)info->length, (lk_encoding)info->encoding,
                     info->width, info->height, info->channels, load->augmented ? &load->augment : NULL, &key,
                     load->images + (size_t)row * worker->loader->image_bytes, &reason);
    if (status != LK_OK)
        return lk_fail(err, status, "cannot prepare sample %lld (%s) of %s: %s", (long long)sample,
                       dataset->sources[sample], dataset->path, reason.message);
    return LK_OK;
}

/* Row by row up to the first failure. Returns the row that failed, or -1. */
static int64_t decode_part(lk_worker *worker, const part *part, lk_error *err) {
    for (int64_t row = part->first; row < part->first + part->count; row++)
        if (decode_row(worker, part->load, row, err) != LK_OK) return row;
    return -1;
}

/* The worker that lets go last pastes cutmix's boxes, which need all rows. With the mutex held; releases it meanwhile.
 */
static void paste_boxes(lk_worker *worker, lk_load *load) {
    lk_loader *loader = worker->loader;
    const lk_preprocess *p = &loader->config.preprocess;
    bool last = load->running == 1 && load->next_row == load->request.rows;
    if (!last || load->mix.kind != LK_MIX_CUTMIX || load->failed_row >= 0 || load->cancelled) return;
    pthread_mutex_unlock(&loader->mutex);
    lk_mix_paste(&load->mix, load->images, load->request.rows, p->width, p->height, p->channels, worker->box);
    pthread_mutex_lock(&loader->mutex);
}

/* With the mutex held; releases it while it decodes. */
static void work_on(lk_worker *worker, const part *part) {
    lk_loader *loader = worker->loader;
    lk_load *load = part->load;
    lk_error error = {0};
    pthread_mutex_unlock(&loader->mutex);
    int64_t failed = decode_part(worker, part, &error);
    pthread_mutex_lock(&loader->mutex);
    if (failed >= 0 && (load->failed_row < 0 || failed < load->failed_row)) {
        load->failed_row = failed;
        load->error = error;
    }
    paste_boxes(worker, load);
    load->running--;
    if (lk_load_is_done(load)) pthread_cond_broadcast(&loader->done);
}

void *lk_loader_work(void *argument) {
    lk_worker *worker = argument;
    lk_loader *loader = worker->loader;
    pthread_mutex_lock(&loader->mutex);
    for (;;) {
        part part;
        while (!loader->stopping && !find_part(loader, &part)) pthread_cond_wait(&loader->work, &loader->mutex);
        if (loader->stopping) break;
        work_on(worker, &part);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}
