/* Faults that any op of any device may have: what is written, where, how often, and what is read. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "fault.h"

typedef enum way {
    ZERO,      /* all zero */
    ONE_NAN,   /* one element is NaN */
    UNWRITTEN, /* the last element keeps what was there */
    ADDED,     /* added to what was there */
    SHIFTED,   /* every element in its neighbour's place */
    REPEATED,  /* the last sample repeats the first */
    SCALED,    /* one in a thousand too large */
    NEGATED,
    BEFORE,   /* one byte written in front */
    BEHIND,   /* one byte written behind */
    UNSTEADY, /* two of three passes differ in the last place */
    PADDING   /* channel padding is not zero */
} way;

/* Next number of the type, away from zero. */
static double next_of(lk_dtype dtype, double value) {
    if (dtype == LK_F64) return nextafter(value, value < 0 ? -INFINITY : INFINITY);
    if (dtype == LK_F32) return nextafterf((float)value, value < 0 ? -INFINITY : INFINITY);
    return value * (1 + ldexp(1, -7));
}

static bool shift(const lk_act_desc *d, char *data) {
    double last = 0, previous = 0;
    bool first = true, differs = false;
    OP_FOR_EACH(d, n, c, y, x) last = op_at(d, data, n, c, y, x);
    previous = last;
    OP_FOR_EACH(d, n, c, y, x) {
        double now = op_at(d, data, n, c, y, x);
        differs |= !first && now != previous;
        op_set(d, data, n, c, y, x, previous);
        previous = now;
        first = false;
    }
    return differs;
}

static bool repeat(const lk_act_desc *d, char *data) {
    if (d->n < 2) return false;
    for (int64_t c = 0; c < d->c; c++)
        for (int64_t y = 0; y < d->h; y++)
            for (int64_t x = 0; x < d->w; x++) op_set(d, data, d->n - 1, c, y, x, op_at(d, data, 0, c, y, x));
    return true;
}

static bool spoil_padding(const lk_act_desc *d, char *data) {
    lk_act_desc padded = *d;
    padded.c = (d->c + d->block - 1) / d->block * d->block;
    if (padded.c == d->c) return false;
    op_set(&padded, data, d->n - 1, padded.c - 1, d->h - 1, d->w - 1, 1);
    return true;
}

/* number: of this pass, for UNSTEADY. */
static bool spoil(const lk_act_desc *d, char *data, const char *old, int64_t number, way how) {
    if (data == NULL || old == NULL) return false;
    int64_t n = d->n - 1, c = d->c - 1, y = d->h - 1, x = d->w - 1, end = lk_act_bytes(d);
    switch (how) {
        case ZERO: memset(data, 0, (size_t)end); return true;
        case ONE_NAN: op_set(d, data, n, c, y, x, NAN); return true;
        case UNWRITTEN: op_set(d, data, n, c, y, x, op_at(d, old, n, c, y, x)); return true;
        case ADDED:
            OP_FOR_EACH(d, i, j, k, l)
            op_set(d, data, i, j, k, l, op_at(d, data, i, j, k, l) + op_at(d, old, i, j, k, l));
            return true;
        case SHIFTED: return shift(d, data);
        case REPEATED: return repeat(d, data);
        case SCALED:
        case NEGATED:
            OP_FOR_EACH(d, i, j, k, l)
            op_set(d, data, i, j, k, l, op_at(d, data, i, j, k, l) * (how == SCALED ? 1.02 : -1));
            return true;
        case BEFORE: data[-1] ^= 1; return true;
        case BEHIND: data[end] ^= 1; return true;
        case UNSTEADY:
            if (number % 3 == 0) return false;
            OP_FOR_EACH(d, i, j, k, l) op_set(d, data, i, j, k, l, next_of(d->dtype, op_at(d, data, i, j, k, l)));
            return true;
        case PADDING: return spoil_padding(d, data);
    }
    return false;
}

