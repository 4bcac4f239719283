/* The stand-in's device: the CUDA device's own, but what a pass promises to write (device/ops.h) counts as unwritten
 * when the pass begins, whatever was there: its output, its gradients, what it keeps for backward, its workspace. */
#include "device/cuda/cuda.h"
#include "device/cuda/cuda_internal.h"
#include "sim.h"

/* In the sources the name stands for lk_device_cuda_create_own (CMakeLists.txt). */
#undef lk_device_cuda_create
LK_CUDA_EXPORT lk_status lk_device_cuda_create(lk_device **out, int ordinal, int threads, lk_error *err);

typedef struct ranges {
    sim_range written[SIM_MOST_FORGOTTEN], read[SIM_MOST_FORGOTTEN];
    int writes, reads;
} ranges;

static lk_status (*own_forward)(lk_device *, lk_stream *, lk_call *, const lk_run *, lk_error *);
static lk_status (*own_backward)(lk_device *, lk_stream *, lk_call *, const lk_run *, lk_error *);
static lk_status (*own_again)(lk_device *, lk_stream *, lk_call *, const lk_run *, lk_error *);

static void add_read(ranges *r, const void *at, int64_t bytes) {
    if (at != NULL && bytes > 0) r->read[r->reads++] = (sim_range){at, (size_t)bytes};
}

/* What lies over an input is written in place. */
static void add_write(ranges *r, const void *at, int64_t bytes) {
    if (at == NULL || bytes <= 0) return;
    for (int i = 0; i < r->reads; i++) {
        const char *read = r->read[i].at, *write = at;
        if (write < read + r->read[i].bytes && read < write + bytes) return;
    }
    r->written[r->writes++] = (sim_range){at, (size_t)bytes};
}

static int64_t residual_bytes(const lk_op *op) {
    return lk_act_bytes(op->desc.kind == LK_OP_SCALE ? &op->desc.scale.gate : &op->info.y);
}

static void add_inputs(ranges *r, const lk_call *call) {
    const lk_op *op = call->op;
    if (op->desc.kind != LK_OP_INPUT) add_read(r, call->buffers.x, lk_act_bytes(&op->desc.x));
    if (lk_op_takes_residual(&op->desc)) add_read(r, call->buffers.residual, residual_bytes(op));
}

static lk_status run(ranges *r, lk_device *device, lk_stream *stream, lk_call *call, const lk_run *run,
                     lk_status (*pass)(lk_device *, lk_stream *, lk_call *, const lk_run *, lk_error *),
                     lk_error *err) {
    sim_forget(stream->cuda, r->written, r->writes);
    lk_status status = pass(device, stream, call, run, err);
    sim_forget(stream->cuda, NULL, 0);
    return status;
}

static lk_status forward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *lk, lk_error *err) {
    const lk_op *op = call->op;
    ranges r = {.writes = 0};
    bool makes_stats = op->desc.kind == LK_OP_BATCHNORM && op->desc.training && !op->desc.batchnorm.fixed;
    add_inputs(&r, call);
    add_write(&r, call->buffers.y, lk_act_bytes(&op->info.y));
    add_write(&r, call->buffers.stash, op->info.stash_bytes);
    add_write(&r, call->buffers.workspace, op->info.workspace_bytes);
    if (makes_stats)
        add_write(&r, (float *)lk->stats + call->buffers.stats_offset, op->info.stats_count * (int64_t)sizeof(float));
    return run(&r, device, stream, call, lk, own_forward, err);
}

static lk_status again(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *lk, lk_error *err) {
    ranges r = {.writes = 0};
    add_inputs(&r, call);
    add_write(&r, call->buffers.y, lk_act_bytes(&call->op->info.y));
    add_write(&r, call->buffers.workspace, call->op->info.workspace_bytes);
    return run(&r, device, stream, call, lk, own_again, err);
}

static lk_status backward(lk_device *device, lk_stream *stream, lk_call *call, const lk_run *lk, lk_error *err) {
    const lk_op *op = call->op;
    ranges r = {.writes = 0};
    int64_t y = lk_act_bytes(&op->info.y);
    add_inputs(&r, call);
    add_read(&r, call->buffers.y, y);
    for (int i = 0; i < op->desc.dy_count && op->desc.kind != LK_OP_LOSS; i++) add_read(&r, call->buffers.dy[i], y);
    add_write(&r, call->buffers.workspace, op->info.workspace_bytes);
    add_write(&r, call->buffers.unfinished, op->info.unfinished_bytes);
    if (op->desc.need_dx) add_write(&r, call->buffers.dx, lk_act_bytes(&op->desc.x));
    if (lk_op_takes_residual(&op->desc)) add_write(&r, call->buffers.dresidual, residual_bytes(op));
    for (int i = 0; i < op->info.param_count && !op->desc.frozen; i++)
        add_write(&r, lk_cuda_grad(call, lk, i), op->info.params[i].stored_count * (int64_t)sizeof(float));
    return run(&r, device, stream, call, lk, own_backward, err);
}

lk_status lk_device_cuda_create(lk_device **out, int ordinal, int threads, lk_error *err) {
    LK_RETURN_IF(lk_device_cuda_create_own(out, ordinal, threads, err));
    own_forward = (*out)->forward;
    own_backward = (*out)->backward;
    own_again = (*out)->again;
    (*out)->forward = forward;
    (*out)->backward = backward;
    (*out)->again = again;
    return LK_OK;
}
