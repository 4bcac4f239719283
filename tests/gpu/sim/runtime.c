/* The CUDA runtime's functions that the device uses, over the stand-in's memory and queues. */
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define API SIM_API

typedef struct pinned {
    struct pinned *next;
    char *p;
    size_t bytes;
    int copies; /* that were enqueued and are not done */
} pinned;

/* Copies and fills as work. */
typedef struct transfer {
    void *to;
    const void *from;
    void *snapshot;            /* of the host's memory, as it was when the copy was asked for */
    pinned *host;              /* NULL: pageable memory, or no host's */
    bool to_device, with_host; /* copies: from the host; from or to it */
    size_t bytes;
    int value;
} transfer;

typedef struct record {
    struct event *event;
    uint64_t number;
} record;

/* In which host work may wait for an event. */
typedef struct hold {
    struct event *event;
    uint64_t number;
} hold;

#define PATTERN 0xcb

static pinned *pinned_memory;

static pinned *pinned_at(const void *p, size_t bytes) {
    for (pinned *m = pinned_memory; m != NULL; m = m->next)
        if ((const char *)p >= m->p && (const char *)p + bytes <= m->p + m->bytes) return m;
    return NULL;
}

API cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

API cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

API const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorNotReady: return "cudaErrorNotReady";
        case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
        case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
        case cudaErrorStreamCaptureUnjoined: return "cudaErrorStreamCaptureUnjoined";
        case cudaErrorStreamCaptureImplicit: return "cudaErrorStreamCaptureImplicit";
        case cudaErrorCapturedEvent: return "cudaErrorCapturedEvent";
        default: return "cudaErrorUnknown";
    }
}

API const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        default: return cudaGetErrorName(error);
    }
}

API cudaError_t cudaGetLastError(void) { return cudaSuccess; }

API cudaError_t cudaMalloc(void **out, size_t bytes) {
    static int gpu = -1; /* a process keeps to one */
    sim_lock();
    *out = NULL;
    cudaError_t code = sim_capture_forbids(NULL);
    if (code != cudaSuccess) {
        sim_unlock();
        return code;
    }
    if (gpu < 0) gpu = sim_current_gpu();
    if (gpu != sim_current_gpu()) sim_fault("memory of GPU %d is asked for by who uses GPU %d", sim_current_gpu(), gpu);
    *out = sim_memory_alloc(bytes);
    sim_unlock();
    return *out == NULL ? cudaErrorMemoryAllocation : cudaSuccess;
}

/* Waits for the GPU, as the real one does. */
API cudaError_t cudaFree(void *p) {
    if (p == NULL) return cudaSuccess;
    sim_lock();
    cudaError_t code = sim_capture_forbids(NULL);
    if (code != cudaSuccess) {
        sim_unlock();
        return code;
    }
    sim_drain_all();
    bool freed = sim_memory_free(p);
    sim_unlock();
    return freed ? cudaSuccess : cudaErrorInvalidValue;
}

API cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    sim_lock();
    sim_memory_info(free_bytes, total);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaMallocHost(void **out, size_t bytes) {
    pinned *m = malloc(sizeof *m);
    *out = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (m == NULL || *out == NULL) sim_fault("out of host memory");
    memset(*out, PATTERN, bytes);
    sim_lock();
    cudaError_t code = sim_capture_forbids(NULL);
    if (code != cudaSuccess) {
        sim_unlock();
        free(*out);
        free(m);
        return code;
    }
    *m = (pinned){pinned_memory, *out, bytes, 0};
    pinned_memory = m;
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaFreeHost(void *p) {
    cudaError_t code = p == NULL ? cudaSuccess : cudaErrorInvalidValue;
    sim_lock();
    if (sim_capture_forbids(NULL) != cudaSuccess) {
        sim_unlock();
        return cudaErrorStreamCaptureUnsupported;
    }
    for (pinned **m = &pinned_memory; *m != NULL; m = &(*m)->next) {
        if ((*m)->p != p) continue;
        if ((*m)->copies > 0) sim_fault("pinned memory is freed while a copy from or to it is under way");
        pinned *found = *m;
        *m = found->next;
        free(found);
        free(p);
        code = cudaSuccess;
        break;
    }
    sim_unlock();
    return code;
}

static void copy_run(void *state) {
    transfer *t = state;
    if (t->host != NULL) t->host->copies--;
    if (t->host != NULL && t->snapshot != NULL && memcmp(t->snapshot, t->from, t->bytes) != 0)
        sim_fault("pinned memory was changed before the copy of its %zu bytes was done", t->bytes);
    memcpy(sim_memory_reach(t->to), t->snapshot != NULL ? t->snapshot : sim_memory_reach(t->from), t->bytes);
}

static void fill_run(void *state) {
    transfer *t = state;
    memset(sim_memory_reach(t->to), t->value, t->bytes);
}

static void transfer_drop(void *state) {
    transfer *t = state;
    free(t->snapshot);
    free(t);
}

/* Device operands must lie inside an allocation, and host operands outside. */
static bool operands_ok(const void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    size_t to_room = sim_memory_room(to), from_room = sim_memory_room(from);
    if (to_device ? to_room < bytes : to_room != 0) return false;
    return from_device ? from_room >= bytes : from_room == 0;
}

static transfer *keep(transfer t) {
    transfer *kept = malloc(sizeof *kept);
    if (kept == NULL) sim_fault("out of host memory");
    *kept = t;
    return kept;
}

/* What the host holds is kept as it was when the copy was asked for: from pageable memory that is what is copied, and
 * pinned memory must still hold it. Pinned memory that is copied to holds a pattern until the copy is done. */
static transfer take(transfer t) {
    if (t.to_device) {
        t.snapshot = malloc(t.bytes);
        if (t.snapshot == NULL) sim_fault("out of host memory");
        memcpy(t.snapshot, t.from, t.bytes);
    } else if (t.host != NULL) {
        memset(t.to, PATTERN, t.bytes);
    }
    if (t.host != NULL) t.host->copies++;
    return t;
}

/* A launch of a graph asks for the copy anew. */
static void *take_again(const void *state) { return keep(take(*(const transfer *)state)); }

static cudaError_t transfer_push(cudaStream_t stream, transfer t, const char *what, void (*run)(void *state)) {
    sim_stream *s = sim_stream_of(stream);
    cudaError_t code = s == sim_streams() ? sim_capture_forbids(s) : cudaSuccess;
    if (code != cudaSuccess) return code;
    bool captured = s->capture != NULL;
    if (captured && t.host == NULL && t.with_host) sim_fault("a copy from or to pageable memory is captured");
    sim_push(s, (sim_work){what, run, transfer_drop, keep(captured ? t : take(t)), true, NULL, take_again});
    return cudaSuccess;
}

static cudaError_t copy_push(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    transfer t = {.to = to, .from = from, .bytes = bytes};
    if (!operands_ok(to, from, bytes, kind)) return cudaErrorInvalidValue;
    t.to_device = kind == cudaMemcpyHostToDevice;
    t.with_host = t.to_device || kind == cudaMemcpyDeviceToHost;
    if (t.with_host) t.host = pinned_at(t.to_device ? from : to, bytes);
    return transfer_push(stream, t, "a copy", copy_run);
}

static bool stream_idle(void *stream) { return sim_stream_idle(stream); }

static void drain_stream(cudaStream_t stream) { sim_drain(stream_idle, sim_stream_of(stream)); }

/* From the device to pageable memory the call returns when the copy is done. */
API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                cudaStream_t stream) {
    sim_lock();
    cudaError_t code = copy_push(to, from, bytes, kind, stream);
    if (code == cudaSuccess && kind == cudaMemcpyDeviceToHost && pinned_at(to, bytes) == NULL) drain_stream(stream);
    sim_unlock();
    return code;
}

API cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(NULL);
    if (code == cudaSuccess) code = copy_push(to, from, bytes, kind, NULL);
    if (code == cudaSuccess) drain_stream(NULL);
    sim_unlock();
    return code;
}

API cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    sim_lock();
    cudaError_t code = cudaErrorInvalidValue;
    if (sim_memory_room(to) >= bytes)
        code = transfer_push(stream, (transfer){.to = to, .bytes = bytes, .value = value}, "a fill", fill_run);
    sim_unlock();
    return code;
}

/* Returns before it is done, as the real one may. */
API cudaError_t cudaMemset(void *to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, NULL); }

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    sim_lock();
    *stream = (cudaStream_t)sim_stream_new(flags == cudaStreamDefault);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(sim_stream_of(stream));
    if (code == cudaSuccess) drain_stream(stream);
    sim_unlock();
    return code;
}

API cudaError_t cudaDeviceSynchronize(void) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(NULL);
    if (code == cudaSuccess) sim_drain_all();
    sim_unlock();
    return code;
}

API cudaError_t cudaStreamQuery(cudaStream_t stream) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(sim_stream_of(stream));
    if (code != cudaSuccess) {
        sim_unlock();
        return code;
    }
    sim_advance();
    bool idle = sim_stream_idle(sim_stream_of(stream));
    sim_unlock();
    return idle ? cudaSuccess : cudaErrorNotReady;
}

API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    sim_lock();
    sim_stream *s = sim_stream_of(stream);
    if (s->capture != NULL) sim_fault("a stream is destroyed while it is captured");
    sim_drain(stream_idle, s);
    sim_stream_delete(s);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    (void)flags;
    struct event *e = calloc(1, sizeof *e);
    if (e == NULL) sim_fault("out of host memory");
    *event = (cudaEvent_t)e;
    return cudaSuccess;
}

static void record_run(void *state) {
    record *r = state;
    if (r->event->done < r->number) r->event->done = r->number;
}

API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    record *r = malloc(sizeof *r);
    if (r == NULL) sim_fault("out of host memory");
    sim_lock();
    sim_stream *s = sim_stream_of(stream);
    cudaError_t code = s == sim_streams() ? sim_capture_forbids(s) : cudaSuccess;
    if (code == cudaSuccess && !sim_capture_record((struct event *)event, s)) {
        *r = (record){(struct event *)event, ++((struct event *)event)->recorded};
        sim_push(s, (sim_work){"an event", record_run, free, r, true, NULL, NULL});
        r = NULL;
    }
    sim_unlock();
    free(r);
    return code;
}

static bool event_done(void *event) {
    struct event *e = event;
    return e->done == e->recorded;
}

static bool hold_over(void *state) {
    hold *h = state;
    return h->event->done >= h->number;
}

static void hold_run(void *state) { (void)state; }

/* Waits for the record that is the last when the call is made. */
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    if (flags != 0) return cudaErrorInvalidValue;
    hold *h = malloc(sizeof *h);
    if (h == NULL) sim_fault("out of host memory");
    sim_lock();
    cudaError_t code = sim_capture_wait(sim_stream_of(stream), (struct event *)event);
    if (code == cudaErrorNotReady) { /* no capture */
        *h = (hold){(struct event *)event, ((struct event *)event)->recorded};
        sim_push(sim_stream_of(stream), (sim_work){"a wait for an event", hold_run, free, h, true, hold_over, NULL});
        code = cudaSuccess;
        h = NULL;
    }
    sim_unlock();
    free(h);
    return code;
}

API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    sim_lock();
    cudaError_t code = ((struct event *)event)->capture != NULL ? cudaErrorCapturedEvent : sim_capture_forbids(NULL);
    if (code == cudaSuccess) sim_drain(event_done, event);
    sim_unlock();
    return code;
}

API cudaError_t cudaEventDestroy(cudaEvent_t event) {
    sim_lock();
    sim_drain_all(); /* what waits for it may be anywhere */
    sim_unlock();
    free(event);
    return cudaSuccess;
}
