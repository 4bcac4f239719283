/* Leaves that normalise together give what one leaf with all their samples gives: on every device, forward and
 * backward, a smaller last leaf included (P23). */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "device/device.h"
#include "tests/unit/unit.h"

enum { LEAVES = 3, ROWS = 4, LAST_ROWS = 2, CHANNELS = 11, SIDE = 3, TOTAL = 2 * ROWS + LAST_ROWS };
enum { PLANE = CHANNELS * SIDE * SIDE, NUMBERS = 2 * (CHANNELS + 32) + 1 };

/* A meeting of threads, without what a run needs beside it (src/train/exchange.c). */
typedef struct meeting {
    pthread_barrier_t barrier;
    double messages[LEAVES][NUMBERS];
} meeting;

typedef struct member {
    meeting *meeting;
    int leaf;
} member;

static lk_status gather(void *context, const double *mine, int64_t count, double *all, int *parts, lk_error *err) {
    member *m = context;
    if (count > NUMBERS) return lk_fail(err, LK_ERR_INTERNAL, "%lld numbers", (long long)count);
    pthread_barrier_wait(&m->meeting->barrier); /* the last message was read by all */
    memcpy(m->meeting->messages[m->leaf], mine, (size_t)count * sizeof *mine);
    pthread_barrier_wait(&m->meeting->barrier);
    for (int i = 0; i < LEAVES; i++) memcpy(all + i * count, m->meeting->messages[i], (size_t)count * sizeof *mine);
    *parts = LEAVES;
    return LK_OK;
}

/* One leaf: its op, its memory as doubles in NCHW. */
typedef struct leaf {
    lk_device *device;
    lk_op_desc desc;
    int first; /* of all samples */
    const lk_leaf_group *group;
    double y[TOTAL * PLANE], dx[TOTAL * PLANE], dresidual[TOTAL * PLANE], stats[2 * CHANNELS], grads[2 * CHANNELS];
} leaf;

static double input(int which, int64_t i) {
    lk_random_key key = {.seed = 3, .purpose = LK_RANDOM_INIT};
    double value = lk_random_normal(&key, (uint64_t)i, (uint32_t)which);
    /* Each sample about another mean, so that leaves differ much; exact in float32. */
    return (double)(float)(which == 0 ? value + 3.0 * (double)(i / PLANE) : value);
}

static void put(const lk_device *device, void *to, int64_t i, double value) {
    if (device->master == LK_F64)
        ((double *)to)[i] = value;
    else
        ((float *)to)[i] = (float)value;
}

static double get(const lk_device *device, const void *from, int64_t i) {
    return device->master == LK_F64 ? ((const double *)from)[i] : (double)((const float *)from)[i];
}

static void *allocate(lk_device *device, int64_t bytes) {
    void *p = NULL;
    lk_error err = {0};
    if (device->alloc(device, &p, bytes + 64, "a test", &err) != LK_OK) fail_msg("%s", err.message);
    return p;
}

static void must(lk_status status, const lk_error *err) {
    if (status != LK_OK) fail_msg("%s", err->message);
}

static void *run_leaf(void *argument) {
    leaf *l = argument;
    lk_device *device = l->device;
    lk_error err = {0};
    lk_op *op;
    lk_op_info info;
    lk_call *call;
    lk_stream *stream;
    int64_t count = l->desc.x.n * PLANE, size = (int64_t)lk_dtype_size(device->master);
    must(device->op_plan(device, &op, &l->desc, &info, &err), &err);
    must(device->stream_create(device, &stream, &err), &err);
    void *x = allocate(device, count * size), *residual = allocate(device, count * size);
    void *y = allocate(device, count * size), *dy = allocate(device, count * size);
    void *dx = allocate(device, count * size), *dresidual = allocate(device, count * size);
    void *stash = allocate(device, info.stash_bytes), *workspace = allocate(device, info.workspace_bytes);
    void *params = allocate(device, 2 * CHANNELS * size), *grads = allocate(device, 2 * CHANNELS * size);
    void *stats = allocate(device, 2 * CHANNELS * size);
    for (int64_t i = 0; i < count; i++) {
        put(device, x, i, input(0, l->first * PLANE + i));
        put(device, residual, i, input(1, l->first * PLANE + i));
        put(device, dy, i, input(2, l->first * PLANE + i));
    }
    for (int64_t c = 0; c < 2 * CHANNELS; c++) put(device, params, c, (c < CHANNELS) + 0.5 * input(3, c));
    lk_op_buffers buffers = {.x = x,
                             .residual = residual,
                             .y = y,
                             .dy = {dy},
                             .dx = dx,
                             .dresidual = dresidual,
                             .stash = stash,
                             .workspace = workspace,
                             .param_offset = {0, CHANNELS}};
    lk_run run = {.params = params,
                  .grads = grads,
                  .stats = stats,
                  .rows = l->desc.x.n,
                  .first_position = l->first,
                  .group = l->group};
    must(device->bind(device, &call, op, &buffers, &err), &err);
    must(device->forward(device, stream, call, &run, &err), &err);
    must(device->backward(device, stream, call, &run, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        l->y[i] = get(device, y, i);
        l->dx[i] = get(device, dx, i);
        l->dresidual[i] = get(device, dresidual, i);
    }
    for (int64_t c = 0; c < 2 * CHANNELS; c++) {
        l->stats[c] = get(device, stats, c);
        l->grads[c] = get(device, grads, c);
    }
    device->call_free(device, call);
    device->op_free(device, op);
    device->stream_free(device, stream);
    void *const memory[] = {x, residual, y, dy, dx, dresidual, stash, workspace, params, grads, stats};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) device->release(device, memory[i]);
    return NULL;
}

