/* A communicator between threads of one process, for tests: any node shape, messages that arrive late and in random
 * order, and send buffers that are read late (a buffer reused too early gives wrong bits). */
#ifndef LK_TEST_LOOPBACK_H
#define LK_TEST_LOOPBACK_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm_impl.h"

#define LOOP_RANKS 16
#define LOOP_SLOTS 8

typedef enum { LOOP_SEND, LOOP_RECEIVE, LOOP_COLLECTIVE } loop_kind;

struct lk_request {
    loop_kind kind;
    lk_channel channel;
    int from, to, tag, delay;
    char *data;
    int64_t bytes;
    struct lk_request *peer; /* matched message */
    bool over;
    int64_t sequence; /* collectives */
    struct lk_request *next;
    struct lk_request *older; /* all of a rank that were never over are freed with it */
    struct lk_request *newer;
};

typedef struct loop_slot {
    int64_t sequence;
    int arrived, left;
    bool done;
    const void *mine[LOOP_RANKS];
    void *into[LOOP_RANKS];
} loop_slot;

typedef struct loop_world {
    pthread_mutex_t lock;
    int size;
    int nodes[LOOP_RANKS];
    const char *hosts[LOOP_RANKS];
    lk_request *posted[LK_CHANNEL_COUNT][LOOP_RANKS][LOOP_RANKS][2]; /* unmatched sends, receives; in order */
    loop_slot slots[2][LOOP_SLOTS];                                  /* CONTROL, CHECK */
    lk_rank_record records[LOOP_RANKS];
    int aborted[LOOP_RANKS]; /* exit status + 1 */
} loop_world;

typedef struct loop_impl {
    lk_comm_state state;
    loop_world *world;
    int64_t sequence[2];
    unsigned random;
    lk_request *alive;
    int late; /* tests before a message is seen: up to this many */
} loop_impl;

static inline loop_impl *loop_of(lk_comm *comm) { return comm->impl; }

static inline lk_request *loop_request(lk_comm *comm, loop_kind kind) {
    loop_impl *impl = loop_of(comm);
    lk_request *request = calloc(1, sizeof *request);
    request->kind = kind;
    request->older = impl->alive;
    if (impl->alive != NULL) impl->alive->newer = request;
    impl->alive = request;
    request->delay = impl->late > 0 ? (int)(rand_r(&impl->random) % (unsigned)(impl->late + 1)) : 0;
    return request;
}

static inline lk_status loop_post(lk_comm *comm, loop_kind kind, lk_channel channel, void *data, int64_t bytes,
                                  int from, int to, int tag, lk_request **out) {
    loop_world *world = loop_of(comm)->world;
    lk_request *request = loop_request(comm, kind);
    request->channel = channel;
    request->from = from;
    request->to = to;
    request->tag = tag;
    request->data = data;
    request->bytes = bytes;
    pthread_mutex_lock(&world->lock);
    lk_request **others = &world->posted[channel][from][to][kind == LOOP_SEND];
    while (*others != NULL && (*others)->tag != tag) others = &(*others)->next;
    if (*others != NULL) {
        request->peer = *others;
        request->peer->peer = request;
        *others = request->peer->next;
    } else {
        lk_request **own = &world->posted[channel][from][to][kind == LOOP_RECEIVE];
        while (*own != NULL) own = &(*own)->next;
        *own = request;
    }
    pthread_mutex_unlock(&world->lock);
    *out = request;
    return LK_OK;
}

static inline lk_status loop_send(lk_comm *comm, lk_channel channel, const void *data, int64_t bytes, int to, int tag,
                                  lk_request **request, lk_error *err) {
    (void)err;
    return loop_post(comm, LOOP_SEND, channel, (void *)data, bytes, comm->rank, to, tag, request);
}

static inline lk_status loop_receive(lk_comm *comm, lk_channel channel, void *data, int64_t bytes, int from, int tag,
                                     lk_request **request, lk_error *err) {
    (void)err;
    return loop_post(comm, LOOP_RECEIVE, channel, data, bytes, from, comm->rank, tag, request);
}

/* Bytes move when the receiver looks; only then is the send over. */
static inline lk_status loop_test_message(lk_request *request, lk_error *err) {
    if (request->kind == LOOP_SEND || request->peer == NULL || request->delay-- > 0) return LK_OK;
    if (request->peer->bytes > request->bytes) return lk_fail(err, LK_ERR_COMM, "message truncated");
    memcpy(request->data, request->peer->data, (size_t)request->peer->bytes);
    request->peer->over = true;
    request->over = true;
    return LK_OK;
}

