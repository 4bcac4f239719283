/* Memory, copies, streams, and the CUDA libraries' error codes as sentences. */
#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

static lk_cuda *cuda_of(const lk_device *device) { return (lk_cuda *)device; }

/* The name of the function in the text of a call. */
static int name_length(const char *call) { return (int)strcspn(call, "("); }

lk_status lk_cuda_check(int code, const char *call, lk_error *err) {
    if (code == cudaSuccess) return LK_OK;
    lk_status status = code == cudaErrorMemoryAllocation ? LK_ERR_MEMORY : LK_ERR_DEVICE;
    return lk_fail(err, status, "%.*s failed on the GPU: %s (%s)", name_length(call), call,
                   cudaGetErrorString((cudaError_t)code), cudaGetErrorName((cudaError_t)code));
}

lk_status lk_cuda_check_blas(cublasStatus_t code, const char *call, lk_error *err) {
    if (code == CUBLAS_STATUS_SUCCESS) return LK_OK;
    return lk_fail(err, LK_ERR_DEVICE, "%.*s failed: %s", name_length(call), call, cublasLtGetStatusString(code));
}

lk_status lk_cuda_enter(const lk_cuda *cuda, lk_error *err) {
    if (cuda->described != NULL) return LK_OK;
    return lk_cuda_check(cudaSetDevice(cuda->ordinal), "cudaSetDevice", err);
}

static lk_status memory_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    *out = NULL;
    size_t room, total;
    if (bytes < 0) return lk_fail(err, LK_ERR_INTERNAL, "%s asks for %" PRId64 " bytes", what, bytes);
    LK_RETURN_IF(lk_cuda_enter(cuda_of(device), err));
    size_t wanted = lk_round_up(bytes > 0 ? (size_t)bytes : 1);
    cudaError_t code = cudaMalloc(out, wanted);
    if (code == cudaErrorMemoryAllocation && cudaMemGetInfo(&room, &total) == cudaSuccess) {
        (void)cudaGetLastError(); /* an allocation that failed leaves the GPU usable */
        return lk_fail(err, LK_ERR_MEMORY,
                       "the GPU has no room for %s: %.1f MB wanted, %.1f of %.1f MB free; use a smaller microbatch",
                       what, (double)wanted / 1e6, (double)room / 1e6, (double)total / 1e6);
    }
    LK_RETURN_IF(lk_cuda_check((int)code, "cudaMalloc", err));
    LK_RETURN_IF(lk_cuda_check((int)cudaMemset(*out, 0, wanted), "cudaMemset", err));
    /* The zeros come before what any stream writes, those for copies included. */
    return lk_cuda_check((int)cudaStreamSynchronize(NULL), "cudaStreamSynchronize", err);
}

static lk_status memory_room(lk_device *device, int64_t *room, int64_t *total, lk_error *err) {
    size_t bytes, all;
    LK_RETURN_IF(lk_cuda_enter(cuda_of(device), err));
    LK_RETURN_IF(lk_cuda_check((int)cudaMemGetInfo(&bytes, &all), "cudaMemGetInfo", err));
    *room = (int64_t)bytes < LK_CUDA_STREAM_BYTES ? 0 : (int64_t)bytes - LK_CUDA_STREAM_BYTES;
    *total = (int64_t)all;
    return LK_OK;
}

static void memory_release(lk_device *device, void *p) {
    (void)device;
    (void)cudaFree(p);
}

/* Streams of lanes are ordered with the default stream, so that a copy sees what was enqueued before it. */
static lk_status copy(lk_device *device, void *to, const void *from, int64_t bytes, enum cudaMemcpyKind kind,
                      lk_error *err) {
    if (bytes < 0) return lk_fail(err, LK_ERR_INTERNAL, "a copy of %" PRId64 " bytes was asked for", bytes);
    if (bytes == 0) return LK_OK;
    LK_RETURN_IF(lk_cuda_enter(cuda_of(device), err));
    LK_RETURN_IF(lk_cuda_check((int)cudaMemcpy(to, from, (size_t)bytes, kind), "cudaMemcpy", err));
    /* From pageable memory the call may return before the last bytes have arrived. */
    return lk_cuda_check((int)cudaStreamSynchronize(NULL), "cudaStreamSynchronize", err);
}

static lk_status upload(lk_device *device, void *to, const void *host, int64_t bytes, lk_error *err) {
    return copy(device, to, host, bytes, cudaMemcpyHostToDevice, err);
}

