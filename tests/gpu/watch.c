/* What the watched stand-in calls a race, and what it does not, by the runtime's own functions. This file is compiled
 * with the thread sanitizer's calls, so that what its kernels touch is seen. Each case runs in a process of its own, in
 * several of the orders that the stand-in draws: what is found must not depend on them. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

#define BYTES 64
#define SEEDS 4

typedef struct touch {
    volatile float *at;
    bool write;
} touch;

static float *memory;
static cudaStream_t first, second, third; /* not ordered with the default stream */
static cudaEvent_t event, other;

static void must(cudaError_t code) {
    if (code != cudaSuccess) _exit(2);
}

static void run_touch(void *state) {
    const touch *t = state;
    if (t->write)
        *t->at = 1;
    else
        (void)*t->at;
}

static void launch(const char *name, cudaStream_t stream, float *at, bool write) {
    touch *t = malloc(sizeof *t);
    if (t == NULL) _exit(2);
    *t = (touch){at, write};
    must(sim_launch(name, (dim3){1, 1, 1}, (dim3){1, 1, 1}, stream, run_touch, t, free));
}

static void writes(cudaStream_t stream) { launch("writer", stream, memory, true); }
static void reads(cudaStream_t stream) { launch("reader", stream, memory, false); }

/* `later` goes on behind what `earlier` was given so far. */
static void order(cudaStream_t earlier, cudaStream_t later, cudaEvent_t by) {
    must(cudaEventRecord(by, earlier));
    must(cudaStreamWaitEvent(later, by, 0));
}

static void unordered_writes(void) { writes(first), writes(second); }
static void unordered_read(void) { writes(first), reads(second); }
static void an_event_orders(void) { writes(first), order(first, second, event), reads(second), writes(second); }

static void an_event_too_early(void) {
    order(first, second, event);
    writes(first), reads(second);
}

static void events_order_in_turn(void) {
    writes(first), order(first, second, event), order(second, third, other), writes(third);
}

static void readers_do_not_race(void) {
    writes(first), order(first, second, event), order(first, third, event);
    reads(second), reads(third), reads(first);
}

static void one_of_two_readers_is_not_waited_for(void) {
    readers_do_not_race();
    order(second, first, event);
    writes(first);
}

static void all_readers_are_waited_for(void) {
    readers_do_not_race();
    order(second, first, event), order(third, first, other);
    writes(first);
}

static void the_host_orders(void) {
    writes(first);
    must(cudaStreamSynchronize(first));
    writes(second);
}

static void a_query_orders(void) {
    writes(first);
    while (cudaStreamQuery(first) == cudaErrorNotReady) continue;
    writes(second);
}

static void another_wait_of_the_host_does_not(void) {
    reads(second), writes(first);
    must(cudaStreamSynchronize(second));
    writes(second);
}

static void the_default_stream_is_ordered(void) {
    cudaStream_t blocking;
    must(cudaStreamCreate(&blocking));
    writes(NULL), writes(blocking), writes(NULL);
}

static void the_default_stream_is_not_ordered_with_all(void) { writes(NULL), writes(first); }

static cudaGraphExec_t graph_of(bool joined_before_write) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    must(cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal));
    writes(first), order(first, second, event), reads(first), reads(second);
    if (!joined_before_write) writes(first);
    order(second, first, other);
    writes(first);
    must(cudaStreamEndCapture(first, &graph));
    must(cudaGraphInstantiate(&exec, graph, 0));
    return exec;
}

static void branches_that_meet(void) {
    cudaGraphExec_t exec = graph_of(true);
    must(cudaGraphLaunch(exec, first)), must(cudaGraphLaunch(exec, first)), writes(first);
}

static void branches_that_do_not(void) { must(cudaGraphLaunch(graph_of(false), first)); }

static void two_launches_of_a_graph(void) {
    cudaGraphExec_t exec = graph_of(true);
    must(cudaGraphLaunch(exec, first)), must(cudaGraphLaunch(exec, third));
}

static void beyond_an_allocation(void) { launch("far reader", first, memory + BYTES / 4 + 2, false); }

static void memory_that_was_freed(void) {
    must(cudaFree(memory));
    writes(first);
}

static void fresh_memory(void) {
    float *fresh;
    must(cudaMalloc((void **)&fresh, BYTES));
    launch("early reader", first, fresh, false);
}

static void a_copy_races(void) {
    static float host[BYTES / sizeof(float)];
    writes(second);
    must(cudaMemcpyAsync(memory, host, BYTES, cudaMemcpyHostToDevice, first));
}

static float *pinned(void) {
    float *host;
    must(cudaMallocHost((void **)&host, BYTES));
    memset(host, 0, BYTES);
    return host;
}

