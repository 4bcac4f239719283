/* Stream capture and graphs: what a stream is given while it is captured becomes nodes and is not done; a launch does
 * the nodes in a random order that their edges allow. What must not be called meanwhile breaks the capture, as it does
 * on a GPU. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define API SIM_API

typedef struct node {
    sim_work work;
    sim_tails after;
    int chain, place; /* place: in the chain */
    sim_forgotten forgotten;
} node;

struct sim_graph {
    node *nodes;
    int count, capacity;
    int uses; /* handles and launches under way */
    sim_chains chains;
    int ends[SIM_CHAINS]; /* the last node of each chain */
    sim_stream *origin;
    pthread_t owner;
    cudaError_t broken; /* why the capture is void; cudaSuccess: it is not */
};

/* A launch: each node's state. */
typedef struct launch {
    sim_graph *graph;
    void **states;
    int stream; /* its number */
    sim_tracks tracks;
} launch;

static bool is_capturing(const sim_stream *stream) { return stream->capture != NULL; }

static sim_graph *capture_of_thread(void) {
    for (sim_stream *s = sim_streams(); s != NULL; s = s->next)
        if (s->capture != NULL && pthread_equal(s->capture->owner, pthread_self())) return s->capture;
    return NULL;
}

static void release(sim_graph *graph) {
    if (--graph->uses > 0) return;
    for (int i = 0; i < graph->count; i++) graph->nodes[i].work.drop(graph->nodes[i].work.state);
    free(graph->nodes);
    free(graph);
}

static cudaError_t break_capture(sim_graph *graph, cudaError_t why) {
    if (graph->broken == cudaSuccess) graph->broken = why;
    return why;
}

static void add_tail(sim_tails *tails, int index) {
    for (int i = 0; i < tails->count; i++)
        if (tails->nodes[i] == index) return;
    if (tails->count == SIM_MOST_TAILS) sim_fault("more than %d branches of a capture meet", SIM_MOST_TAILS);
    tails->nodes[tails->count++] = index;
}

/* Behind the end of a chain that the last node comes after, or at the start of another. */
static void put_in_chain(sim_graph *graph) {
    node *n = &graph->nodes[graph->count - 1];
    sim_chains *chains = &graph->chains;
    for (n->chain = 0; n->chain < chains->count; n->chain++)
        for (int k = 0; k < n->after.count; k++)
            if (n->after.nodes[k] == graph->ends[n->chain]) goto found;
    if (chains->count == SIM_CHAINS) sim_fault("more than %d branches in a graph", SIM_CHAINS);
    chains->count++;
found:
    n->place = chains->lengths[n->chain]++;
    graph->ends[n->chain] = graph->count - 1;
}

bool sim_capture_push(sim_stream *stream, sim_work *work) {
    sim_graph *graph = stream->capture;
    if (graph == NULL) return false;
    if (work->ready != NULL) sim_fault("the stand-in cannot capture %s", work->what);
    if (graph->count == graph->capacity) {
        graph->capacity = graph->capacity == 0 ? 64 : 2 * graph->capacity;
        graph->nodes = realloc(graph->nodes, (size_t)graph->capacity * sizeof *graph->nodes);
        if (graph->nodes == NULL) sim_fault("out of host memory");
    }
    graph->nodes[graph->count] = (node){.work = *work, .after = stream->tails};
    graph->nodes[graph->count].forgotten = sim_take_forgotten(stream);
    stream->tails = (sim_tails){{graph->count++}, 1};
    put_in_chain(graph);
    return true;
}

bool sim_capture_record(struct event *event, sim_stream *stream) {
    event->capture = stream->capture;
    event->tails = stream->tails;
    return stream->capture != NULL;
}

/* Is this capture under way? */
static bool is_active(const sim_graph *graph) {
    for (sim_stream *s = sim_streams(); s != NULL; s = s->next)
        if (s->capture == graph) return true;
    return false;
}

cudaError_t sim_capture_wait(sim_stream *stream, struct event *event) {
    if (event->capture != NULL && !is_active(event->capture))
        sim_fault("a stream waits for an event of a capture that is over");
    if (event->capture == NULL && stream->capture == NULL) return cudaErrorNotReady;
    if (event->capture == NULL) return break_capture(stream->capture, cudaErrorStreamCaptureIsolation);
    if (stream->capture != NULL && stream->capture != event->capture)
        return break_capture(stream->capture, cudaErrorStreamCaptureMerge);
    if (stream->capture == NULL) stream->tails.count = 0;
    stream->capture = event->capture;
    for (int i = 0; i < event->tails.count; i++) add_tail(&stream->tails, event->tails.nodes[i]);
    return cudaSuccess;
}

