/* Decodes batches with several threads, one batch ahead of the arithmetic. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/pool.h"
#include "io/image/transform.h"
#include "io/model/atomic.h"
#include "jobs/predict.h"

static const int64_t MAX_FILE = INT64_C(1) << 30; /* bytes */

typedef struct worker {
    lk_transformer *transformer;
    uint8_t *bytes;
    size_t capacity;
} worker;

struct lk_predict_reader {
    const lk_predict_inputs *inputs;
    int64_t batch, image_bytes;
    lk_pool *pool;
    worker *workers; /* one for each thread of the pool */
    int threads;
    lk_predict_batch batches[2]; /* the one that was handed out and the one in work */
    int working;                 /* which is in work */
    pthread_t thread;            /* runs the pool on it */
    bool running;
};

static lk_status reserve(worker *w, int64_t bytes, lk_error *err) {
    return lk_grow((void **)&w->bytes, &w->capacity, (size_t)bytes, 1, "an encoded image", err);
}

static lk_status read_file(worker *w, const char *path, int64_t *size, lk_error *err) {
    lk_status status = LK_OK;
    struct stat info;
    /* NONBLOCK: opening a pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        status = lk_fail(err, LK_ERR_IO, "%s", strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        status = lk_fail(err, LK_ERR_DATA, "not a regular file");
    } else if (info.st_size == 0) {
        status = lk_fail(err, LK_ERR_DATA, "the file is empty");
    } else if (info.st_size > MAX_FILE) {
        status = lk_fail(err, LK_ERR_DATA, "the file is larger than 1 GiB");
    }
    if (status != LK_OK) goto out;
    *size = info.st_size;
    LK_TRY(reserve(w, *size, err));
    LK_TRY(lk_read_at(fd, w->bytes, (size_t)*size, 0, path, err));
out:
    if (fd >= 0) close(fd);
    return status;
}

static lk_status decode_file(worker *w, const lk_predict_item *item, uint8_t *dst, lk_error *err) {
    int64_t size = 0;
    lk_image_info info;
    LK_RETURN_IF(read_file(w, item->file, &size, err));
    LK_RETURN_IF(lk_image_probe(&info, w->bytes, (size_t)size, err));
    return lk_transform(w->transformer, w->bytes, (size_t)size, info.encoding, info.width, info.height, info.channels,
                        NULL, NULL, dst, err);
}

static lk_status decode_sample(worker *w, const lk_predict_item *item, uint8_t *dst, lk_error *err) {
    const lk_sample_info *info = &item->dataset->samples[item->sample];
    LK_RETURN_IF(reserve(w, info->length, err));
    LK_RETURN_IF(lk_dataset_read(item->dataset, item->sample, w->bytes, err));
    return lk_transform(w->transformer, w->bytes, (size_t)info->length, (lk_encoding)info->encoding, info->width,
                        info->height, info->channels, NULL, NULL, dst, err);
}

static void decode_row(void *context, int row, int number) {
    lk_predict_reader *reader = context;
    lk_predict_batch *batch = &reader->batches[reader->working];
    worker *w = &reader->workers[number];
    const lk_predict_item *item = &reader->inputs->items[batch->first + row];
    uint8_t *dst = batch->images + row * reader->image_bytes;
    lk_error *err = &batch->errors[row];
    lk_error_clear(err);
    lk_status status = item->dataset == NULL ? decode_file(w, item, dst, err) : decode_sample(w, item, dst, err);
    if (status != LK_OK) memset(dst, 0, (size_t)reader->image_bytes);
}

static void *decode_batch(void *context) {
    lk_predict_reader *reader = context;
    lk_pool_run(reader->pool, decode_row, reader, (int)reader->batches[reader->working].rows);
    return NULL;
}

/* Starts on the batch that begins with item `first`, into the buffer that is free. */
static lk_status start_batch(lk_predict_reader *reader, int64_t first, lk_error *err) {
    reader->working = 1 - reader->working;
    lk_predict_batch *batch = &reader->batches[reader->working];
    int64_t left = reader->inputs->count - first;
    batch->first = first;
    batch->rows = left < reader->batch ? left : reader->batch;
    if (batch->rows == 0) return LK_OK;
    int code = pthread_create(&reader->thread, NULL, decode_batch, reader);
    if (code != 0) return lk_fail(err, LK_ERR_MEMORY, "cannot start a thread that decodes: %s", strerror(code));
    reader->running = true;
    return LK_OK;
}

static void wait_batch(lk_predict_reader *reader) {
    if (reader->running) pthread_join(reader->thread, NULL);
    reader->running = false;
}

lk_status lk_predict_reader_create(lk_predict_reader **out, const lk_predict_inputs *inputs,
                                   const lk_preprocess *preprocess, int64_t batch, int threads, lk_error *err) {
    lk_status status = LK_OK;
    lk_predict_reader *reader = NULL;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&reader, 1, "an image reader", err));
    reader->inputs = inputs;
    reader->batch = batch;
    reader->threads = threads;
    reader->image_bytes = (int64_t)preprocess->height * preprocess->width * preprocess->channels;
    for (int i = 0; i < 2; i++) {
        LK_TRY(LK_NEW(&reader->batches[i].images, batch * reader->image_bytes, "a batch of images", err));
        LK_TRY(LK_NEW(&reader->batches[i].errors, batch, "a batch of images", err));
    }
    LK_TRY(LK_NEW(&reader->workers, threads, "image decoders", err));
    for (int i = 0; i < threads; i++) LK_TRY(lk_transformer_create(&reader->workers[i].transformer, preprocess, err));
    LK_TRY(lk_pool_create(&reader->pool, threads, err));
    LK_TRY(start_batch(reader, 0, err));
    *out = reader;
    reader = NULL;
out:
    lk_predict_reader_free(reader);
    return status;
}

void lk_predict_reader_free(lk_predict_reader *reader) {
    if (reader == NULL) return;
    wait_batch(reader);
    lk_pool_free(reader->pool);
    for (int i = 0; reader->workers != NULL && i < reader->threads; i++) {
        lk_transformer_free(reader->workers[i].transformer);
        lk_free(reader->workers[i].bytes);
    }
    for (int i = 0; i < 2; i++) {
        lk_free(reader->batches[i].images);
        lk_free(reader->batches[i].errors);
    }
    lk_free(reader->workers);
    lk_free(reader);
}

lk_status lk_predict_reader_next(lk_predict_reader *reader, lk_predict_batch *out, lk_error *err) {
    wait_batch(reader);
    *out = reader->batches[reader->working];
    return out->rows == 0 ? LK_OK : start_batch(reader, out->first + out->rows, err);
}
