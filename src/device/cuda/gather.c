/* Elementwise work of many small pieces as one launch: what is submitted between gather_open and gather_close is put
 * into a table that one kernel goes through. */
#include <string.h>

#include "device/cuda/cuda_internal.h"

lk_status lk_cuda_gather_create(lk_cuda_gather *gather, lk_error *err) {
    lk_status status = LK_OK;
    const int64_t bytes = LK_CUDA_TASKS * (int64_t)sizeof(lk_cuda_task);
    for (int i = 0; i < LK_CUDA_TABLES; i++) LK_TRY(lk_cuda_staging_create(&gather->staging[i], bytes, err));
    LK_CUDA(cudaMalloc((void **)&gather->tables, (size_t)(LK_CUDA_TABLES * bytes)));
out:
    return status;
}

void lk_cuda_gather_free(lk_cuda_gather *gather) {
    for (int i = 0; i < LK_CUDA_TABLES; i++) lk_cuda_staging_free(&gather->staging[i]);
    if (gather->tables != NULL) (void)cudaFree(gather->tables);
    memset(gather, 0, sizeof *gather);
}

/* Launches what the table holds, or leaves it to the sequence; the next one is filled after it. */
static lk_status flush(lk_stream *stream, lk_error *err) {
    lk_status status = LK_OK;
    lk_cuda_gather *g = &stream->gather;
    lk_cuda_task *table = g->tables + g->table * LK_CUDA_TASKS;
    int count = g->count;
    if (count == 0) return LK_OK;
    if (stream->sequence.open) {
        lk_cuda_sequence_add(&stream->sequence, count, g->blocks);
        g->tasks = NULL;
        g->count = 0;
        return LK_OK;
    }
    lk_cuda_staging *staging = &g->staging[g->table];
    g->table = (g->table + 1) % LK_CUDA_TABLES;
    g->tasks = NULL;
    g->count = 0;
    LK_TRY(lk_cuda_staging_send(staging, stream, table, count * (int64_t)sizeof *table, err));
    LK_CUDA(lk_cuda_tasks_run(stream->cuda, table, count, g->blocks));
out:
    return status;
}

lk_status lk_cuda_task_submit(lk_stream *stream, const lk_cuda_task *task, lk_error *err) {
    lk_cuda_gather *g = &stream->gather;
    if (task->count == 0) return LK_OK;
    if (!g->open) return lk_cuda_check(lk_cuda_task_run(stream->cuda, task), "an elementwise kernel", err);
    int64_t blocks = (task->count + LK_CUDA_TASK_CHUNK - 1) / LK_CUDA_TASK_CHUNK;
    if (blocks > INT32_MAX / 2) return lk_fail(err, LK_ERR_INTERNAL, "a slab has too many elements for one launch");
    if (g->count == LK_CUDA_TASKS || (g->count > 0 && g->blocks + blocks > INT32_MAX / 2))
        LK_RETURN_IF(flush(stream, err));
    if (g->tasks == NULL) {
        LK_RETURN_IF(stream->sequence.open ? lk_cuda_sequence_room(stream, &g->tasks, err)
                                           : lk_cuda_staging_open(&g->staging[g->table], (void **)&g->tasks, err));
        g->blocks = 0;
    }
    g->tasks[g->count] = *task;
    g->tasks[g->count++].first_block = g->blocks;
    g->blocks += (int)blocks;
    return LK_OK;
}

static void gather_open(lk_device *device, lk_stream *stream) {
    (void)device;
    stream->gather.open = true;
    stream->gather.count = stream->gather.blocks = 0; /* an error may have left some */
    stream->gather.tasks = NULL;
}

static lk_status gather_close(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    stream->gather.open = false;
    return flush(stream, err);
}

void lk_cuda_gather_install(lk_device *device) {
    device->gather_open = gather_open;
    device->gather_close = gather_close;
}
