/* Times every op of a residual network on the cpu device: forward, data gradient, weight gradient, on one or more
 * lanes side by side, so that one sees where a training step goes.
 *   ops_bench [resnet18|resnet50] [batch] [lanes] [repetitions]
 * The time is the processor time of the slowest lane, the best of the repetitions; the data gradient is the whole
 * backward pass less the weight gradient's. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/memory.h"
#include "device/device.h"

#define MAX_LANES 16
#define MAX_ROWS 64

/* One op and how often a step runs it. */
typedef struct row {
    const char *group;
    lk_op_desc desc;
    int times;
} row;

typedef struct table {
    row rows[MAX_ROWS];
    int count;
    int64_t batch, block;
} table;

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static lk_op_desc *add(table *t, const char *group, lk_op_kind kind, int times, int64_t c, int64_t size) {
    row *r = &t->rows[t->count++];
    *r = (row){group, {.kind = kind, .training = true, .need_dx = true, .dy_count = 1, .compute = LK_F32}, times};
    r->desc.x = (lk_act_desc){LK_F32, t->batch, c, size, size, size == 1 ? 1 : t->block};
    return &r->desc;
}

static void add_conv(table *t, int times, int64_t c, int64_t size, int64_t out, int64_t kernel, int64_t stride) {
    lk_op_desc *d = add(t, "conv", LK_OP_CONV2D, times, c, size);
    d->conv.out_channels = out;
    d->conv.kernel_h = d->conv.kernel_w = kernel;
    d->conv.stride = stride;
    d->conv.pad = kernel / 2;
    d->conv.dilation = d->conv.groups = 1;
}

/* dys: gradients that arrive: 2 where the output feeds two layers. */
static void add_norm(table *t, int times, int64_t c, int64_t size, bool relu, bool residual, int dys) {
    lk_op_desc *d = add(t, "batchnorm", LK_OP_BATCHNORM, times, c, size);
    d->batchnorm.eps = 1e-5;
    d->batchnorm.act = relu ? LK_ACT_RELU : LK_ACT_NONE;
    d->batchnorm.residual = residual;
    d->dy_count = dys;
}

static void add_ends(table *t, int64_t features) {
    lk_op_desc *d = add(t, "input", LK_OP_INPUT, 1, 3, 224);
    d->x.dtype = LK_U8;
    d->x.block = 3;
    for (int i = 0; i < 3; i++) d->input.mean[i] = 0.45f, d->input.std[i] = 0.22f;
    add_conv(t, 1, 3, 224, 64, 7, 2);
    t->rows[t->count - 1].desc.x.block = 1;
    t->rows[t->count - 1].desc.need_dx = false;
    add_norm(t, 1, 64, 112, true, false, 1);
    d = add(t, "pool", LK_OP_MAXPOOL, 1, 64, 112);
    d->maxpool.kernel = 3, d->maxpool.stride = 2, d->maxpool.pad = 1;
    d->dy_count = 2;
    add(t, "pool", LK_OP_GLOBAL_AVGPOOL, 1, features, 7);
    d = add(t, "linear", LK_OP_LINEAR, 1, features, 1);
    d->linear.out_features = 1000;
    d = add(t, "loss", LK_OP_LOSS, 1, 1000, 1);
    d->loss.cross_entropy = 1;
    d->dy_count = 0;
}

static void fill_resnet18(table *t) {
    add_ends(t, 512);
    add_conv(t, 4, 64, 56, 64, 3, 1);
    add_norm(t, 2, 64, 56, true, false, 1);
    add_norm(t, 2, 64, 56, true, true, 2);
    for (int64_t c = 64, size = 56; c < 512; c *= 2, size /= 2) {
        add_conv(t, 1, c, size, 2 * c, 3, 2);
        add_conv(t, 1, c, size, 2 * c, 1, 2);
        add_conv(t, 3, 2 * c, size / 2, 2 * c, 3, 1);
        add_norm(t, 2, 2 * c, size / 2, true, false, 1);
        add_norm(t, 1, 2 * c, size / 2, false, false, 1);
        add_norm(t, 2, 2 * c, size / 2, true, true, 2);
    }
}

