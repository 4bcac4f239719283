/* Work captured from a stream as a CUDA graph. */
#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

struct lk_captured {
    cudaGraphExec_t graph;
};

/* This thread alone: threads that decode allocate and wait as they please. */
static lk_status capture_begin(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    return lk_cuda_check((int)cudaStreamBeginCapture(stream->cuda, cudaStreamCaptureModeThreadLocal),
                         "cudaStreamBeginCapture", err);
}

static void captured_free(lk_device *device, lk_captured *captured) {
    (void)device;
    if (captured == NULL) return;
    if (captured->graph != NULL) (void)cudaGraphExecDestroy(captured->graph);
    lk_free(captured);
}

static lk_status capture_end(lk_device *device, lk_stream *stream, lk_captured **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_captured *captured = NULL;
    cudaGraph_t graph = NULL;
    cudaError_t code = cudaStreamEndCapture(stream->cuda, &graph);
    if (out == NULL) goto out;
    *out = NULL;
    if (code != cudaSuccess)
        LK_TRY(lk_fail(err, LK_ERR_UNSUPPORTED,
                       "the GPU's work cannot be captured as a graph: %s (%s); use cuda_graphs: off",
                       cudaGetErrorString(code), cudaGetErrorName(code)));
    LK_TRY(LK_NEW(&captured, 1, "a captured graph", err));
    LK_CUDA(cudaGraphInstantiate(&captured->graph, graph, 0));
    *out = captured;
    captured = NULL;
out:
    (void)cudaGetLastError(); /* a capture that failed leaves the GPU usable */
    if (graph != NULL) (void)cudaGraphDestroy(graph);
    captured_free(device, captured);
    return status;
}

static lk_status captured_run(lk_device *device, lk_stream *stream, lk_captured *captured, lk_error *err) {
    (void)device;
    return lk_cuda_check((int)cudaGraphLaunch(captured->graph, stream->cuda), "cudaGraphLaunch", err);
}

void lk_cuda_capture_install(lk_device *device) {
    device->capture_begin = capture_begin;
    device->capture_end = capture_end;
    device->captured_run = captured_run;
    device->captured_free = captured_free;
}
