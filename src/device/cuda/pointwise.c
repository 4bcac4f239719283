/* Input normalisation, activation, addition, dropout. */
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "device/cuda/cuda_internal.h"

/* What a microbatch's images need in run_data: a source, and behind it partners and shares, 4 bytes each a row. */
static int64_t source_bytes(void) { return (int64_t)lk_round_up(sizeof(lk_cuda_images_source)); }

static lk_status input_plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda, (void)err;
    const lk_op_desc *d = &op->desc;
    lk_cuda_info_start(op, d->x.c, d->x.h, d->x.w, lk_cuda_block(d->x.c, d->compute));
    op->info.workspace_bytes = lk_act_bytes(&d->x);
    op->info.run_bytes = source_bytes() + 8 * d->x.n;
    op->info.flops_forward = 3 * (double)lk_act_count(&op->info.y);
    op->info.bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&op->info.y));
    lk_cuda_info_own(op, "normalise");
    return LK_OK;
}

static lk_status input_prepare(const lk_call *call, const lk_run *run, void *host, lk_error *err) {
    int64_t n = call->op->desc.x.n;
    const void *pixels = run->device_images != NULL ? run->device_images : call->buffers.workspace;
    *(lk_cuda_images_source *)host = (lk_cuda_images_source){.pixels = pixels, .mixed = run->partner != NULL};
    if (run->partner == NULL) return LK_OK;
    for (int64_t i = 0; i < n; i++)
        if (run->partner[i] < 0 || run->partner[i] >= n)
            return lk_fail(err, LK_ERR_INTERNAL, "row %lld of a microbatch is mixed with a row that is not",
                           (long long)i);
    char *to = (char *)host + source_bytes();
    memcpy(to, run->partner, (size_t)(4 * n));
    memcpy(to + 4 * n, run->pixel_share, (size_t)(4 * n));
    return LK_OK;
}

/* Copies the pixels to the workspace, from pinned memory (host_alloc) without a detour; memory of other kinds the
 * driver has read when the call returns. */
static lk_status send_images(lk_stream *stream, const lk_call *call, const lk_run *run, lk_error *err) {
    size_t bytes = (size_t)lk_act_bytes(&call->op->desc.x);
    if (run->device_images != NULL) return LK_OK;
    if (run->images == NULL) return lk_fail(err, LK_ERR_INTERNAL, "the input op was run without images");
    return lk_cuda_check(
        (int)cudaMemcpyAsync(call->buffers.workspace, run->images, bytes, cudaMemcpyHostToDevice, stream->cuda),
        "cudaMemcpyAsync", err);
}

static lk_status input_forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda;
    lk_status status = LK_OK;
    const lk_op_desc *d = &call->op->desc;
    const lk_act_desc *y = &call->op->info.y;
    const char *data = call->buffers.run_data;
    lk_cuda_images images = {.pixels = y->n * y->h * y->w,
                             .area = y->h * y->w,
                             .channels = (int)y->c,
                             .block = (int)y->block,
                             .source = (const lk_cuda_images_source *)data,
                             .partner = (const int32_t *)(data + source_bytes()),
                             .share = (const float *)(data + source_bytes() + 4 * y->n)};
    for (int64_t c = 0; c < y->c; c++) {
        images.mean[c] = d->input.mean[c];
        images.std[c] = d->input.std[c];
    }
    LK_TRY(send_images(stream, call, run, err));
    LK_CUDA(lk_cuda_input(stream->cuda, lk_cuda_type_of(y->dtype), &images, call->buffers.y));
out:
    return status;
}

static lk_act act_of(const lk_op_desc *d) { return d->kind == LK_OP_ADD ? d->add.act : d->activation.act; }

/* Is the derivative taken from y? A sigmoid near 1, rounded to bfloat16, has lost what its derivative is made of. */
static bool from_y(const lk_op_desc *d) {
    return lk_act_invertible(act_of(d)) && (act_of(d) != LK_ACT_SIGMOID || d->x.dtype == LK_F32);
}

static lk_status add_plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda, (void)err;
    const lk_op_desc *d = &op->desc;
    lk_op_info *info = &op->info;
    double bytes = (double)lk_act_bytes(&d->x), count = (double)lk_act_count(&d->x), two = d->kind == LK_OP_ADD;
    lk_cuda_info_start(op, d->x.c, d->x.h, d->x.w, d->x.block);
    info->keeps_y = d->training && act_of(d) != LK_ACT_NONE && from_y(d);
    info->keeps_x = d->training && !from_y(d);
    info->keeps_residual = info->keeps_x && d->kind == LK_OP_ADD;
    info->flops_forward = (1 + two) * count;
    info->bytes_forward = bytes * (2 + two);
    lk_cuda_info_own(op, "vectors");
    if (!d->training) return LK_OK;
    info->flops_backward = count;
    info->bytes_backward = bytes * (1 + d->dy_count + two + info->keeps_y + info->keeps_x + info->keeps_residual);
    return LK_OK;
}