static double worst(const double *seen, const double *wanted, int64_t count) {
    double squares = 0, worst_error = 0;
    for (int64_t i = 0; i < count; i++) squares += wanted[i] * wanted[i];
    double size = sqrt(squares / (double)count);
    for (int64_t i = 0; i < count; i++) {
        double error = fabs(seen[i] - wanted[i]) / size;
        if (!(error <= worst_error)) worst_error = isnan(error) ? INFINITY : error;
    }
    return worst_error;
}

static void compare(const leaf *together, const leaf *whole, double tolerance) {
    double grads[2 * CHANNELS] = {0};
    for (int i = 0; i < LEAVES; i++) {
        const leaf *l = &together[i];
        int64_t first = (int64_t)l->first * PLANE, count = l->desc.x.n * PLANE;
        assert_true(worst(l->y, whole->y + first, count) <= tolerance);
        assert_true(worst(l->dx, whole->dx + first, count) <= tolerance);
        assert_true(worst(l->dresidual, whole->dresidual + first, count) <= tolerance);
        assert_true(worst(l->stats, whole->stats, 2 * CHANNELS) <= tolerance);
        assert_memory_equal(l->stats, together[0].stats, sizeof l->stats);
        for (int c = 0; c < 2 * CHANNELS; c++) grads[c] += l->grads[c];
    }
    assert_true(worst(grads, whole->grads, CHANNELS) <= tolerance);
    assert_true(worst(grads + CHANNELS, whole->grads + CHANNELS, CHANNELS) <= tolerance);
}

static void run_device(const char *name, double drop_path, double tolerance) {
    static leaf together[LEAVES], whole;
    static meeting meet;
    lk_device *device;
    lk_error err = {0};
    must(lk_device_create(&device, name, 1, &err), &err);
    lk_op_desc desc = {.kind = LK_OP_BATCHNORM,
                       .training = true,
                       .need_dx = true,
                       .dy_count = 1,
                       .compute = device->master,
                       .x = {.dtype = device->master, .n = TOTAL, .c = CHANNELS, .h = SIDE, .w = SIDE, .block = 1},
                       .batchnorm = {.eps = 1e-5, .act = LK_ACT_RELU, .residual = true, .drop_path = drop_path}};
    whole = (leaf){.device = device, .desc = desc};
    run_leaf(&whole);
    pthread_barrier_init(&meet.barrier, NULL, LEAVES);
    pthread_t threads[LEAVES];
    member members[LEAVES];
    lk_leaf_group groups[LEAVES];
    desc.batchnorm.group = LEAVES + 1; /* the window ends before the group is full */
    for (int i = 0; i < LEAVES; i++) {
        desc.x.n = i == LEAVES - 1 ? LAST_ROWS : ROWS;
        members[i] = (member){&meet, i};
        groups[i] = (lk_leaf_group){&members[i], gather};
        together[i] = (leaf){.device = device, .desc = desc, .first = i * ROWS, .group = &groups[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, run_leaf, &together[i]), 0);
    }
    for (int i = 0; i < LEAVES; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&meet.barrier);
    compare(together, &whole, tolerance);
    lk_device_free(device);
}

static void test_reference(void **state) {
    (void)state;
    run_device("reference", 0, 1e-12);
    run_device("reference", 0.3, 1e-12);
}

static void test_cpu(void **state) {
    (void)state;
    run_device("cpu", 0, 5e-6);
    run_device("cpu", 0.3, 5e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_cpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