cudaError_t sim_capture_forbids(sim_stream *stream) {
    if (stream != NULL && is_capturing(stream))
        return break_capture(stream->capture, cudaErrorStreamCaptureUnsupported);
    if (stream != NULL && stream != sim_streams()) return cudaSuccess;
    sim_graph *own = capture_of_thread();
    if (stream == NULL) return own == NULL ? cudaSuccess : break_capture(own, cudaErrorStreamCaptureUnsupported);
    for (sim_stream *s = sim_streams(); s != NULL; s = s->next) /* the default stream waits for every blocking one */
        if (s->blocking && is_capturing(s)) return break_capture(s->capture, cudaErrorStreamCaptureImplicit);
    return cudaSuccess;
}

API cudaError_t cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode) {
    cudaError_t code = cudaSuccess;
    if (mode != cudaStreamCaptureModeThreadLocal) sim_fault("the stand-in captures with thread-local mode alone");
    sim_lock();
    sim_stream *stream = sim_stream_of(handle);
    if (handle == NULL || is_capturing(stream)) {
        code = cudaErrorIllegalState;
    } else {
        sim_graph *graph = calloc(1, sizeof *graph);
        if (graph == NULL) sim_fault("out of host memory");
        graph->uses = 1;
        graph->origin = stream;
        graph->owner = pthread_self();
        stream->capture = graph;
        stream->tails.count = 0;
    }
    sim_unlock();
    return code;
}

/* Does all that the capture holds lead to the origin's last nodes? */
static bool is_joined(const sim_graph *graph) {
    bool *seen = calloc((size_t)graph->count + 1, sizeof *seen), joined = true;
    if (seen == NULL) sim_fault("out of host memory");
    for (int i = 0; i < graph->origin->tails.count; i++) seen[graph->origin->tails.nodes[i]] = true;
    for (int i = graph->count - 1; i >= 0; i--)
        for (int k = 0; seen[i] && k < graph->nodes[i].after.count; k++) seen[graph->nodes[i].after.nodes[k]] = true;
    for (int i = 0; i < graph->count; i++) joined = joined && seen[i];
    free(seen);
    return joined;
}

API cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out) {
    cudaError_t code = cudaSuccess;
    sim_lock();
    sim_stream *stream = sim_stream_of(handle);
    sim_graph *graph = stream->capture;
    *out = NULL;
    if (graph == NULL)
        code = cudaErrorIllegalState;
    else if (!pthread_equal(graph->owner, pthread_self()))
        code = cudaErrorStreamCaptureWrongThread;
    else if (graph->origin != stream)
        code = break_capture(graph, cudaErrorStreamCaptureUnmatched);
    else {
        if (graph->broken != cudaSuccess)
            code = cudaErrorStreamCaptureInvalidated;
        else if (!is_joined(graph))
            code = cudaErrorStreamCaptureUnjoined;
        for (sim_stream *s = sim_streams(); s != NULL; s = s->next)
            if (s->capture == graph) s->capture = NULL;
        graph->origin = NULL;
        if (code == cudaSuccess)
            *out = (cudaGraph_t)graph;
        else
            release(graph);
    }
    sim_unlock();
    return code;
}

API cudaError_t cudaStreamIsCapturing(cudaStream_t handle, enum cudaStreamCaptureStatus *status) {
    sim_lock();
    const sim_graph *graph = sim_stream_of(handle)->capture;
    *status = graph == NULL                  ? cudaStreamCaptureStatusNone
              : graph->broken != cudaSuccess ? cudaStreamCaptureStatusInvalidated
                                             : cudaStreamCaptureStatusActive;
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    static int64_t made; /* LK_SIM_GRAPHS: how many can be */
    if (flags != 0 || graph == NULL) return cudaErrorInvalidValue;
    sim_lock();
    bool fails = made++ >= sim_setting("LK_SIM_GRAPHS", INT64_MAX);
    if (!fails) {
        ((sim_graph *)graph)->uses++;
        *exec = (cudaGraphExec_t)graph;
    }
    sim_unlock();
    return fails ? cudaErrorNotSupported : cudaSuccess;
}

API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    sim_lock();
    release((sim_graph *)graph);
    sim_unlock();
    return cudaSuccess;
}

