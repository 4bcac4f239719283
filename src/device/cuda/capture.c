/* Work captured from a stream as a CUDA graph. */
#include "core/memory.h"
#include "device/cuda/cuda_internal.h"

struct lk_captured {
    cudaGraphExec_t graph;
};

/* This thread alone: threads that decode allocate and wait as they please. */
lk_status lk_cuda_capture_open(lk_stream *stream, lk_error *err) {
    return lk_cuda_check((int)cudaStreamBeginCapture(stream->cuda, cudaStreamCaptureModeThreadLocal),
                         "cudaStreamBeginCapture", err);
}

lk_status lk_cuda_capture_close(lk_stream *stream, cudaGraphExec_t *out, lk_error *err) {
    lk_status status = LK_OK;
    cudaGraph_t graph = NULL;
    cudaError_t code = cudaStreamEndCapture(stream->cuda, &graph);
    if (out == NULL) goto out;
    *out = NULL;
    if (code == cudaSuccess) code = cudaGraphInstantiate(out, graph, 0);
    if (code != cudaSuccess)
        LK_TRY(lk_fail(err, LK_ERR_UNSUPPORTED,
                       "the GPU's work cannot be captured as a graph: %s (%s); use cuda_graphs: off",
                       cudaGetErrorString(code), cudaGetErrorName(code)));
out:
    (void)cudaGetLastError(); /* a capture that failed leaves the GPU usable */
    if (graph != NULL) (void)cudaGraphDestroy(graph);
    return status;
}

static lk_status capture_begin(lk_device *device, lk_stream *stream, lk_error *err) {
    (void)device;
    return lk_cuda_capture_open(stream, err);
}

static void captured_free(lk_device *device, lk_captured *captured) {
    (void)device;
    if (captured == NULL) return;
    if (captured->graph != NULL) (void)cudaGraphExecDestroy(captured->graph);
    lk_free(captured);
}

static lk_status capture_end(lk_device *device, lk_stream *stream, lk_captured **out, lk_error *err) {
    cudaGraphExec_t graph = NULL;
    if (out == NULL) return lk_cuda_capture_close(stream, NULL, err);
    *out = NULL;
    LK_RETURN_IF(lk_cuda_capture_close(stream, &graph, err));
    lk_status status = LK_NEW(out, 1, "a captured graph", err);
    if (status == LK_OK)
        (*out)->graph = graph;
    else
        (void)cudaGraphExecDestroy(graph);
    (void)device;
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