static lk_status download(lk_device *device, void *host, const void *from, int64_t bytes, lk_error *err) {
    return copy(device, host, from, bytes, cudaMemcpyDeviceToHost, err);
}

static void stream_free(lk_device *device, lk_stream *stream) {
    (void)device;
    if (stream == NULL) return;
    if (stream->cuda != NULL) (void)cudaStreamSynchronize(stream->cuda);
    if (stream->cudnn != NULL) (void)cudnnDestroy(stream->cudnn);
    if (stream->counters != NULL) (void)cudaFree(stream->counters);
    if (stream->sums != NULL) (void)cudaFree(stream->sums);
    if (stream->host_sums != NULL) (void)cudaFreeHost(stream->host_sums);
    lk_cuda_gather_free(&stream->gather);
    lk_cuda_sequence_free(&stream->sequence);
    if (stream->cuda != NULL) (void)cudaStreamDestroy(stream->cuda);
    lk_free(stream);
}

static lk_status stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_stream *stream = NULL;
    *out = NULL;
    LK_TRY(lk_cuda_enter(cuda_of(device), err));
    LK_TRY(LK_NEW(&stream, 1, "a stream", err));
    LK_CUDA(cudaStreamCreate(&stream->cuda));
    LK_CUDNN(cudnnCreate(&stream->cudnn));
    LK_CUDNN(cudnnSetStream(stream->cudnn, stream->cuda));
    LK_CUDA(cudaMalloc((void **)&stream->counters, LK_CUDA_COUNTERS * sizeof *stream->counters));
    LK_CUDA(cudaMemset(stream->counters, 0, LK_CUDA_COUNTERS * sizeof *stream->counters));
    LK_CUDA(cudaMalloc((void **)&stream->sums, LK_CUDA_SUMS * sizeof *stream->sums));
    LK_CUDA(cudaMallocHost((void **)&stream->host_sums, LK_CUDA_SUMS * sizeof *stream->host_sums));
    LK_TRY(lk_cuda_gather_create(&stream->gather, err));
    LK_TRY(lk_cuda_sequence_create(&stream->sequence, err));
    *out = stream;
    stream = NULL;
out:
    stream_free(device, stream);
    return status;
}

static lk_status host_alloc(lk_device *device, void **out, int64_t bytes, const char *what, lk_error *err) {
    *out = NULL;
    if (bytes < 0) return lk_fail(err, LK_ERR_INTERNAL, "%s asks for %" PRId64 " bytes", what, bytes);
    LK_RETURN_IF(lk_cuda_enter(cuda_of(device), err));
    cudaError_t code = cudaMallocHost(out, bytes > 0 ? (size_t)bytes : 1);
    if (code != cudaErrorMemoryAllocation) return lk_cuda_check((int)code, "cudaMallocHost", err);
    (void)cudaGetLastError(); /* an allocation that failed leaves the GPU usable */
    return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %" PRId64 " bytes of pinned memory for %s: out of memory",
                   bytes, what);
}

static void host_release(lk_device *device, void *p) {
    (void)device;
    if (p != NULL) (void)cudaFreeHost(p);
}

/* Not ordered with the default stream: a blocking copy need not wait for what travels beside it. */
static lk_status copy_stream_create(lk_device *device, lk_stream **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_stream *stream = NULL;
    *out = NULL;
    LK_TRY(lk_cuda_enter(cuda_of(device), err));
    LK_TRY(LK_NEW(&stream, 1, "a stream", err));
    LK_CUDA(cudaStreamCreateWithFlags(&stream->cuda, cudaStreamNonBlocking));
    *out = stream;
    stream = NULL;
out:
    stream_free(device, stream);
    return status;
}

static lk_status stream_send(lk_device *device, lk_stream *stream, void *to, const void *host, int64_t bytes,
                             lk_error *err) {
    (void)device;
    if (bytes <= 0) return LK_OK;
    return lk_cuda_check((int)cudaMemcpyAsync(to, host, (size_t)bytes, cudaMemcpyHostToDevice, stream->cuda),
                         "cudaMemcpyAsync", err);
}

static lk_status stream_fetch(lk_device *device, lk_stream *stream, void *host, const void *from, int64_t bytes,
                              lk_error *err) {
    (void)device;
    if (bytes <= 0) return LK_OK;
    return lk_cuda_check((int)cudaMemcpyAsync(host, from, (size_t)bytes, cudaMemcpyDeviceToHost, stream->cuda),
                         "cudaMemcpyAsync", err);
}

