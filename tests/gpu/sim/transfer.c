/* Copies and fills, and the pinned memory that they travel from and to. What the host may do with pinned memory follows
 * from what it has waited for, not from the order that the stand-in draws: what it changes before it knows that a copy
 * is done ends the process, and what it reads before it knows is a pattern. */
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define API SIM_API
#define PATTERN 0xcb

typedef struct pinned {
    struct pinned *next;
    char *p;
    size_t bytes;
} pinned;

/* A copy from or to pinned memory that the host does not know to be done. */
typedef struct journey {
    struct journey *next;
    pinned *host;
    char *at;
    char *bytes; /* from the host: what it held when the copy was asked for; to it: what has arrived */
    size_t count;
    const char *stale; /* a planted fault: what is copied instead of bytes; NULL: none */
    bool to_device, stamped, done;
    sim_clock clock;
} journey;

/* Copies and fills as work. */
typedef struct transfer {
    void *to;
    const void *from;
    void *snapshot;            /* of pageable memory, as it was when the copy was asked for */
    journey *journey;          /* from or to pinned memory: owned by the list */
    pinned *host;              /* NULL: pageable memory, or no host's */
    bool to_device, with_host; /* copies: from the host; from or to it */
    size_t bytes;
    int value;
} transfer;

static pinned *pinned_memory;
static journey *journeys; /* in the order in which they were asked for */

static pinned *pinned_at(const void *p, size_t bytes) {
    for (pinned *m = pinned_memory; m != NULL; m = m->next)
        if ((const char *)p >= m->p && (const char *)p + bytes <= m->p + m->bytes) return m;
    return NULL;
}

static journey *journey_new(const transfer *t) {
    journey *j = calloc(1, sizeof *j);
    if (j == NULL || (j->bytes = malloc(t->bytes + 1)) == NULL) sim_fault("out of host memory");
    j->host = t->host;
    j->to_device = t->to_device;
    j->count = t->bytes;
    j->at = t->to_device ? (char *)(uintptr_t)t->from : t->to;
    if (t->to_device)
        memcpy(j->bytes, j->at, j->count);
    else
        memset(j->at, PATTERN, j->count);
    journey **last = &journeys;
    while (*last != NULL) last = &(*last)->next;
    return *last = j;
}

void sim_plant_stale_copy(void) {
    static char *first;
    static size_t count;
    journey *last = journeys;
    while (last != NULL && last->next != NULL) last = last->next;
    if (last == NULL || !last->to_device) return;
    if (first == NULL) {
        first = malloc(count = last->count);
        if (first == NULL) sim_fault("out of host memory");
        memcpy(first, last->bytes, count);
    }
    if (last->count == count) last->stale = first;
}

static void check_unchanged(const journey *j) {
    if (j->to_device && memcmp(j->bytes, j->at, j->count) != 0)
        sim_fault("pinned memory was changed before the host knew that the copy of its %zu bytes was done", j->count);
}

void sim_pinned_stamp(const sim_clock *clock) {
    for (journey *j = journeys; j != NULL; j = j->next) {
        if (j->stamped) continue;
        j->clock = *clock;
        j->stamped = true;
    }
}

void sim_pinned_learn(void) {
    for (journey **at = &journeys; *at != NULL;) {
        journey *j = *at;
        if (!j->done || !sim_clock_covers(sim_clock_host(), &j->clock)) {
            at = &j->next;
            continue;
        }
        check_unchanged(j);
        if (!j->to_device && !sim_planted("read")) memcpy(j->at, j->bytes, j->count);
        *at = j->next;
        free(j->bytes);
        free(j);
    }
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
    *m = (pinned){pinned_memory, *out, bytes};
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
        pinned *found = *m;
        for (const journey *j = journeys; j != NULL; j = j->next)
            if (j->host == found) sim_fault("pinned memory is freed before the host knows that a copy of it is done");
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
    journey *j = t->journey;
    if (t->with_host && t->host == NULL)
        sim_touch_any(t->from, t->bytes); /* a test looks at all memory */
    else
        sim_touch(t->from, t->bytes, false);
    sim_touch(t->to, t->bytes, true);
    if (j != NULL) {
        check_unchanged(j);
        j->done = true;
        if (j->to_device)
            memcpy(sim_memory_reach(t->to), j->stale != NULL ? j->stale : j->bytes, t->bytes);
        else
            memcpy(j->bytes, sim_memory_reach(t->from), t->bytes);
        return;
    }
    memcpy(sim_memory_reach(t->to), t->snapshot != NULL ? t->snapshot : sim_memory_reach(t->from), t->bytes);
}

static void fill_run(void *state) {
    transfer *t = state;
    sim_touch(t->to, t->bytes, true);
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

/* What the host holds is kept as it was when the copy was asked for. */
static transfer take(transfer t) {
    if (t.host != NULL) {
        t.journey = journey_new(&t);
    } else if (t.to_device) {
        t.snapshot = malloc(t.bytes + 1);
        if (t.snapshot == NULL) sim_fault("out of host memory");
        memcpy(t.snapshot, t.from, t.bytes);
    }
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
    if (!captured) sim_pinned_stamp(&s->clock);
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

/* From the device to pageable memory the call returns when the copy is done. */
API cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                cudaStream_t stream) {
    sim_lock();
    cudaError_t code = copy_push(to, from, bytes, kind, stream);
    if (code == cudaSuccess && kind == cudaMemcpyDeviceToHost && pinned_at(to, bytes) == NULL)
        sim_wait_stream(sim_stream_of(stream));
    sim_unlock();
    return code;
}

/* From pageable memory it may return before the last bytes have arrived: then the host has not waited for them. */
API cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    sim_lock();
    cudaError_t code = sim_capture_forbids(NULL);
    if (code == cudaSuccess) code = copy_push(to, from, bytes, kind, NULL);
    sim_stream *s = sim_stream_of(NULL);
    if (code == cudaSuccess && kind == cudaMemcpyHostToDevice && pinned_at(from, bytes) == NULL)
        sim_drain(stream_idle, s);
    else if (code == cudaSuccess)
        sim_wait_stream(s);
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
