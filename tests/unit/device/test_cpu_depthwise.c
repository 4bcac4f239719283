/* Depthwise convolutions by own loops: as exact as plain float32 sums, the same bits for any threads, batch and layout.
 * The oracle is the same convolution summed in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "device/device.h"
#include "tests/unit/unit.h"

enum { CHANNELS = 16, MAX_SIDE = 64 };

/* A convolution; tensors are NCHW, weights [c][k][k]. */
typedef struct problem {
    int64_t n, side, out, kernel, stride, pad;
    float *x, *w, *dy;
    double *y, *dx, *dw;      /* the oracle's */
    float *y32, *dx32, *dw32; /* plain sums in float32 */
} problem;

static void *get(int64_t count, size_t size) {
    void *p = NULL;
    assert_int_equal(lk_alloc(&p, (size_t)count, size, "test data", NULL), LK_OK);
    return p;
}

static int64_t x_count(const problem *p) { return p->n * CHANNELS * p->side * p->side; }
static int64_t y_count(const problem *p) { return p->n * CHANNELS * p->out * p->out; }
static int64_t w_count(const problem *p) { return CHANNELS * p->kernel * p->kernel; }

static float *draw(int64_t count, uint32_t purpose) {
    lk_random_key key = {11, 0, LK_RANDOM_INIT};
    float *values = get(count, sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = (float)lk_random_normal(&key, (uint64_t)i, purpose);
    return values;
}

/* Adds every product of one channel of one image to its sum, in double and in float32. */
static void sum_plane(problem *p, int64_t plane, int64_t c) {
    for (int64_t i = 0; i < p->out * p->out * p->kernel * p->kernel; i++) {
        int64_t k = i % (p->kernel * p->kernel), o = i / (p->kernel * p->kernel);
        int64_t y = o / p->out * p->stride - p->pad + k / p->kernel,
                x = o % p->out * p->stride - p->pad + k % p->kernel;
        if (y < 0 || y >= p->side || x < 0 || x >= p->side) continue;
        int64_t from = (plane * p->side + y) * p->side + x, to = plane * p->out * p->out + o;
        int64_t at = c * p->kernel * p->kernel + k;
        p->y[to] += (double)p->x[from] * (double)p->w[at];
        p->dx[from] += (double)p->dy[to] * (double)p->w[at];
        p->dw[at] += (double)p->dy[to] * (double)p->x[from];
        p->y32[to] += p->x[from] * p->w[at];
        p->dx32[from] += p->dy[to] * p->w[at];
        p->dw32[at] += p->dy[to] * p->x[from];
    }
}

static problem make_problem(int64_t n, int64_t side, int64_t kernel, int64_t stride) {
    problem p = {.n = n, .side = side, .kernel = kernel, .stride = stride, .pad = kernel / 2};
    p.out = (side + 2 * p.pad - kernel) / stride + 1;
    p.x = draw(x_count(&p), 1), p.w = draw(w_count(&p), 2), p.dy = draw(y_count(&p), 3);
    p.y = get(y_count(&p), 8), p.dx = get(x_count(&p), 8), p.dw = get(w_count(&p), 8);
    p.y32 = get(y_count(&p), 4), p.dx32 = get(x_count(&p), 4), p.dw32 = get(w_count(&p), 4);
    for (int64_t plane = 0; plane < n * CHANNELS; plane++) sum_plane(&p, plane, plane % CHANNELS);
    return p;
}

static void free_problem(problem *p) {
    void *all[] = {p->x, p->w, p->dy, p->y, p->dx, p->dw, p->y32, p->dx32, p->dw32};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) lk_free(all[i]);
}

/* The device's results in canonical order. */
typedef struct results {
    float *y, *dx, *dw;
    lk_op_info info;
} results;

static void free_results(results *r) { lk_free(r->y), lk_free(r->dx), lk_free(r->dw); }

static void reorder(const lk_act_desc *d, const float *canonical, float *stored, float *back) {
    for (int64_t i = 0; i < d->n * d->c * d->h * d->w; i++) {
        int64_t area = d->h * d->w;
        int64_t at = lk_act_index(d, i / (d->c * area), i / area % d->c, i / d->w % d->h, i % d->w);
        if (back == NULL)
            stored[at] = canonical[i];
        else
            back[i] = stored[at];
    }
}