/* An lk_event is a CUDA event by another name. */
static cudaEvent_t cuda_event(lk_event *event) { return (cudaEvent_t)(void *)event; }

static lk_status event_create(lk_device *device, lk_event **out, lk_error *err) {
    cudaEvent_t event = NULL;
    *out = NULL;
    LK_RETURN_IF(lk_cuda_enter(cuda_of(device), err));
    LK_RETURN_IF(
        lk_cuda_check((int)cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags", err));
    *out = (lk_event *)(void *)event;
    return LK_OK;
}

static void event_free(lk_device *device, lk_event *event) {
    (void)device;
    if (event != NULL) (void)cudaEventDestroy(cuda_event(event));
}

static lk_status event_record(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err) {
    (void)device;
    return lk_cuda_check((int)cudaEventRecord(cuda_event(event), stream->cuda), "cudaEventRecord", err);
}

static lk_status event_hold(lk_device *device, lk_event *event, lk_stream *stream, lk_error *err) {
    (void)device;
    return lk_cuda_check((int)cudaStreamWaitEvent(stream->cuda, cuda_event(event), 0), "cudaStreamWaitEvent", err);
}

static lk_status event_wait(lk_device *device, lk_event *event, lk_error *err) {
    (void)device;
    return lk_cuda_check((int)cudaEventSynchronize(cuda_event(event)), "cudaEventSynchronize", err);
}

static lk_status synchronize(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    return lk_cuda_check((int)cudaStreamSynchronize(stream->cuda), "cudaStreamSynchronize", err);
}

static lk_status stream_done(lk_device *device, lk_stream *stream, bool *done, lk_error *err) {
    (void)device;
    cudaError_t code = cudaStreamQuery(stream->cuda);
    *done = code == cudaSuccess;
    return code == cudaErrorNotReady ? LK_OK : lk_cuda_check((int)code, "cudaStreamQuery", err);
}

static void *stream_handle(const lk_stream *stream) { return stream->cuda; }

void lk_cuda_runtime_install(lk_device *device) {
    device->alloc = memory_alloc;
    device->memory_room = memory_room;
    device->release = memory_release;
    device->upload = upload;
    device->download = download;
    device->stream_create = stream_create;
    device->stream_free = stream_free;
    device->synchronize = synchronize;
    device->host_alloc = host_alloc;
    device->host_release = host_release;
    device->copy_stream_create = copy_stream_create;
    device->stream_send = stream_send;
    device->stream_fetch = stream_fetch;
    device->event_create = event_create;
    device->event_free = event_free;
    device->event_record = event_record;
    device->event_hold = event_hold;
    device->event_wait = event_wait;
    device->stream_done = stream_done;
    device->stream_handle = stream_handle;
}

lk_status lk_cuda_staging_create(lk_cuda_staging *staging, int64_t bytes, lk_error *err) {
    lk_status status = LK_OK;
    memset(staging, 0, sizeof *staging);
    staging->bytes = bytes;
    LK_CUDA(cudaMallocHost(&staging->host, (size_t)bytes));
    LK_CUDA(cudaEventCreateWithFlags(&staging->sent, cudaEventDisableTiming));
out:
    return status;
}

void lk_cuda_staging_free(lk_cuda_staging *staging) {
    if (staging->sent != NULL) {
        (void)cudaEventSynchronize(staging->sent); /* the copy reads what is freed next */
        (void)cudaEventDestroy(staging->sent);
    }
    if (staging->host != NULL) (void)cudaFreeHost(staging->host);
    memset(staging, 0, sizeof *staging);
}

lk_status lk_cuda_staging_open(lk_cuda_staging *staging, void **host, lk_error *err) {
    *host = staging->host;
    return lk_cuda_check((int)cudaEventSynchronize(staging->sent), "cudaEventSynchronize", err);
}

lk_status lk_cuda_staging_send(lk_cuda_staging *staging, lk_stream *stream, void *to, int64_t bytes, lk_error *err) {
    lk_status status = LK_OK;
    if (bytes > staging->bytes) return lk_fail(err, LK_ERR_INTERNAL, "a copy is larger than its staging memory");
    LK_CUDA(cudaMemcpyAsync(to, staging->host, (size_t)bytes, cudaMemcpyHostToDevice, stream->cuda));
    LK_CUDA(cudaEventRecord(staging->sent, stream->cuda));
out:
    return status;
}