static void fill_resnet50(table *t) {
    static const int blocks[] = {3, 4, 6, 3};
    add_ends(t, 2048);
    for (int stage = 0; stage < 4; stage++) {
        int64_t width = 64 << stage, size = 56 >> stage, in = stage == 0 ? 64 : width * 2;
        int64_t before = stage == 0 ? size : size * 2, stride = stage == 0 ? 1 : 2;
        int more = blocks[stage] - 1;
        add_conv(t, 1, in, before, width, 1, 1);
        add_norm(t, 1, width, before, true, false, 1);
        add_conv(t, 1, width, before, width, 3, stride);
        add_conv(t, 1, in, before, 4 * width, 1, stride);
        add_norm(t, 1, 4 * width, size, false, false, 1);
        add_conv(t, more, 4 * width, size, width, 1, 1);
        add_conv(t, more, width, size, width, 3, 1);
        add_conv(t, more + 1, width, size, 4 * width, 1, 1);
        add_norm(t, 2 * more + 1, width, size, true, false, 1);
        add_norm(t, more + 1, 4 * width, size, true, true, 2);
    }
}

/* One op bound to its own memory on a lane. */
typedef struct lane {
    lk_device *device;
    lk_op *op;
    lk_op_info info;
    lk_stream *stream;
    lk_call *call;
    lk_run run;
    void *memory[16];
    int count;
    double forward, backward; /* ms, of the last repetition */
    lk_status status;
    lk_error err;
    pthread_barrier_t *barrier;
} lane;

static lk_status get(lane *l, void **out, int64_t bytes) {
    lk_status status = l->device->alloc(l->device, out, bytes > 0 ? bytes : 64, "bench memory", &l->err);
    if (status == LK_OK) l->memory[l->count++] = *out;
    return status;
}

static void fill(float *p, int64_t count) {
    uint32_t state = 12345;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (float)(state >> 8) / (float)(1 << 24) - 0.5f;
    }
}

static lk_status setup(lane *l, const lk_op_desc *desc) {
    lk_status status = LK_OK;
    lk_op_buffers b = {0};
    void *x, *dy, *dy2, *residual;
    int64_t y_bytes = lk_act_bytes(&l->info.y), params = 16;
    for (int i = 0; i < l->info.param_count; i++) {
        b.param_offset[i] = params;
        params += (l->info.params[i].stored_count + 15) / 16 * 16;
    }
    LK_TRY(get(l, &x, lk_act_bytes(&desc->x)));
    LK_TRY(get(l, &b.y, y_bytes));
    LK_TRY(get(l, &dy, y_bytes));
    LK_TRY(get(l, &dy2, y_bytes));
    LK_TRY(get(l, &residual, y_bytes));
    LK_TRY(get(l, &b.dx, lk_act_bytes(&desc->x)));
    LK_TRY(get(l, &b.dresidual, y_bytes));
    LK_TRY(get(l, &b.stash, l->info.stash_bytes));
    LK_TRY(get(l, &b.workspace, l->info.workspace_bytes));
    LK_TRY(get(l, (void **)&l->run.params, params * 4));
    LK_TRY(get(l, &l->run.grads, params * 4));
    LK_TRY(get(l, &l->run.stats, l->info.stats_count * 4));
    LK_TRY(get(l, (void **)&l->run.derived, l->info.derived_bytes));
    LK_TRY(get(l, (void **)&l->run.labels, desc->x.n * 4));
    if (desc->kind != LK_OP_INPUT) fill(x, lk_act_count(&desc->x));
    fill(dy, lk_act_count(&l->info.y));
    fill((float *)l->run.params, params);
    l->run.images = x;
    l->run.rows = desc->x.n;
    l->run.loss_scale = 1;
    b.x = x;
    b.residual = residual;
    b.dy[0] = dy;
    b.dy[1] = dy2;
    LK_TRY(l->device->stream_create(l->device, &l->stream, &l->err));
    LK_TRY(l->device->op_refresh(l->device, l->op, l->stream, &b, l->run.params, (void *)l->run.derived, &l->err));
    LK_TRY(l->device->bind(l->device, &l->call, l->op, &b, &l->err));
out:
    return status;
}

