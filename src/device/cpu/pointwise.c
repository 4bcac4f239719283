/* Input normalisation, activation, addition. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "device/cpu/cpu_internal.h"

/* The normalised value of each byte: exact, and one look-up per pixel. */
typedef struct input_plan {
    float f32[LK_MAX_CHANNELS_IN][256];
    uint16_t bf16[LK_MAX_CHANNELS_IN][256];
} input_plan;

/* The layout that the first convolution reads fastest: oneDNN's float32 kernels for few channels take planes, its
 * bfloat16 kernels take interleaved channels. */
static lk_status input_plan_create(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    input_plan *p = NULL;
    lk_cpu_info_start(op, d->x.c, d->x.h, d->x.w);
    op->info.y.block = d->compute == LK_BF16 ? d->x.c : 1;
    if (d->x.c > LK_MAX_CHANNELS_IN || d->x.block != d->x.c)
        return lk_cpu_unsupported(op, "images are interleaved and have at most 4 channels", err);
    LK_RETURN_IF(LK_NEW(&p, 1, "the input's table", err));
    op->plan = p;
    for (int64_t c = 0; c < d->x.c; c++)
        for (int i = 0; i < 256; i++) {
            p->f32[c][i] = (float)(((double)i / 255 - (double)d->input.mean[c]) / (double)d->input.std[c]);
            p->bf16[c][i] = lk_cpu_bf16(p->f32[c][i]);
        }
    op->info.flops_forward = 2 * (double)lk_act_count(&d->x);
    op->info.bytes_forward = (double)(lk_act_bytes(&d->x) + lk_act_bytes(&op->info.y));
    snprintf(op->info.impl_forward, sizeof op->info.impl_forward, "own:table");
    return LK_OK;
}

static void drop(lk_op *op) { lk_free(op->plan); }

static void input_image(const lk_op *op, const uint8_t *image, void *y, int64_t n) {
    const input_plan *p = op->plan;
    int64_t c = op->desc.x.c, pixels = op->desc.x.h * op->desc.x.w, at = n * c * pixels;
    if (op->info.y.dtype == LK_BF16) {
        uint16_t *to = (uint16_t *)y + at;
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t k = 0; k < c; k++) to[i * c + k] = p->bf16[k][image[i * c + k]];
        return;
    }
    for (int64_t k = 0; k < c; k++) {
        float *to = (float *)y + at + k * pixels;
        for (int64_t i = 0; i < pixels; i++) to[i] = p->f32[k][image[i * c + k]];
    }
}

/* Two images at once: share of the row's own, the rest of its partner's. */
static void input_mixed(const lk_op *op, const lk_run *run, void *y, int64_t n) {
    const input_plan *p = op->plan;
    int64_t c = op->desc.x.c, pixels = op->desc.x.h * op->desc.x.w, at = n * c * pixels;
    const uint8_t *own = run->images + at, *other = run->images + run->partner[n] * c * pixels;
    float share = run->pixel_share[n], rest = 1 - share;
    for (int64_t k = 0; k < c; k++)
        for (int64_t i = 0; i < pixels; i++) {
            float value = share * p->f32[k][own[i * c + k]] + rest * p->f32[k][other[i * c + k]];
            if (op->info.y.dtype == LK_BF16)
                ((uint16_t *)y)[at + i * c + k] = lk_cpu_bf16(value);
            else
                ((float *)y)[at + k * pixels + i] = value;
        }
}

static lk_status input_forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)err;
    const lk_op *op = call->op;
    int threads = lk_cpu_threads(cpu);
    int64_t image = op->desc.x.c * op->desc.x.h * op->desc.x.w;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t n = 0; n < op->desc.x.n; n++)
        if (run->partner == NULL || run->pixel_share[n] == 1)
            input_image(op, run->images + n * image, call->buffers.y, n);
        else
            input_mixed(op, run, call->buffers.y, n);
    return LK_OK;
}

#define PIECE (16 * 1024) /* elements one thread takes at a time */

static lk_act act_of(const lk_op_desc *d) { return d->kind == LK_OP_ADD ? d->add.act : d->activation.act; }

