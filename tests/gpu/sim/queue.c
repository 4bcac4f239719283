/* Streams and the order in which their work is done. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

typedef struct sim_item item;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sim_stream default_stream = {.alive = true};
static sim_stream *streams = &default_stream;
static uint64_t state, enqueued;
static int64_t launches;
static int outside, created;

void sim_fault(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("stand-in GPU: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

int64_t sim_setting(const char *name, int64_t fallback) {
    const char *text = getenv(name);
    return text == NULL ? fallback : strtoll(text, NULL, 0);
}

/* splitmix64 */
uint64_t sim_random(void) {
    if (state == 0) state = (uint64_t)sim_setting("LK_SIM_SEED", 1) * UINT64_C(0x9e3779b97f4a7c15) + 1;
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void sim_lock(void) { pthread_mutex_lock(&mutex); }
void sim_unlock(void) { pthread_mutex_unlock(&mutex); }

sim_stream *sim_stream_of(cudaStream_t stream) {
    if (stream == NULL) return &default_stream;
    sim_stream *s = streams;
    for (; s != NULL; s = s->next)
        if (s == (sim_stream *)stream && s->alive) break;
    if (s != NULL && s->gpu != sim_current_gpu())
        sim_fault("a stream of GPU %d is used where GPU %d is current", s->gpu, sim_current_gpu());
    if (s != NULL) return s;
    sim_fault("a call names a stream that is none, or was destroyed");
}

sim_stream *sim_stream_new(bool blocking) {
    sim_stream *s = calloc(1, sizeof *s);
    if (s == NULL) sim_fault("out of host memory");
    s->alive = true;
    s->blocking = blocking;
    s->gpu = sim_current_gpu();
    s->number = ++created;
    s->track = sim_track_new();
    s->next = default_stream.next;
    default_stream.next = s;
    return s;
}

void sim_stream_delete(sim_stream *stream) {
    for (sim_stream *s = &default_stream; s->next != NULL; s = s->next) {
        if (s->next != stream) continue;
        s->next = stream->next;
        sim_track_free(stream->track);
        for (int i = 0; i < SIM_CHAINS; i++)
            if (stream->branches[i] != 0) sim_track_free(stream->branches[i]);
        free(stream);
        return;
    }
}

void sim_forget(cudaStream_t handle, const sim_range *ranges, int count) {
    sim_lock();
    sim_stream *stream = sim_stream_of(handle);
    stream->forgotten.count = count;
    for (int i = 0; i < count; i++) stream->forgotten.ranges[i] = ranges[i];
    sim_unlock();
}

sim_forgotten sim_take_forgotten(sim_stream *stream) {
    sim_forgotten taken = stream->forgotten;
    stream->forgotten.count = 0;
    return taken;
}

static void append(sim_stream *stream, sim_work work) {
    item *new = malloc(sizeof *new);
    if (new == NULL) sim_fault("out of host memory");
    sim_clock_enqueue(stream);
    *new = (item){.work = work, .number = ++enqueued, .clock = stream->clock};
    new->forgotten = sim_take_forgotten(stream);
    if (stream->last == NULL)
        stream->first = new;
    else
        stream->last->next = new;
    stream->last = new;
}

static bool is_launch(const sim_work *work) { return !work->transfer || strcmp(work->what, "a fill") == 0; }

void sim_push(sim_stream *stream, sim_work work) {
    if (sim_capture_push(stream, &work)) return;
    sim_count(work.what);
    if (is_launch(&work)) sim_count("a launch by the host");
    launches += is_launch(&work);
    append(stream, work);
}

void sim_push_graph(sim_stream *stream, sim_work graph, sim_work *const *nodes, int count) {
    sim_count(graph.what);
    sim_count("a launch by the host");
    for (int i = 0; i < count; i++) {
        sim_count(nodes[i]->what);
        launches += is_launch(nodes[i]);
    }
    append(stream, graph);
}

sim_stream *sim_streams(void) { return streams; }

int64_t sim_launches(void) {
    sim_lock();
    int64_t count = launches;
    sim_unlock();
    return count;
}

bool sim_stream_idle(const sim_stream *stream) { return stream->first == NULL; }

/* A blocking stream and the default stream wait for what was given to the other before. */
static bool in_turn(const sim_stream *s) {
    uint64_t number = s->first->number;
    if (s->first->work.ready != NULL && !s->first->work.ready(s->first->work.state)) return false;
    if (s->blocking) return default_stream.first == NULL || default_stream.first->number > number;
    if (s != &default_stream) return true;
    for (const sim_stream *other = streams; other != NULL; other = other->next)
        if (other->blocking && other->first != NULL && other->first->number < number) return false;
    return true;
}

static sim_stream *draw(void) {
    int ready = 0;
    sim_stream *chosen = NULL;
    for (sim_stream *s = streams; s != NULL; s = s->next)
        if (s->first != NULL && in_turn(s) && sim_random() % (uint64_t)++ready == 0) chosen = s;
    return chosen;
}

static void run_head(sim_stream *s, bool *opened) {
    item *head = s->first;
    s->first = head->next;
    if (s->first == NULL) s->last = NULL;
    if (!head->work.transfer && !*opened) {
        sim_memory_open();
        *opened = true;
    }
    sim_watch_begin(head->work.what, s->number, s->track, &head->clock);
    sim_forget_now(&head->forgotten);
    head->work.run(head->work.state);
    sim_watch_end();
    head->work.drop(head->work.state);
    free(head);
}

void sim_drain(bool (*until)(void *argument), void *argument) {
    bool opened = false;
    if (!until(argument)) sim_count("a wait of the host");
    while (!until(argument)) {
        sim_stream *s = draw();
        if (s != NULL)
            run_head(s, &opened);
        else if (outside > 0)
            usleep(100);
        else
            sim_fault("a call waits for what nobody has enqueued");
    }
    if (opened) sim_memory_close();
}

void sim_advance(void) {
    bool opened = false;
    for (uint64_t left = sim_random() % 4; left > 0; left--) {
        sim_stream *s = draw();
        if (s == NULL) break;
        run_head(s, &opened);
    }
    if (opened) sim_memory_close();
}

void sim_outside(int change) { outside += change; }

static bool all_idle(void *argument) {
    (void)argument;
    for (sim_stream *s = streams; s != NULL; s = s->next)
        if (s->first != NULL) return false;
    return true;
}

void sim_drain_all(void) { sim_drain(all_idle, NULL); }

cudaError_t sim_enqueue(cudaStream_t stream, sim_work work) {
    sim_lock();
    sim_push(sim_stream_of(stream), work);
    sim_unlock();
    return cudaSuccess;
}

size_t sim_device_room(const void *p) {
    sim_lock();
    size_t room = sim_memory_room(p);
    sim_unlock();
    return room;
}
