/* The CUDA runtime's functions that the device uses, over the stand-in's memory and queues; copies: transfer.c. */
#include <stdlib.h>

#include "stream.h"

#define API SIM_API

typedef struct record {
    struct event *event;
    uint64_t number;
} record;

/* In which host work may wait for an event. */
typedef struct hold {
    struct event *event;
    uint64_t number;
} hold;

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
    sim_host_learns_all();
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

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
    sim_lock();
    *stream = (cudaStream_t)sim_stream_new(flags == cudaStreamDefault);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

static bool stream_idle(void *stream) { return sim_stream_idle(stream); }

void sim_wait_stream(sim_stream *stream) {
    sim_drain(stream_idle, stream);
    sim_host_learns(&stream->clock);
}

API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(sim_stream_of(stream));
    if (code == cudaSuccess) sim_wait_stream(sim_stream_of(stream));
    sim_unlock();
    return code;
}

API cudaError_t cudaDeviceSynchronize(void) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(NULL);
    if (code == cudaSuccess) {
        sim_drain_all();
        sim_host_learns_all();
    }
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
    if (idle) sim_host_learns(&sim_stream_of(stream)->clock);
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
    if (code == cudaSuccess && !sim_planted("record") && !sim_capture_record((struct event *)event, s)) {
        *r = (record){(struct event *)event, ++((struct event *)event)->recorded};
        sim_push(s, (sim_work){"an event", record_run, free, r, true, NULL, NULL});
        ((struct event *)event)->clock = s->clock;
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
    if (code == cudaErrorNotReady && sim_planted("wait")) code = cudaSuccess;
    if (code == cudaErrorNotReady) { /* no capture */
        *h = (hold){(struct event *)event, ((struct event *)event)->recorded};
        sim_clock_join(&sim_stream_of(stream)->clock, &((struct event *)event)->clock);
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
    if (code == cudaSuccess) {
        sim_drain(event_done, event);
        sim_host_learns(&((struct event *)event)->clock);
    }
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