static inline lk_status loop_test(lk_comm *comm, lk_request **request, bool *done, lk_error *err) {
    loop_impl *impl = loop_of(comm);
    loop_world *world = impl->world;
    lk_request *r = *request;
    lk_status status = LK_OK;
    *done = true;
    if (r == NULL) return LK_OK;
    pthread_mutex_lock(&world->lock);
    if (r->kind == LOOP_COLLECTIVE) {
        int lane = r->channel == LK_CHANNEL_CHECK;
        loop_slot *slot = &world->slots[lane][r->sequence % LOOP_SLOTS];
        r->over = slot->done;
        if (slot->done && ++slot->left == world->size) memset(slot, 0, sizeof *slot);
    } else {
        status = loop_test_message(r, err);
    }
    *done = r->over;
    pthread_mutex_unlock(&world->lock);
    if (*done) {
        if (r->older != NULL) r->older->newer = r->newer;
        if (r->newer != NULL)
            r->newer->older = r->older;
        else
            impl->alive = r->older;
        free(r);
        *request = NULL;
    }
    return status;
}

static inline lk_status loop_probe(lk_comm *comm, lk_channel channel, bool *found, lk_error *err) {
    (void)err;
    loop_world *world = loop_of(comm)->world;
    *found = false;
    pthread_mutex_lock(&world->lock);
    for (int from = 0; from < world->size; from++)
        if (world->posted[channel][from][comm->rank][0] != NULL) *found = true;
    pthread_mutex_unlock(&world->lock);
    return LK_OK;
}

typedef void (*loop_work)(loop_world *world, loop_slot *slot, int64_t a, int64_t b);

/* The last to arrive does the work for all. */
static inline lk_status loop_collective(lk_comm *comm, lk_channel channel, const void *mine, void *into, loop_work work,
                                        int64_t a, int64_t b, lk_request **out) {
    loop_impl *impl = loop_of(comm);
    loop_world *world = impl->world;
    int lane = channel == LK_CHANNEL_CHECK;
    lk_request *request = loop_request(comm, LOOP_COLLECTIVE);
    request->channel = channel;
    request->sequence = impl->sequence[lane]++;
    pthread_mutex_lock(&world->lock);
    loop_slot *slot = &world->slots[lane][request->sequence % LOOP_SLOTS];
    slot->mine[comm->rank] = mine;
    slot->into[comm->rank] = into;
    if (++slot->arrived == world->size) {
        if (work != NULL) work(world, slot, a, b);
        slot->done = true;
    }
    pthread_mutex_unlock(&world->lock);
    *out = request;
    return LK_OK;
}

static inline lk_status loop_barrier(lk_comm *comm, lk_request **request, lk_error *err) {
    (void)err;
    return loop_collective(comm, LK_CHANNEL_CONTROL, NULL, NULL, NULL, 0, 0, request);
}

static inline void loop_do_broadcast(loop_world *world, loop_slot *slot, int64_t bytes, int64_t root) {
    for (int rank = 0; rank < world->size; rank++)
        if (rank != root) memcpy(slot->into[rank], slot->into[root], (size_t)bytes);
}

static inline lk_status loop_broadcast(lk_comm *comm, void *data, int64_t bytes, int root, lk_request **request,
                                       lk_error *err) {
    (void)err;
    return loop_collective(comm, LK_CHANNEL_CONTROL, NULL, data, loop_do_broadcast, bytes, root, request);
}

static inline void loop_do_allgather(loop_world *world, loop_slot *slot, int64_t bytes, int64_t stride) {
    for (int to = 0; to < world->size; to++)
        for (int from = 0; from < world->size; from++)
            memcpy((char *)slot->into[to] + from * stride, slot->mine[from], (size_t)bytes);
}

static inline lk_status loop_allgather(lk_comm *comm, lk_channel channel, const void *mine, void *all, int64_t bytes,
                                       int64_t stride, lk_request **request, lk_error *err) {
    (void)err;
    return loop_collective(comm, channel, mine, all, loop_do_allgather, bytes, stride, request);
}