static void drop(lane *l) {
    l->device->call_free(l->device, l->call);
    l->device->stream_free(l->device, l->stream);
    for (int i = 0; i < l->count; i++) l->device->release(l->device, l->memory[i]);
}

typedef struct job {
    lane *lane;
    const lk_op_desc *desc;
    int repetitions;
} job;

/* Best forward and backward times of one lane, all lanes starting together. */
static void *work(void *argument) {
    job *j = argument;
    lane *l = j->lane;
    l->forward = l->backward = 1e30;
    l->status = setup(l, j->desc);
    for (int i = 0; i <= j->repetitions; i++) {
        pthread_barrier_wait(l->barrier);
        if (l->status != LK_OK) continue;
        double start = cpu_ms();
        l->status = l->device->forward(l->device, l->stream, l->call, &l->run, &l->err);
        double middle = cpu_ms();
        if (l->status == LK_OK) l->status = l->device->backward(l->device, l->stream, l->call, &l->run, &l->err);
        double end = cpu_ms();
        if (i == 0) continue;
        if (middle - start < l->forward) l->forward = middle - start;
        if (end - middle < l->backward) l->backward = end - middle;
    }
    drop(l);
    return NULL;
}

/* Times of one op; info as planned. */
static lk_status measure(lk_device *device, const lk_op_desc *desc, int lanes, int repetitions, double *forward,
                         double *backward, lk_op_info *info, lk_error *err) {
    lk_status status = LK_OK;
    lk_op *op = NULL;
    lane all[MAX_LANES] = {0};
    job jobs[MAX_LANES];
    pthread_t threads[MAX_LANES];
    pthread_barrier_t barrier;
    LK_RETURN_IF(device->op_plan(device, &op, desc, info, err));
    pthread_barrier_init(&barrier, NULL, (unsigned)lanes);
    *forward = *backward = 0;
    for (int i = 0; i < lanes; i++) {
        all[i] = (lane){.device = device, .op = op, .info = *info, .barrier = &barrier};
        jobs[i] = (job){&all[i], desc, repetitions};
        if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) abort();
    }
    for (int i = 0; i < lanes; i++) {
        pthread_join(threads[i], NULL);
        if (all[i].status != LK_OK) status = lk_fail(err, all[i].status, "%s", all[i].err.message);
        if (all[i].forward > *forward) *forward = all[i].forward;
        if (all[i].backward > *backward) *backward = all[i].backward;
    }
    pthread_barrier_destroy(&barrier);
    device->op_free(device, op);
    return status;
}

typedef struct sums {
    double conv[3], batchnorm[2], rest[2];
} sums;

