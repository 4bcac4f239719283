/* The CUDA runtime's functions that the device uses, over the stand-in's memory and queues. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define API SIM_API

struct event {
    uint64_t recorded, done; /* numbers of the last record enqueued, and of the last that was reached */
    bool alive;
};

/* Copies and fills as work. */
typedef struct transfer {
    void *to;
    const void *from;
    void *snapshot; /* of pageable memory, as it was when the copy was asked for */
    size_t bytes;
    int value;
} transfer;

typedef struct record {
    struct event *event;
    uint64_t number;
} record;

typedef struct pinned {
    struct pinned *next;
    char *p;
    size_t bytes;
} pinned;

static pinned *pinned_memory;

static bool is_pinned(const void *p, size_t bytes) {
    for (pinned *m = pinned_memory; m != NULL; m = m->next)
        if ((const char *)p >= m->p && (const char *)p + bytes <= m->p + m->bytes) return true;
    return false;
}

API cudaError_t cudaGetDeviceCount(int *count) {
    *count = (int)sim_setting("LK_SIM_GPUS", 1);
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

API cudaError_t cudaSetDevice(int device) {
    return device == 0 && sim_setting("LK_SIM_GPUS", 1) > 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

API cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

API cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    if (device != 0) return cudaErrorInvalidDevice;
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "stand-in GPU");
    properties->major = 9;
    properties->multiProcessorCount = 132;
    properties->warpSize = 32;
    return cudaSuccess;
}

API const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
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
    sim_lock();
    *out = sim_memory_alloc(bytes);
    sim_unlock();
    return *out == NULL ? cudaErrorMemoryAllocation : cudaSuccess;
}

/* Waits for the GPU, as the real one does. */
API cudaError_t cudaFree(void *p) {
    if (p == NULL) return cudaSuccess;
    sim_lock();
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
    memset(*out, 0xcb, bytes);
    sim_lock();
    *m = (pinned){pinned_memory, *out, bytes};
    pinned_memory = m;
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaFreeHost(void *p) {
    cudaError_t code = p == NULL ? cudaSuccess : cudaErrorInvalidValue;
    sim_lock();
    sim_drain_all();
    for (pinned **m = &pinned_memory; *m != NULL; m = &(*m)->next) {
        if ((*m)->p != p) continue;
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

static cudaError_t transfer_push(cudaStream_t stream, transfer t, const char *what, void (*run)(void *state)) {
    transfer *kept = malloc(sizeof *kept);
    if (kept == NULL) sim_fault("out of host memory");
    *kept = t;
    sim_push(sim_stream_of(stream), (sim_work){what, run, transfer_drop, kept, true});
    return cudaSuccess;
}

static cudaError_t copy_push(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    transfer t = {.to = to, .from = from, .bytes = bytes};
    if (!operands_ok(to, from, bytes, kind)) return cudaErrorInvalidValue;
    if (kind == cudaMemcpyHostToDevice && !is_pinned(from, bytes)) {
        t.snapshot = malloc(bytes);
        if (t.snapshot == NULL) sim_fault("out of host memory");
        memcpy(t.snapshot, from, bytes);
    }
    return transfer_push(stream, t, "a copy", copy_run);
}

API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                cudaStream_t stream) {
    sim_lock();
    cudaError_t code = copy_push(to, from, bytes, kind, stream);
    sim_unlock();
    return code;
}

API cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    sim_lock();
    sim_drain_all();
    cudaError_t code = copy_push(to, from, bytes, kind, NULL);
    sim_drain_all();
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

API cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    sim_lock();
    sim_drain_all();
    cudaError_t code = cudaErrorInvalidValue;
    if (sim_memory_room(to) >= bytes)
        code = transfer_push(NULL, (transfer){.to = to, .bytes = bytes, .value = value}, "a fill", fill_run);
    sim_drain_all();
    sim_unlock();
    return code;
}

API cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    sim_lock();
    *stream = (cudaStream_t)sim_stream_new();
    sim_unlock();
    return cudaSuccess;
}

static bool stream_idle(void *stream) { return sim_stream_idle(stream); }

API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    sim_lock();
    if (stream == NULL)
        sim_drain_all();
    else
        sim_drain(stream_idle, sim_stream_of(stream));
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaDeviceSynchronize(void) { return cudaStreamSynchronize(NULL); }

API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    sim_lock();
    sim_stream *s = sim_stream_of(stream);
    sim_drain(stream_idle, s);
    sim_stream_delete(s);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    (void)flags;
    struct event *e = calloc(1, sizeof *e);
    if (e == NULL) sim_fault("out of host memory");
    e->alive = true;
    *event = (cudaEvent_t)e;
    return cudaSuccess;
}

static void record_run(void *state) {
    record *r = state;
    r->event->done = r->number;
}

API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    record *r = malloc(sizeof *r);
    if (r == NULL) sim_fault("out of host memory");
    sim_lock();
    *r = (record){(struct event *)event, ++((struct event *)event)->recorded};
    sim_push(sim_stream_of(stream), (sim_work){"an event", record_run, free, r, true});
    sim_unlock();
    return cudaSuccess;
}

static bool event_done(void *event) {
    struct event *e = event;
    return e->done == e->recorded;
}

API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    sim_lock();
    sim_drain(event_done, event);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaEventDestroy(cudaEvent_t event) {
    sim_lock();
    sim_drain(event_done, event);
    sim_unlock();
    free(event);
    return cudaSuccess;
}