static void pinned_memory_changes_early(void) {
    float *host = pinned();
    must(cudaMemcpyAsync(memory, host, BYTES, cudaMemcpyHostToDevice, first));
    must(cudaStreamSynchronize(second)); /* says nothing about the first */
    host[0] = 1;
}

static void pinned_memory_changes_in_time(void) {
    float *host = pinned();
    must(cudaMemcpyAsync(memory, host, BYTES, cudaMemcpyHostToDevice, first));
    must(cudaStreamSynchronize(first));
    host[0] = 1;
}

static void pinned_memory_is_freed_early(void) {
    float *host = pinned();
    must(cudaMemcpyAsync(memory, host, BYTES, cudaMemcpyHostToDevice, first));
    must(cudaFreeHost(host));
}

/* Whether the copy has been done or not: the host has not waited for it. */
static void what_is_fetched_is_there_when_the_host_has_waited(void) {
    float *host = pinned();
    must(cudaMemcpyAsync(host, memory, BYTES, cudaMemcpyDeviceToHost, first));
    must(cudaEventRecord(event, first));
    must(cudaStreamSynchronize(second));
    if (host[0] == 0) sim_fault("what is fetched is there too early");
    must(cudaEventSynchronize(event));
    if (host[0] != 0) sim_fault("what was fetched is not there");
}

/* says: what the message must have in it; NULL: no fault. */
static const struct {
    const char *name;
    void (*run)(void);
    const char *says;
} CASES[] = {
#define CASE(name, says) \
    { #name, name, says }
    CASE(unordered_writes, "a race: writer on stream"),
    CASE(unordered_read, "and nothing orders the two"),
    CASE(an_event_orders, NULL),
    CASE(an_event_too_early, "a race: "),
    CASE(events_order_in_turn, NULL),
    CASE(readers_do_not_race, NULL),
    CASE(one_of_two_readers_is_not_waited_for, "a race: "),
    CASE(all_readers_are_waited_for, NULL),
    CASE(the_host_orders, NULL),
    CASE(a_query_orders, NULL),
    CASE(another_wait_of_the_host_does_not, "a race: "),
    CASE(the_default_stream_is_ordered, NULL),
    CASE(the_default_stream_is_not_ordered_with_all, "writer on the default stream"),
    CASE(branches_that_meet, NULL),
    CASE(branches_that_do_not, "a race: "),
    CASE(two_launches_of_a_graph, "a race: "),
    CASE(beyond_an_allocation, "far reader on stream 1 reads what lies behind an allocation of 64 bytes"),
    CASE(memory_that_was_freed, "writer on stream 1 writes freed memory"),
    CASE(fresh_memory, "early reader on stream 1 reads byte 0 of an allocation of 64, which nobody has written"),
    CASE(a_copy_races, "a race: "),
    CASE(pinned_memory_changes_early, "pinned memory was changed before the host knew"),
    CASE(pinned_memory_changes_in_time, NULL),
    CASE(pinned_memory_is_freed_early, "pinned memory is freed before the host knows"),
    CASE(what_is_fetched_is_there_when_the_host_has_waited, NULL),
};

static void run_case(int i, int seed, int error) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    setenv("LK_SIM_SEED", text, 1);
    dup2(error, STDERR_FILENO);
    must(cudaMalloc((void **)&memory, BYTES));
    must(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    must(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    must(cudaStreamCreateWithFlags(&third, cudaStreamNonBlocking));
    must(cudaEventCreateWithFlags(&event, 0)), must(cudaEventCreateWithFlags(&other, 0));
    must(cudaMemset(memory, 0, BYTES));
    must(cudaDeviceSynchronize());
    CASES[i].run();
    must(cudaDeviceSynchronize());
    _exit(0);
}

static bool try_case(int i, int seed) {
    int ends[2], status = 0;
    char said[512] = "";
    if (pipe(ends) != 0) return false;
    pid_t child = fork();
    if (child == 0) run_case(i, seed, ends[1]);
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], said + length, sizeof said - 1 - length)) > 0;) length += (size_t)got;
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child) return false;
    bool faulted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    bool well = CASES[i].says == NULL ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                                      : faulted && strstr(said, CASES[i].says) != NULL;
    if (!well) printf("FAIL %s, seed %d: status %d, %s\n", CASES[i].name, seed, status, said);
    return well;
}

int main(void) {
    int failures = 0, count = (int)(sizeof CASES / sizeof CASES[0]);
    for (int i = 0; i < count; i++)
        for (int seed = 1; seed <= SEEDS; seed++) failures += !try_case(i, seed);
    printf("%d cases in %d orders, %d failures\n", count, SEEDS, failures);
    return failures == 0 ? 0 : 1;
}