static inline void loop_do_allreduce(loop_world *world, loop_slot *slot, int64_t count, int64_t reduction) {
    for (int64_t i = 0; i < count; i++) {
        int64_t result = ((int64_t *)slot->into[0])[i];
        for (int rank = 1; rank < world->size; rank++) {
            int64_t other = ((int64_t *)slot->into[rank])[i];
            if (reduction == LK_REDUCE_SUM) result += other;
            if (reduction == LK_REDUCE_MAX && other > result) result = other;
            if (reduction == LK_REDUCE_MIN && other < result) result = other;
        }
        for (int rank = 0; rank < world->size; rank++) ((int64_t *)slot->into[rank])[i] = result;
    }
}

static inline lk_status loop_allreduce(lk_comm *comm, int64_t *values, int64_t count, lk_reduction reduction,
                                       lk_request **request, lk_error *err) {
    (void)err;
    return loop_collective(comm, LK_CHANNEL_CONTROL, NULL, values, loop_do_allreduce, count, reduction, request);
}

static inline void loop_abort(lk_comm *comm, int exit_status) {
    loop_of(comm)->world->aborted[comm->rank] = exit_status + 1;
}

static inline void loop_free(lk_comm *comm) {
    for (lk_request *at = loop_of(comm)->alive; at != NULL;) {
        lk_request *older = at->older;
        free(at);
        at = older;
    }
    lk_comm_state_free(comm->impl);
    free(comm->impl);
    free(comm);
}

static const struct lk_comm_functions loop_functions = {.barrier = loop_barrier,
                                                        .broadcast = loop_broadcast,
                                                        .allgather = loop_allgather,
                                                        .allreduce = loop_allreduce,
                                                        .send = loop_send,
                                                        .receive = loop_receive,
                                                        .test = loop_test,
                                                        .probe = loop_probe,
                                                        .abort = loop_abort,
                                                        .free = loop_free};

/* node_sizes: ranks of each node, ended by 0. */
static inline void loop_world_init(loop_world *world, const int *node_sizes) {
    static const char *const names[] = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"};
    memset(world, 0, sizeof *world);
    pthread_mutex_init(&world->lock, NULL);
    for (int node = 0; node_sizes[node] > 0; node++)
        for (int i = 0; i < node_sizes[node]; i++) {
            world->hosts[world->size] = names[node % 8];
            world->nodes[world->size++] = node;
        }
}

static inline lk_comm *loop_comm(loop_world *world, int rank, double timeout, int late) {
    lk_comm *comm = calloc(1, sizeof *comm);
    loop_impl *impl = calloc(1, sizeof *impl);
    impl->world = world;
    impl->random = (unsigned)rank * 7919u + 1u;
    impl->late = late;
    int first = rank;
    while (first > 0 && world->nodes[first - 1] == world->nodes[rank]) first--;
    *comm = (lk_comm){.rank = rank,
                      .size = world->size,
                      .node = world->nodes[rank],
                      .node_count = world->nodes[world->size - 1] + 1,
                      .node_rank = rank - first,
                      .hosts = world->hosts,
                      .timeout = timeout,
                      .impl = impl,
                      .functions = &loop_functions};
    for (int i = first; i < world->size && world->nodes[i] == world->nodes[rank]; i++) comm->node_size++;
    impl->state.records = &world->records[first];
    impl->state.record_count = comm->node_size;
    lk_comm_state_init(comm);
    impl->state.crowded = true;
    return comm;
}

typedef void (*loop_rank)(lk_comm *comm, void *context);

typedef struct loop_thread {
    pthread_t thread;
    lk_comm *comm;
    loop_rank run;
    void *context;
} loop_thread;

static void *loop_thread_main(void *argument) {
    loop_thread *thread = argument;
    thread->run(thread->comm, thread->context);
    return NULL;
}

/* Runs one thread per rank and waits for all. */
static inline void loop_run(loop_world *world, double timeout, int late, loop_rank run, void *context) {
    loop_thread threads[LOOP_RANKS];
    for (int rank = 0; rank < world->size; rank++)
        threads[rank] = (loop_thread){.comm = loop_comm(world, rank, timeout, late), .run = run, .context = context};
    for (int rank = 0; rank < world->size; rank++)
        pthread_create(&threads[rank].thread, NULL, loop_thread_main, &threads[rank]);
    for (int rank = 0; rank < world->size; rank++) pthread_join(threads[rank].thread, NULL);
    for (int rank = 0; rank < world->size; rank++) lk_comm_free(threads[rank].comm);
}

#endif
