/* Convolutions by minimal filtering: as exact as plain float32 sums, the same bits for any threads and batch, and what
 * a NaN does. The oracle is the same convolution summed in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "device/device.h"
#include "tests/unit/unit.h"

typedef struct problem {
    int64_t n, in, out, h, w;
    float *x, *w_, *dy;       /* NCHW, OIHW, NCHW */
    double *y, *dx, *dw;      /* the oracle's */
    float *y32, *dx32, *dw32; /* plain sums in float32 */
} problem;

/* The device's results in canonical order. */
typedef struct results {
    float *y, *dx, *dw;
    lk_op_info info;
} results;

static void *get(int64_t count, size_t size) {
    void *p = NULL;
    assert_int_equal(lk_alloc(&p, (size_t)count, size, "test data", NULL), LK_OK);
    return p;
}

static int64_t x_count(const problem *p) { return p->n * p->in * p->h * p->w; }
static int64_t y_count(const problem *p) { return p->n * p->out * p->h * p->w; }
static int64_t w_count(const problem *p) { return p->out * p->in * 9; }

/* Adds every product of the convolution to its sum, in double and in float32. */
static void sum_products(problem *p) {
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t o = 0; o < p->out; o++)
            for (int64_t i = 0; i < p->in; i++)
                for (int64_t k = 0; k < 9; k++)
                    for (int64_t y = 0; y < p->h; y++)
                        for (int64_t x = 0; x < p->w; x++) {
                            int64_t sy = y + k / 3 - 1, sx = x + k % 3 - 1, at = (o * p->in + i) * 9 + k;
                            if (sy < 0 || sy >= p->h || sx < 0 || sx >= p->w) continue;
                            int64_t from = ((n * p->in + i) * p->h + sy) * p->w + sx;
                            int64_t to = ((n * p->out + o) * p->h + y) * p->w + x;
                            p->y[to] += (double)p->x[from] * (double)p->w_[at];
                            p->dx[from] += (double)p->dy[to] * (double)p->w_[at];
                            p->dw[at] += (double)p->dy[to] * (double)p->x[from];
                            p->y32[to] += p->x[from] * p->w_[at];
                            p->dx32[from] += p->dy[to] * p->w_[at];
                            p->dw32[at] += p->dy[to] * p->x[from];
                        }
}

static problem make_problem(int64_t n, int64_t in, int64_t out, int64_t h, int64_t w) {
    problem p = {.n = n, .in = in, .out = out, .h = h, .w = w};
    lk_random_key key = {11, 0, LK_RANDOM_INIT};
    p.x = get(x_count(&p), 4), p.w_ = get(w_count(&p), 4), p.dy = get(y_count(&p), 4);
    p.y = get(y_count(&p), 8), p.dx = get(x_count(&p), 8), p.dw = get(w_count(&p), 8);
    p.y32 = get(y_count(&p), 4), p.dx32 = get(x_count(&p), 4), p.dw32 = get(w_count(&p), 4);
    for (int64_t i = 0; i < x_count(&p); i++) p.x[i] = (float)lk_random_normal(&key, (uint64_t)i, 0);
    for (int64_t i = 0; i < w_count(&p); i++) p.w_[i] = 0.1f * (float)lk_random_normal(&key, (uint64_t)i, 1);
    for (int64_t i = 0; i < y_count(&p); i++) p.dy[i] = (float)lk_random_normal(&key, (uint64_t)i, 2);
    return p;
}

static void free_problem(problem *p) {
    void *all[] = {p->x, p->w_, p->dy, p->y, p->dx, p->dw, p->y32, p->dx32, p->dw32};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) lk_free(all[i]);
}

/* NCHW to the device's layout, or back. */
static void reorder(const lk_act_desc *d, float *plain, float *blocked, bool pack) {
    for (int64_t i = 0; i < d->n * d->c * d->h * d->w; i++) {
        int64_t area = d->h * d->w, n = i / (d->c * area), c = i / area % d->c;
        float *stored = &blocked[lk_act_index(d, n, c, i % area / d->w, i % d->w)];
        if (pack)
            *stored = plain[i];
        else
            plain[i] = *stored;
    }
}

/* One forward and backward pass. Owner of the results: the caller. */
static results run(const problem *p, int threads, bool training) {
    lk_error err = {0};
    lk_device *device = NULL;
    lk_stream *stream = NULL;
    lk_op *op = NULL;
    lk_call *call = NULL;
    results r = {.y = get(y_count(p), 4), .dx = get(x_count(p), 4), .dw = get(w_count(p), 4)};
    lk_op_desc d = {.kind = LK_OP_CONV2D, .training = training, .need_dx = true, .dy_count = 1, .compute = LK_F32};
    d.x = (lk_act_desc){LK_F32, p->n, p->in, p->h, p->w, 8};
    d.conv.out_channels = p->out;
    d.conv.kernel_h = d.conv.kernel_w = 3;
    d.conv.stride = d.conv.pad = d.conv.dilation = d.conv.groups = 1;
    assert_int_equal(lk_device_create(&device, "cpu", threads, &err), LK_OK);
    assert_int_equal(device->op_plan(device, &op, &d, &r.info, &err), LK_OK);
    assert_int_equal(device->stream_create(device, &stream, &err), LK_OK);
    int64_t stored = r.info.params[0].stored_count, out_count = lk_act_count(&r.info.y), in_count = lk_act_count(&d.x);
    float *x = get(in_count, 4), *dx = get(in_count, 4), *y = get(out_count, 4), *dy = get(out_count, 4);
    float *params = get(stored, 4), *grads = get(stored, 4);
    void *derived = get(r.info.derived_bytes, 1), *work = get(r.info.workspace_bytes, 1);
    memset(work, 0xff, (size_t)r.info.workspace_bytes); /* what the workspace holds must not matter */
    reorder(&d.x, p->x, x, true);
    reorder(&r.info.y, p->dy, dy, true);
    lk_op_buffers b = {.x = x, .y = y, .dy = {dy}, .dx = dx, .workspace = work};
    lk_run step = {.params = params, .derived = derived, .grads = grads, .rows = p->n, .loss_scale = 1};
    assert_int_equal(device->param_pack(device, op, 0, p->w_, params, &err), LK_OK);
    assert_int_equal(device->op_refresh(device, op, stream, &b, params, derived, &err), LK_OK);
    assert_int_equal(device->bind(device, &call, op, &b, &err), LK_OK);
    assert_int_equal(device->forward(device, stream, call, &step, &err), LK_OK);
    if (training) assert_int_equal(device->backward(device, stream, call, &step, &err), LK_OK);
    reorder(&r.info.y, r.y, y, false);
    reorder(&d.x, r.dx, dx, false);
    assert_int_equal(device->param_unpack(device, op, 0, grads, r.dw, &err), LK_OK);
    device->call_free(device, call);
    device->stream_free(device, stream);
    device->op_free(device, op);
    lk_device_free(device);
    void *all[] = {x, dx, y, dy, params, grads, derived, work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) lk_free(all[i]);
    return r;
}