static lk_status run_row(lk_device *device, const row *r, int lanes, int repetitions, sums *s, lk_error *err) {
    lk_op_info info;
    double forward, backward, unused, weight = 0;
    const lk_op_desc *d = &r->desc;
    LK_RETURN_IF(measure(device, d, lanes, repetitions, &forward, &backward, &info, err));
    if (d->kind == LK_OP_CONV2D) {
        lk_op_info again;
        lk_op_desc alone = *d;
        alone.need_dx = false;
        weight = backward;
        if (d->need_dx) LK_RETURN_IF(measure(device, &alone, lanes, repetitions, &unused, &weight, &again, err));
        double data = d->need_dx ? backward - weight : 0, flops = info.flops_forward * 1e-6;
        printf("%-10s %2dx %5" PRId64 " ch %4" PRId64 " px -> %5" PRId64 " k%" PRId64 " s%" PRId64
               "  fwd %8.2f (%5.1f)  dx %8.2f (%5.1f)  dw %8.2f (%5.1f)  %s | %s | %s\n",
               r->group, r->times, d->x.c, d->x.h, d->conv.out_channels, d->conv.kernel_h, d->conv.stride, forward,
               flops / forward, data, data > 0 ? flops / data : 0, weight, flops / weight, info.impl_forward,
               info.impl_dx, info.impl_dw);
        s->conv[0] += r->times * forward;
        s->conv[1] += r->times * data;
        s->conv[2] += r->times * weight;
        return LK_OK;
    }
    printf("%-10s %2dx %5" PRId64 " ch %4" PRId64 " px  fwd %8.2f (%5.1f GB/s)  bwd %8.2f (%5.1f GB/s)  %s\n", r->group,
           r->times, d->x.c, d->x.h, forward, info.bytes_forward * 1e-6 / forward, backward,
           info.bytes_backward * 1e-6 / backward, info.impl_forward);
    double *into = d->kind == LK_OP_BATCHNORM ? s->batchnorm : s->rest;
    into[0] += r->times * forward;
    into[1] += r->times * backward;
    return LK_OK;
}

static void print_sums(const sums *s, int64_t batch, int lanes) {
    double conv = s->conv[0] + s->conv[1] + s->conv[2], norm = s->batchnorm[0] + s->batchnorm[1];
    double rest = s->rest[0] + s->rest[1], all = conv + norm + rest;
    printf("ms for %" PRId64 " images on each of %d lanes\n", batch, lanes);
    printf("  conv forward %.1f, data gradient %.1f, weight gradient %.1f\n", s->conv[0], s->conv[1], s->conv[2]);
    printf("  batchnorm forward %.1f, backward %.1f\n", s->batchnorm[0], s->batchnorm[1]);
    printf("  rest forward %.1f, backward %.1f\n", s->rest[0], s->rest[1]);
    printf("  total %.1f; convolutions %.1f%%; %.2f images/s\n", all, 100 * conv / all,
           (double)(batch * lanes) / all * 1e3);
}

int main(int argc, char **argv) {
    lk_error err = {0};
    lk_device *device = NULL;
    lk_op *op = NULL;
    lk_op_info info;
    sums s = {0};
    int lanes = argc > 3 ? atoi(argv[3]) : 1, repetitions = argc > 4 ? atoi(argv[4]) : 5;
    table t = {.batch = argc > 2 ? atoi(argv[2]) : 16, .block = 1};
    bool large = argc > 1 && strcmp(argv[1], "resnet50") == 0;
    if (t.batch < 1 || lanes < 1 || lanes > MAX_LANES || repetitions < 1) {
        fprintf(stderr, "usage: ops_bench [resnet18|resnet50] [batch] [lanes] [repetitions]\n");
        return 2;
    }
    lk_status status = LK_OK;
    LK_TRY(lk_device_create(&device, "cpu", 1, &err));
    printf("%s\n", device->identity(device));
    add_conv(&t, 1, 3, 224, 64, 7, 2); /* which blocks does this processor use? */
    LK_TRY(device->op_plan(device, &op, &t.rows[0].desc, &info, &err));
    device->op_free(device, op);
    t.block = info.y.block;
    t.count = 0;
    if (large)
        fill_resnet50(&t);
    else
        fill_resnet18(&t);
    for (int i = 0; i < t.count; i++) LK_TRY(run_row(device, &t.rows[i], lanes, repetitions, &s, &err));
    print_sums(&s, t.batch, lanes);
out:
    if (status != LK_OK) fprintf(stderr, "ops_bench: %s\n", err.message);
    lk_device_free(device);
    return status == LK_OK ? 0 : 1;
}