static lk_cuda_add add_of(const lk_call *call) {
    const lk_op_desc *d = &call->op->desc;
    const lk_op_buffers *b = &call->buffers;
    return (lk_cuda_add){.shape = lk_cuda_rows_of(&d->x),
                         .act = act_of(d),
                         .x = b->x,
                         .residual = d->kind == LK_OP_ADD ? b->residual : NULL,
                         .y = b->y,
                         .from_y = from_y(d)};
}

static lk_status add_forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    lk_cuda_add add = add_of(call);
    return lk_cuda_check(lk_cuda_add_forward(stream->cuda, &add), "add_forward", err);
}

static lk_status add_backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    const lk_op_desc *d = &call->op->desc;
    lk_cuda_add add = add_of(call);
    add.dy[0] = call->buffers.dy[0];
    add.dy[1] = lk_cuda_second_dy(call);
    add.dx = d->need_dx ? call->buffers.dx : NULL;
    add.dresidual = d->kind == LK_OP_ADD ? call->buffers.dresidual : NULL;
    return lk_cuda_check(lk_cuda_add_backward(stream->cuda, &add), "add_backward", err);
}

static lk_status dropout_plan(lk_cuda *cuda, lk_op *op, lk_error *err) {
    (void)cuda, (void)err;
    const lk_op_desc *d = &op->desc;
    double bytes = (double)lk_act_bytes(&d->x), count = (double)lk_act_count(&d->x);
    lk_cuda_info_start(op, d->x.c, d->x.h, d->x.w, d->x.block);
    op->info.run_bytes = sizeof(lk_cuda_draws);
    op->info.flops_forward = count;
    op->info.bytes_forward = 2 * bytes;
    lk_cuda_info_own(op, "Philox");
    if (!lk_op_has_backward(d)) return LK_OK;
    op->info.flops_backward = count;
    op->info.bytes_backward = bytes * (1 + d->dy_count);
    op->info.launches_backward = d->need_dx;
    return LK_OK;
}

/* The kernel draws what lk_run_drops draws: its key has the purpose mixed into the seed, as core/random.c does. */
static lk_status dropout_prepare(const lk_call *call, const lk_run *run, void *host, lk_error *err) {
    (void)call, (void)err;
    lk_random_key key = {.seed = run->seed, .epoch = run->epoch, .purpose = LK_RANDOM_DROPOUT};
    *(lk_cuda_draws *)host = (lk_cuda_draws){
        .seed = lk_random_mixed_seed(&key), .first_position = (uint64_t)run->first_position, .epoch = run->epoch};
    return LK_OK;
}

static lk_status drop_elements(lk_stream *stream, const lk_call *call, const void *const x[2], void *y, lk_error *err) {
    const lk_op_desc *d = &call->op->desc;
    double rate = d->training ? d->dropout.rate : 0;
    lk_cuda_dropout dropout = {.shape = lk_cuda_rows_of(&d->x),
                               .area = d->x.h * d->x.w,
                               .draws = call->buffers.run_data,
                               .layer = d->layer,
                               .rate = rate,
                               .kept = (float)(1 / (1 - rate))};
    return lk_cuda_check(lk_cuda_dropout_run(stream->cuda, &dropout, x, y), "dropout", err);
}

static lk_status dropout_forward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    const void *const x[2] = {call->buffers.x, NULL};
    return drop_elements(stream, call, x, call->buffers.y, err);
}

static lk_status dropout_backward(lk_cuda *cuda, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)cuda, (void)run;
    const void *const dy[2] = {call->buffers.dy[0], lk_cuda_second_dy(call)};
    if (!call->op->desc.need_dx) return LK_OK;
    return drop_elements(stream, call, dy, call->buffers.dx, err);
}

const lk_cuda_op_class lk_cuda_class_dropout = {
    .plan = dropout_plan, .prepare = dropout_prepare, .forward = dropout_forward, .backward = dropout_backward};
const lk_cuda_op_class lk_cuda_class_input = {.plan = input_plan, .prepare = input_prepare, .forward = input_forward};
const lk_cuda_op_class lk_cuda_class_activation = {.plan = add_plan, .forward = add_forward, .backward = add_backward};
const lk_cuda_op_class lk_cuda_class_add = {.plan = add_plan, .forward = add_forward, .backward = add_backward};
