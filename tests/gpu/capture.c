/* The stand-in's capture and replay, by the runtime's own functions: what is legal, what breaks a capture, and that a
 * replay reads memory as it is then. */
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

enum { BYTES = 64 };

typedef struct fixture {
    cudaStream_t one, two;
    cudaEvent_t fork, join;
    char *a, *b, *c; /* device */
    char *host;      /* pinned */
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(cudaStreamCreate(&f->one), cudaSuccess);
    assert_int_equal(cudaStreamCreate(&f->two), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&f->fork, cudaEventDisableTiming), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&f->join, cudaEventDisableTiming), cudaSuccess);
    char **device[] = {&f->a, &f->b, &f->c};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cudaMalloc((void **)device[i], BYTES), cudaSuccess);
        assert_int_equal(cudaMemset(*device[i], 0, BYTES), cudaSuccess);
    }
    assert_int_equal(cudaMallocHost((void **)&f->host, BYTES), cudaSuccess);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    char *const device[] = {f->a, f->b, f->c};
    for (int i = 0; i < 3; i++) assert_int_equal(cudaFree(device[i]), cudaSuccess);
    assert_int_equal(cudaFreeHost(f->host), cudaSuccess);
    assert_int_equal(cudaEventDestroy(f->fork), cudaSuccess);
    assert_int_equal(cudaEventDestroy(f->join), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(f->one), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(f->two), cudaSuccess);
    free(f);
    return 0;
}

static void begin(cudaStream_t stream) {
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
}

static void copy(const fixture *f, char *to, const char *from, enum cudaMemcpyKind kind, cudaStream_t stream) {
    (void)f;
    assert_int_equal(cudaMemcpyAsync(to, from, BYTES, kind, stream), cudaSuccess);
}

static char first_of(const char *device) {
    char seen[BYTES];
    assert_int_equal(cudaMemcpy(seen, device, BYTES, cudaMemcpyDeviceToHost), cudaSuccess);
    return seen[0];
}

/* Nothing is done while it is captured; each launch reads what is there by then, pinned memory included. */
static void test_a_replay_reads_what_is_there_then(void **state) {
    fixture *f = *state;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    memset(f->host, 1, BYTES);
    begin(f->one);
    copy(f, f->a, f->host, cudaMemcpyHostToDevice, f->one);
    copy(f, f->b, f->a, cudaMemcpyDeviceToDevice, f->one);
    assert_int_equal(cudaStreamEndCapture(f->one, &graph), cudaSuccess);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    assert_int_equal(first_of(f->b), 0);
    for (char value = 2; value < 4; value++) {
        memset(f->host, value, BYTES);
        assert_int_equal(cudaGraphLaunch(exec, f->one), cudaSuccess);
        assert_int_equal(cudaStreamSynchronize(f->one), cudaSuccess);
        assert_int_equal(first_of(f->b), value);
    }
    assert_int_equal(cudaGraphExecDestroy(exec), cudaSuccess);
}

/* fork: two takes part; with `joined` it comes back. */
static cudaError_t fork_and_end(fixture *f, bool joined, cudaGraph_t *graph) {
    begin(f->one);
    assert_int_equal(cudaMemsetAsync(f->a, 5, BYTES, f->one), cudaSuccess);
    assert_int_equal(cudaEventRecord(f->fork, f->one), cudaSuccess);
    assert_int_equal(cudaStreamWaitEvent(f->two, f->fork, 0), cudaSuccess);
    copy(f, f->b, f->a, cudaMemcpyDeviceToDevice, f->two);
    if (joined) {
        assert_int_equal(cudaEventRecord(f->join, f->two), cudaSuccess);
        assert_int_equal(cudaStreamWaitEvent(f->one, f->join, 0), cudaSuccess);
    }
    copy(f, f->c, joined ? f->b : f->a, cudaMemcpyDeviceToDevice, f->one);
    return cudaStreamEndCapture(f->one, graph);
}

static void test_branches_are_joined(void **state) {
    fixture *f = *state;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    assert_int_equal(fork_and_end(f, true, &graph), cudaSuccess);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphLaunch(exec, f->one), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(f->one), cudaSuccess);
    assert_int_equal(first_of(f->c), 5);
    assert_int_equal(cudaGraphExecDestroy(exec), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
}

static void test_a_branch_that_is_not_joined_is_refused(void **state) {
    fixture *f = *state;
    cudaGraph_t graph;
    assert_int_equal(fork_and_end(f, false, &graph), cudaErrorStreamCaptureUnjoined);
    assert_null(graph);
    assert_int_equal(cudaStreamSynchronize(f->two), cudaSuccess); /* no longer captured */
}

typedef cudaError_t (*call)(fixture *f);
static cudaError_t allocate(fixture *f) { return cudaMalloc((void **)&f->host, BYTES); }
static cudaError_t release(fixture *f) { return cudaFree(f->a); }
static cudaError_t pin(fixture *f) { return cudaMallocHost((void **)&f->host, BYTES); }
static cudaError_t wait_stream(fixture *f) { return cudaStreamSynchronize(f->one); }
static cudaError_t ask_stream(fixture *f) { return cudaStreamQuery(f->one); }
static cudaError_t wait_device(fixture *f) { return (void)f, cudaDeviceSynchronize(); }
static cudaError_t wait_event(fixture *f) { return cudaEventSynchronize(f->fork); }
static cudaError_t copy_now(fixture *f) { return cudaMemcpy(f->a, f->b, BYTES, cudaMemcpyDeviceToDevice); }
static cudaError_t use_default(fixture *f) { return cudaMemsetAsync(f->a, 0, BYTES, NULL); }

/* The call fails, and so does the capture; afterwards the stream works as before. */
static void test_what_must_not_be_captured_breaks_it(void **state) {
    fixture *f = *state;
    const call calls[] = {allocate,    release,    pin,      wait_stream, ask_stream,
                          wait_device, wait_event, copy_now, use_default};
    char *host = f->host;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        cudaGraph_t graph;
        begin(f->one);
        assert_int_equal(cudaMemsetAsync(f->a, 7, BYTES, f->one), cudaSuccess);
        if (calls[i] == wait_event) assert_int_equal(cudaEventRecord(f->fork, f->one), cudaSuccess);
        assert_int_not_equal(calls[i](f), cudaSuccess);
        cudaError_t code = cudaStreamEndCapture(f->one, &graph);
        f->host = host;
        if (calls[i] == wait_event) { /* the event is refused, the capture is whole */
            assert_int_equal(code, cudaSuccess);
            assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
            continue;
        }
        assert_int_equal(code, cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
        assert_int_equal(cudaStreamSynchronize(f->one), cudaSuccess);
        assert_int_equal(first_of(f->a), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_replay_reads_what_is_there_then, setup, teardown),
        cmocka_unit_test_setup_teardown(test_branches_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_branch_that_is_not_joined_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_must_not_be_captured_breaks_it, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