API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    sim_lock();
    release((sim_graph *)exec);
    sim_unlock();
    return cudaSuccess;
}

static bool may_run(const sim_graph *graph, const bool *done, int i) {
    for (int k = 0; k < graph->nodes[i].after.count; k++)
        if (!done[graph->nodes[i].after.nodes[k]]) return false;
    return !done[i];
}

/* A node's clock, of those that it comes after. */
static void set_clock(const launch *l, sim_clock *clocks, int i) {
    const node *n = &l->graph->nodes[i];
    int track = l->tracks.track[n->chain];
    clocks[i] = l->tracks.before;
    for (int k = 0; k < n->after.count; k++) sim_clock_join(&clocks[i], &clocks[n->after.nodes[k]]);
    clocks[i].at[track] = l->tracks.start[n->chain] + (uint32_t)n->place + 1;
}

static void run_node(const launch *l, int i, sim_clock *clocks) {
    const node *n = &l->graph->nodes[i];
    set_clock(l, clocks, i);
    sim_watch_begin(n->work.what, l->stream, l->tracks.track[n->chain], &clocks[i]);
    sim_forget_now(&n->forgotten);
    n->work.run(l->states[i]);
    sim_watch_end();
}

static void run_graph(void *state) {
    launch *l = state;
    sim_graph *graph = l->graph;
    bool *done = calloc((size_t)graph->count + 1, sizeof *done);
    sim_clock *clocks = malloc(((size_t)graph->count + 1) * sizeof *clocks);
    if (done == NULL || clocks == NULL) sim_fault("out of host memory");
    for (int left = graph->count, first = 0; left > 0; left--) {
        int chosen = -1, choices = 0;
        while (done[first]) first++;
        /* A node waits for earlier ones only: far behind the first that is left, few may run. */
        for (int i = first; i < graph->count && i < first + 64; i++)
            if (may_run(graph, done, i) && sim_random() % (uint64_t)++choices == 0) chosen = i;
        run_node(l, chosen, clocks);
        done[chosen] = true;
    }
    free(clocks);
    free(done);
}

static void drop_launch(void *state) {
    launch *l = state;
    for (int i = 0; i < l->graph->count; i++)
        if (l->graph->nodes[i].work.again != NULL) l->graph->nodes[i].work.drop(l->states[i]);
    release(l->graph);
    free(l->states);
    free(l);
}

static bool same_work(const sim_graph *one, const sim_graph *other) {
    bool same = one->count == other->count;
    for (int i = 0; same && i < one->count; i++) same = one->nodes[i].work.what == other->nodes[i].work.what;
    return same;
}

/* The graph that a planted fault puts in this one's place, or itself. */
static sim_graph *planted_graph(sim_graph *graph) {
    static sim_graph *seen[64];
    sim_graph *found = graph;
    sim_lock();
    if (sim_planted("rate") && strncmp(graph->nodes[0].work.what, "run_tasks", 9) == 0) sim_plant_stale_copy();
    for (int i = 0; i < 64 && sim_planted("pointer"); i++) {
        if (seen[i] == NULL) (seen[i] = graph)->uses++;
        if (!same_work(seen[i], graph)) continue;
        found = seen[i];
        break;
    }
    sim_unlock();
    return found;
}

API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle) {
    sim_graph *graph = planted_graph((sim_graph *)exec);
    launch *l = malloc(sizeof *l);
    sim_work **nodes = malloc(((size_t)graph->count + 1) * sizeof *nodes);
    sim_lock();
    sim_stream *stream = sim_stream_of(handle);
    if (is_capturing(stream)) sim_fault("the stand-in captures no launch of a graph");
    void **states = malloc(((size_t)graph->count + 1) * sizeof *states);
    if (l == NULL || nodes == NULL || states == NULL) sim_fault("out of host memory");
    for (int i = 0; i < graph->count; i++) {
        nodes[i] = &graph->nodes[i].work;
        states[i] = nodes[i]->again != NULL ? nodes[i]->again(nodes[i]->state) : nodes[i]->state;
    }
    graph->uses++;
    *l = (launch){.graph = graph, .states = states, .stream = stream->number};
    sim_push_graph(stream, (sim_work){"a graph", run_graph, drop_launch, l, false, NULL, NULL}, nodes, graph->count);
    sim_clock_launch(stream, &graph->chains, &l->tracks);
    sim_pinned_stamp(&stream->clock);
    sim_unlock();
    free(nodes);
    return cudaSuccess;
}