static bool y_wrong(op_fault_site *s, int how) { return spoil(&s->info.y, s->b.y, s->old_y, s->number / 2, how); }

static bool dx_wrong(op_fault_site *s, int how) { return spoil(&s->desc.x, s->b.dx, s->old_dx, s->number / 2, how); }

static bool dresidual_wrong(op_fault_site *s, int how) {
    lk_act_desc second = op_case_second(&s->desc, &s->info.y);
    return spoil(&second, s->b.dresidual, s->old_residual, s->number / 2, how);
}

/* A gradient as one row, so that the same ways apply. The mode holds the parameter above the way. */
static bool grad_wrong(op_fault_site *s, int mode) {
    int i = mode / 100;
    if (s->old_grads[i] == NULL) return false;
    lk_act_desc row = {s->inner->master, 1, 1, 1, s->info.params[i].stored_count, 1};
    int64_t size = (int64_t)lk_dtype_size(s->inner->master);
    return spoil(&row, (char *)s->run.grads + s->b.param_offset[i] * size, s->old_grads[i], s->number / 2, mode % 100);
}

/* Written at the start of the slab, whatever the offset. */
static bool grad_misplaced(op_fault_site *s, int mode) {
    (void)mode;
    if (s->old_grads[0] == NULL) return false;
    int64_t size = (int64_t)lk_dtype_size(s->inner->master), bytes = s->info.params[0].stored_count * size;
    char *slab = s->run.grads, *slice = slab + s->b.param_offset[0] * size;
    memmove(slab, slice, (size_t)bytes);
    return true;
}

typedef enum input { IN_X, IN_RESIDUAL, IN_DY, IN_PARAMS, IN_LABELS } input;

/* Writes to what it may only read. */
static bool input_written(op_fault_site *s, int which) {
    const void *target[] = {s->desc.kind == LK_OP_INPUT ? (const void *)s->run.images : s->b.x, s->b.residual,
                            s->b.dy[0], s->info.param_count > 0 ? s->run.params : NULL, s->run.labels};
    char *bytes = (char *)target[which];
    if (bytes == NULL) return false;
    if (which == IN_PARAMS) bytes += s->b.param_offset[0] * (int64_t)lk_dtype_size(s->inner->master);
    *bytes ^= 1;
    return true;
}

/* Uses memory before anybody wrote it. */
static bool reads_unwritten(op_fault_site *s, int mode) {
    (void)mode;
    const void *source = s->info.workspace_bytes > 0 ? s->b.workspace : s->old_y;
    double value = op_get(s->info.y.dtype, source, 0);
    op_set(&s->info.y, s->b.y, 0, 0, 0, 0, op_at(&s->info.y, s->b.y, 0, 0, 0, 0) + value);
    return true;
}

static bool second_dy_ignored(lk_op_desc *desc, int mode) {
    (void)mode;
    if (desc->dy_count != 2) return false;
    desc->dy_count = 1;
    return true;
}

static bool dx_forgotten(lk_op_desc *desc, int mode) {
    (void)mode;
    if (!desc->training || !desc->need_dx || desc->kind == LK_OP_INPUT) return false;
    desc->need_dx = false;
    return true;
}

static bool frozen_trained(lk_op_desc *desc, int mode) {
    (void)mode;
    if (!desc->training || !desc->frozen) return false;
    desc->frozen = false;
    return true;
}