static lk_status add_plan(lk_cpu *cpu, lk_op *op, const lk_op *like, lk_error *err) {
    (void)cpu, (void)like;
    const lk_op_desc *d = &op->desc;
    double bytes = (double)lk_act_bytes(&d->x);
    bool two = d->kind == LK_OP_ADD;
    lk_cpu_info_start(op, d->x.c, d->x.h, d->x.w);
    if (d->x.dtype != d->compute) return lk_cpu_unsupported(op, "its input has another type", err);
    bool acts = d->training && act_of(d) != LK_ACT_NONE;
    bool from_y = lk_cpu_act_from_y(act_of(d), lk_dtype_size(d->x.dtype));
    op->info.keeps_y = acts && from_y;
    op->info.keeps_x = acts && !from_y;
    op->info.keeps_residual = op->info.keeps_x && two;
    op->info.flops_forward = (1 + two) * (double)lk_act_count(&d->x);
    op->info.bytes_forward = bytes * (2 + two);
    if (d->training) {
        op->info.flops_backward = (double)lk_act_count(&d->x);
        op->info.bytes_backward = bytes * (1 + d->dy_count + two + acts + op->info.keeps_residual);
    }
    snprintf(op->info.impl_forward, sizeof op->info.impl_forward, "own:8 lanes");
    if (d->training) memcpy(op->info.impl_dx, op->info.impl_forward, sizeof op->info.impl_dx);
    return LK_OK;
}

/* The tensor as pieces of whole vectors; what is left over goes through the one-lane kernels. */
typedef struct piece {
    const lk_cpu_kernels *kernels;
    int64_t at, count;
} piece;

static int64_t piece_count(const lk_act_desc *d) {
    int64_t whole = lk_act_count(d) / LK_CPU_LANES * LK_CPU_LANES;
    return (whole + PIECE - 1) / PIECE + (whole < lk_act_count(d));
}

static piece piece_get(const lk_act_desc *d, int64_t i) {
    int64_t count = lk_act_count(d), whole = count / LK_CPU_LANES * LK_CPU_LANES;
    if (i * PIECE >= whole) return (piece){lk_cpu_kernels_get(d->dtype, 1), whole, count - whole};
    int64_t rest = whole - i * PIECE;
    return (piece){lk_cpu_kernels_get(d->dtype, LK_CPU_LANES), i * PIECE, rest < PIECE ? rest : PIECE};
}

static const void *at_const(const void *p, int64_t bytes) { return p == NULL ? NULL : (const char *)p + bytes; }
static void *at(void *p, int64_t bytes) { return p == NULL ? NULL : (char *)p + bytes; }

static lk_status add_forward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)run, (void)err;
    const lk_op_desc *d = &call->op->desc;
    const lk_op_buffers *b = &call->buffers;
    int64_t size = (int64_t)lk_dtype_size(d->x.dtype);
    const void *residual = d->kind == LK_OP_ADD ? b->residual : NULL;
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < piece_count(&d->x); i++) {
        piece p = piece_get(&d->x, i);
        p.kernels->add_forward(p.count, at_const(b->x, p.at * size), at_const(residual, p.at * size),
                               at(b->y, p.at * size), act_of(d));
    }
    lk_cpu_clear_padding(act_of(d), &call->op->info.y, b->y);
    return LK_OK;
}

static lk_status add_backward(lk_cpu *cpu, lk_stream *stream, lk_call *call, const lk_run *run, lk_error *err) {
    (void)stream, (void)run, (void)err;
    const lk_op_desc *d = &call->op->desc;
    const lk_op_info *info = &call->op->info;
    const lk_op_buffers *b = &call->buffers;
    int64_t size = (int64_t)lk_dtype_size(d->x.dtype);
    void *dx = d->need_dx ? b->dx : NULL, *dresidual = d->kind == LK_OP_ADD ? b->dresidual : NULL;
    int threads = lk_cpu_threads(cpu);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < piece_count(&d->x); i++) {
        piece p = piece_get(&d->x, i);
        lk_cpu_act_grads t = {
            .value = at_const(info->keeps_x ? b->x : b->y, p.at * size),
            .residual = at_const(info->keeps_residual ? b->residual : NULL, p.at * size),
            .dy = {at_const(b->dy[0], p.at * size), at_const(d->dy_count > 1 ? b->dy[1] : NULL, p.at * size)},
            .dx = at(dx, p.at * size),
            .dresidual = at(dresidual, p.at * size)};
        p.kernels->add_backward(p.count, &t, act_of(d));
    }
    return LK_OK;
}

const lk_cpu_op_class lk_cpu_input = {.plan = input_plan_create, .drop = drop, .forward = input_forward};
const lk_cpu_op_class lk_cpu_activation = {.plan = add_plan, .forward = add_forward, .backward = add_backward};
const lk_cpu_op_class lk_cpu_add = {.plan = add_plan, .forward = add_forward, .backward = add_backward};