static void free_results(results *r) { lk_free(r->y), lk_free(r->dx), lk_free(r->dw); }

/* Root mean square of the difference, relative to that of the values. */
static double error_of(const float *got, const double *want, int64_t count) {
    double squares = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        squares += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(squares / size);
}

/* Twice the error of plain float32 sums, or of half a unit in the last place where those happen to be exact. */
static void assert_close(const char *what, const float *got, const float *plain, const double *want, int64_t count) {
    double error = error_of(got, want, count), allowed = 2 * error_of(plain, want, count) + 6e-8;
    if (!(error <= allowed)) fail_msg("%s errs by %.2e, allowed are %.2e", what, error, allowed);
}

static void errs_no_more_than_plain_sums(void **state) {
    (void)state;
    static const int64_t shapes[][5] = {{2, 32, 32, 4, 4},   {1, 32, 40, 5, 7},  {3, 40, 32, 7, 6}, {1, 72, 88, 9, 9},
                                        {5, 64, 64, 14, 14}, {2, 128, 32, 7, 7}, {1, 32, 32, 4, 31}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        problem p = make_problem(shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3], shapes[s][4]);
        sum_products(&p);
        results r = run(&p, 1, true);
        assert_close("y", r.y, p.y32, p.y, y_count(&p));
        assert_close("dx", r.dx, p.dx32, p.dx, x_count(&p));
        assert_close("dw", r.dw, p.dw32, p.dw, w_count(&p));
        free_results(&r);
        free_problem(&p);
    }
}

static void threads_do_not_change_bits(void **state) { /* P5 */
    (void)state;
    problem p = make_problem(3, 40, 72, 13, 14); /* several blocks of tiles, the last one short */
    results one = run(&p, 1, true), three = run(&p, 3, true);
    if (strstr(one.info.impl_forward, "own:") == NULL) skip(); /* oneDNN's weight gradients do change */
    assert_memory_equal(one.y, three.y, (size_t)y_count(&p) * 4);
    assert_memory_equal(one.dx, three.dx, (size_t)x_count(&p) * 4);
    assert_memory_equal(one.dw, three.dw, (size_t)w_count(&p) * 4);
    free_results(&one), free_results(&three);
    free_problem(&p);
}

/* An image has the same outputs in any batch, and in evaluation (P1: evaluation pads batches). */
static void batch_does_not_change_outputs(void **state) {
    (void)state;
    problem all = make_problem(5, 32, 48, 13, 11), last = all;
    last.n = 1;
    last.x = all.x + 4 * all.in * all.h * all.w;
    results whole = run(&all, 1, true), single = run(&last, 1, false);
    assert_memory_equal(whole.y + 4 * all.out * all.h * all.w, single.y, (size_t)y_count(&last) * 4);
    free_results(&whole), free_results(&single);
    free_problem(&all);
}

/* A NaN comes out wherever a sum has it, and at most in the rest of those outputs' 2 x 2 tiles. */
static void nan_is_never_lost(void **state) { /* P13 */
    (void)state;
    problem p = make_problem(2, 32, 32, 9, 9);
    int64_t y0 = 3, x0 = 6;
    p.x[(1 * p.in + 5) * 81 + y0 * 9 + x0] = NAN;
    results r = run(&p, 1, true);
    for (int64_t n = 0; n < 2; n++)
        for (int64_t o = 0; o < p.out; o++)
            for (int64_t y = 0; y < 9; y++)
                for (int64_t x = 0; x < 9; x++) {
                    bool nan = isnan(r.y[((n * p.out + o) * 9 + y) * 9 + x]);
                    bool reached = n == 1 && llabs(y - y0) <= 1 && llabs(x - x0) <= 1;
                    bool near = n == 1 && llabs(y - y0) <= 2 && llabs(x - x0) <= 2;
                    if (reached) assert_true(nan);
                    if (!near) assert_false(nan);
                }
    for (int64_t o = 0; o < p.out; o++) assert_true(isnan(r.dw[(o * p.in + 5) * 9 + 4]));
    free_results(&r);
    free_problem(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errs_no_more_than_plain_sums),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(batch_does_not_change_outputs),
        cmocka_unit_test(nan_is_never_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