static results run(const problem *p, int threads, int64_t block) {
    lk_device *device = NULL;
    lk_stream *stream = NULL;
    lk_op *op = NULL;
    lk_call *call = NULL;
    results r = {0};
    lk_op_desc d = {.kind = LK_OP_CONV2D, .training = true, .need_dx = true, .dy_count = 1, .compute = LK_F32};
    d.x = (lk_act_desc){LK_F32, p->n, CHANNELS, p->side, p->side, block};
    d.conv.out_channels = d.conv.groups = CHANNELS;
    d.conv.kernel_h = d.conv.kernel_w = p->kernel;
    d.conv.stride = p->stride, d.conv.pad = p->pad, d.conv.dilation = 1;
    assert_int_equal(lk_device_create(&device, "cpu", threads, NULL), LK_OK);
    assert_int_equal(device->op_plan(device, &op, &d, &r.info, NULL), LK_OK);
    assert_int_equal(r.info.y.h, p->out);
    float *x = get(x_count(p), 4), *dy = get(y_count(p), 4), *y = get(y_count(p), 4), *dx = get(x_count(p), 4);
    float *params = get(r.info.params[0].stored_count, 4), *grads = get(r.info.params[0].stored_count, 4);
    void *workspace = get(r.info.workspace_bytes, 1);
    r.y = get(y_count(p), 4), r.dx = get(x_count(p), 4), r.dw = get(w_count(p), 4);
    reorder(&d.x, p->x, x, NULL);
    reorder(&r.info.y, p->dy, dy, NULL);
    assert_int_equal(device->param_pack(device, op, 0, p->w, params, NULL), LK_OK);
    lk_op_buffers b = {.x = x, .y = y, .dy = {dy}, .dx = dx, .workspace = workspace};
    lk_run step = {.params = params, .grads = grads, .rows = p->n};
    assert_int_equal(device->stream_create(device, &stream, NULL), LK_OK);
    assert_int_equal(device->bind(device, &call, op, &b, NULL), LK_OK);
    assert_int_equal(device->forward(device, stream, call, &step, NULL), LK_OK);
    assert_int_equal(device->backward(device, stream, call, &step, NULL), LK_OK);
    reorder(&r.info.y, NULL, y, r.y);
    reorder(&d.x, NULL, dx, r.dx);
    assert_int_equal(device->param_unpack(device, op, 0, grads, r.dw, NULL), LK_OK);
    device->call_free(device, call);
    device->op_free(device, op);
    device->stream_free(device, stream);
    lk_device_free(device);
    void *all[] = {x, dy, y, dx, params, grads, workspace};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) lk_free(all[i]);
    return r;
}

static double error_of(const float *seen, const double *oracle, int64_t count) {
    double squares = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        squares += ((double)seen[i] - oracle[i]) * ((double)seen[i] - oracle[i]);
        size += oracle[i] * oracle[i];
    }
    return sqrt(squares / size);
}

#if defined(__x86_64__)
#define HAVE_OWN (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#else
#define HAVE_OWN false
#endif

static void it_is_as_exact_as_plain_sums(void **state) {
    (void)state;
    for (int64_t kernel = 3; kernel <= 5; kernel += 2)
        for (int64_t stride = 1; stride <= 2; stride++) {
            problem p = make_problem(3, MAX_SIDE - 1, kernel, stride);
            results r = run(&p, 1, 8);
            if (HAVE_OWN) assert_non_null(strstr(r.info.impl_dw, "own:depthwise"));
            assert_true(error_of(r.y, p.y, y_count(&p)) <= error_of(p.y32, p.y, y_count(&p)) + 1e-8);
            assert_true(error_of(r.dx, p.dx, x_count(&p)) <= error_of(p.dx32, p.dx, x_count(&p)) + 1e-8);
            assert_true(error_of(r.dw, p.dw, w_count(&p)) <= error_of(p.dw32, p.dw, w_count(&p)));
            free_results(&r);
            free_problem(&p);
        }
}

static void assert_same(const problem *p, const results *a, const results *b) {
    assert_memory_equal(a->y, b->y, (size_t)y_count(p) * sizeof(float));
    assert_memory_equal(a->dx, b->dx, (size_t)x_count(p) * sizeof(float));
    assert_memory_equal(a->dw, b->dw, (size_t)w_count(p) * sizeof(float));
}

/* P5: the same bits whatever the threads; and whatever blocks of channels the layout has. */
static void threads_and_layouts_do_not_matter(void **state) {
    (void)state;
    if (!HAVE_OWN) skip();
    for (int64_t kernel = 3; kernel <= 5; kernel += 2) {
        problem p = make_problem(2, 41, kernel, 2);
        results one = run(&p, 1, 8), three = run(&p, 3, 8), wide = run(&p, 1, 16);
        assert_same(&p, &one, &three);
        assert_same(&p, &one, &wide);
        free_results(&one), free_results(&three), free_results(&wide);
        free_problem(&p);
    }
}

/* P5: an image's values do not depend on the images beside it. */
static void the_batch_does_not_matter(void **state) {
    (void)state;
    problem several = make_problem(4, 23, 5, 1), one = make_problem(1, 23, 5, 1);
    results a = run(&several, 1, 8), b = run(&one, 1, 8);
    assert_memory_equal(a.y, b.y, (size_t)y_count(&one) * sizeof(float));
    assert_memory_equal(a.dx, b.dx, (size_t)x_count(&one) * sizeof(float));
    free_results(&a), free_results(&b);
    free_problem(&several), free_problem(&one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_exact_as_plain_sums),
        cmocka_unit_test(threads_and_layouts_do_not_matter),
        cmocka_unit_test(the_batch_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