const op_fault *op_faults_generic(int *count) {
    static const op_fault FAULTS[] = {
        {"y is zero", ZERO, .after_forward = y_wrong},
        {"one element of y is NaN", ONE_NAN, .after_forward = y_wrong},
        {"the last element of y is not written", UNWRITTEN, .after_forward = y_wrong},
        {"y is added to what was there", ADDED, .after_forward = y_wrong},
        {"y is shifted by one element", SHIFTED, .after_forward = y_wrong},
        {"the last sample of y repeats the first", REPEATED, .after_forward = y_wrong},
        {"y is 2 % too large", SCALED, .after_forward = y_wrong},
        {"y has the wrong sign", NEGATED, .after_forward = y_wrong},
        {"a byte before y is written", BEFORE, .after_forward = y_wrong},
        {"a byte behind y is written", BEHIND, .after_forward = y_wrong},
        {"y changes from run to run", UNSTEADY, .after_forward = y_wrong},
        {"the channel padding of y is not zero", PADDING, .after_forward = y_wrong},
        {"the input is written", IN_X, .after_forward = input_written},
        {"the residual is written", IN_RESIDUAL, .after_forward = input_written},
        {"the parameters are written", IN_PARAMS, .after_forward = input_written},
        {"the labels are written", IN_LABELS, .after_forward = input_written},
        {"y depends on memory that nobody wrote", 0, .after_forward = reads_unwritten},
        {"frozen parameters get gradients", 0, .plan = frozen_trained},
        {"dx is zero", ZERO, .after_backward = dx_wrong},
        {"one element of dx is NaN", ONE_NAN, .after_backward = dx_wrong},
        {"the last element of dx is not written", UNWRITTEN, .after_backward = dx_wrong},
        {"dx is added to what was there", ADDED, .after_backward = dx_wrong},
        {"dx is shifted by one element", SHIFTED, .after_backward = dx_wrong},
        {"the last sample of dx repeats the first", REPEATED, .after_backward = dx_wrong},
        {"dx is 2 % too large", SCALED, .after_backward = dx_wrong},
        {"dx has the wrong sign", NEGATED, .after_backward = dx_wrong},
        {"a byte before dx is written", BEFORE, .after_backward = dx_wrong},
        {"a byte behind dx is written", BEHIND, .after_backward = dx_wrong},
        {"dx changes from run to run", UNSTEADY, .after_backward = dx_wrong},
        {"the channel padding of dx is not zero", PADDING, .after_backward = dx_wrong},
        {"dx is forgotten", 0, .plan = dx_forgotten},
        {"dy is written", IN_DY, .after_backward = input_written},
        {"the second dy is ignored", 0, .plan = second_dy_ignored},
        {"dresidual is zero", ZERO, .after_backward = dresidual_wrong},
        {"the last element of dresidual is not written", UNWRITTEN, .after_backward = dresidual_wrong},
        {"dresidual is added to what was there", ADDED, .after_backward = dresidual_wrong},
        {"dresidual has the wrong sign", NEGATED, .after_backward = dresidual_wrong},
        {"dresidual is shifted by one element", SHIFTED, .after_backward = dresidual_wrong},
        {"the first gradient is zero", ZERO, .after_backward = grad_wrong},
        {"one element of the first gradient is NaN", ONE_NAN, .after_backward = grad_wrong},
        {"the last element of the first gradient is not written", UNWRITTEN, .after_backward = grad_wrong},
        {"the first gradient is added rather than written", ADDED, .after_backward = grad_wrong},
        {"the first gradient is shifted by one element", SHIFTED, .after_backward = grad_wrong},
        {"the first gradient is 2 % too large", SCALED, .after_backward = grad_wrong},
        {"the first gradient has the wrong sign", NEGATED, .after_backward = grad_wrong},
        {"a byte before the first gradient is written", BEFORE, .after_backward = grad_wrong},
        {"a byte behind the first gradient is written", BEHIND, .after_backward = grad_wrong},
        {"the first gradient changes from run to run", UNSTEADY, .after_backward = grad_wrong},
        {"the second gradient is zero", 100 + ZERO, .after_backward = grad_wrong},
        {"the second gradient is added rather than written", 100 + ADDED, .after_backward = grad_wrong},
        {"the second gradient has the wrong sign", 100 + NEGATED, .after_backward = grad_wrong},
        {"a byte behind the second gradient is written", 100 + BEHIND, .after_backward = grad_wrong},
        {"the first gradient ignores its offset", 0, .after_backward = grad_misplaced},
    };
    *count = (int)(sizeof FAULTS / sizeof FAULTS[0]);
    return FAULTS;
}
