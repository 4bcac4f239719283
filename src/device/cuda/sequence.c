/* Gathered launches one behind the other, kept until their end: one copy of all their tasks, and one graph that runs
 * them. The graph has in itself where in the copy each launch's tasks are and how many; what they are (addresses,
 * learning rate, step) is read when it runs. */
#include <string.h>

#include "device/cuda/cuda_internal.h"

lk_status lk_cuda_sequence_create(lk_cuda_sequence *s, lk_error *err) {
    lk_status status = LK_OK;
    const int64_t bytes = LK_CUDA_SEQUENCE_TASKS * (int64_t)sizeof(lk_cuda_task);
    LK_TRY(lk_cuda_staging_create(&s->staging, bytes, err));
    LK_CUDA(cudaMalloc((void **)&s->tasks, (size_t)bytes));
out:
    return status;
}

void lk_cuda_sequence_free(lk_cuda_sequence *s) {
    lk_cuda_staging_free(&s->staging);
    for (int i = 0; i < s->shape_count; i++)
        if (s->shapes[i].graph != NULL) (void)cudaGraphExecDestroy(s->shapes[i].graph);
    if (s->tasks != NULL) (void)cudaFree(s->tasks);
    memset(s, 0, sizeof *s);
}

static lk_status launch(lk_stream *stream, const lk_cuda_sequence_shape *shape, lk_error *err) {
    for (int i = 0; i < shape->count; i++) {
        const lk_cuda_sequence_launch *l = &shape->launches[i];
        int code = lk_cuda_tasks_run(stream->cuda, stream->sequence.tasks + l->first, l->count, l->blocks);
        LK_RETURN_IF(lk_cuda_check(code, "gathered work", err));
    }
    return LK_OK;
}

/* The place of a shape, or of a new one; NULL: there are too many. */
static lk_cuda_sequence_shape *place_of(lk_cuda_sequence *s, const lk_cuda_sequence_shape *shape) {
    for (int i = 0; i < s->shape_count; i++) {
        lk_cuda_sequence_shape *known = &s->shapes[i];
        size_t bytes = (size_t)shape->count * sizeof *shape->launches;
        if (known->count == shape->count && memcmp(known->launches, shape->launches, bytes) == 0) return known;
    }
    if (s->shape_count == LK_CUDA_SEQUENCE_SHAPES) return NULL;
    s->shapes[s->shape_count] = *shape;
    return &s->shapes[s->shape_count++];
}

static lk_status capture(lk_stream *stream, lk_cuda_sequence_shape *shape, lk_error *err) {
    LK_RETURN_IF(lk_cuda_capture_open(stream, err));
    lk_status status = launch(stream, shape, err);
    if (status == LK_OK) return lk_cuda_capture_close(stream, &shape->graph, err);
    (void)!lk_cuda_capture_close(stream, NULL, NULL);
    return status;
}

/* The first time kernel by kernel, as every capture has it. */
static lk_status run(lk_stream *stream, lk_error *err) {
    lk_cuda_sequence *s = &stream->sequence;
    lk_cuda_sequence_shape *shape = s->capture ? place_of(s, &s->now) : NULL;
    if (shape == NULL) return launch(stream, &s->now, err);
    if (shape->runs++ == 0) return launch(stream, shape, err);
    if (shape->graph == NULL) LK_RETURN_IF(capture(stream, shape, err));
    return lk_cuda_check((int)cudaGraphLaunch(shape->graph, stream->cuda), "cudaGraphLaunch", err);
}

/* Sends and launches what there is. */
static lk_status flush(lk_stream *stream, lk_error *err) {
    lk_cuda_sequence *s = &stream->sequence;
    int64_t bytes = s->used * (int64_t)sizeof *s->tasks;
    lk_status status = LK_OK;
    if (s->now.count == 0) return LK_OK;
    LK_TRY(lk_cuda_staging_send(&s->staging, stream, s->tasks, bytes, err));
    LK_TRY(run(stream, err));
out:
    s->used = 0;
    s->host = NULL;
    memset(&s->now, 0, sizeof s->now); /* compared as bytes */
    return status;
}

lk_status lk_cuda_sequence_room(lk_stream *stream, lk_cuda_task **tasks, lk_error *err) {
    lk_cuda_sequence *s = &stream->sequence;
    if (s->used + LK_CUDA_TASKS > LK_CUDA_SEQUENCE_TASKS || s->now.count == LK_CUDA_SEQUENCE_LAUNCHES)
        LK_RETURN_IF(flush(stream, err));
    if (s->host == NULL) LK_RETURN_IF(lk_cuda_staging_open(&s->staging, (void **)&s->host, err));
    *tasks = s->host + s->used;
    return LK_OK;
}

void lk_cuda_sequence_add(lk_cuda_sequence *s, int count, int blocks) {
    s->now.launches[s->now.count++] = (lk_cuda_sequence_launch){s->used, count, blocks};
    s->used += count;
}

static void sequence_open(lk_device *device, lk_stream *stream, bool capture) {
    (void)device;
    lk_cuda_sequence *s = &stream->sequence;
    s->open = true;
    s->capture = capture;
    s->used = 0; /* an error may have left some */
    s->host = NULL;
    memset(&s->now, 0, sizeof s->now);
}

static lk_status sequence_close(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    stream->sequence.open = false;
    return flush(stream, err);
}

void lk_cuda_sequence_install(lk_device *device) {
    device->sequence_open = sequence_open;
    device->sequence_close = sequence_close;
}
