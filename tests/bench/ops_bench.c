/* Times every op of a model's training plan on the cpu device: forward, data gradient, weight gradient, on one or more
 * lanes side by side, so that one sees where a training step goes.
 *   ops_bench MODEL [batch] [lanes] [repetitions] [pixels]
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
#include "nn/model.h"
#include "nn/plan_internal.h"

#define MAX_LANES 16
#define MAX_ROWS 256

/* One op and how often a step runs it. */
typedef struct row {
    lk_op_desc desc;
    int times;
} row;

typedef struct table {
    row rows[MAX_ROWS];
    int count;
    int64_t batch;
} table;

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Adds an op, or counts it where an equal one is there: the number of a layer that draws is no difference. */
static bool add_op(table *t, const lk_op_desc *desc) {
    lk_op_desc plain = *desc;
    plain.layer = 0;
    plain.like = NULL;
    for (int i = 0; i < t->count; i++)
        if (memcmp(&t->rows[i].desc, &plain, sizeof plain) == 0) {
            t->rows[i].times++;
            return true;
        }
    if (t->count == MAX_ROWS) return false;
    t->rows[t->count++] = (row){plain, 1};
    return true;
}

/* The ops of a model's training plan. */
static lk_status fill_table(table *t, lk_device *device, const char *model, int64_t size, lk_error *err) {
    lk_graph *graph = NULL;
    lk_plan *plan = NULL;
    lk_node_id loss;
    lk_model_spec spec = {
        .channels = 3, .h = size, .w = size, .classes = 10, .dropout = -1, .drop_path = -1, .std = {1, 1, 1}};
    lk_plan_options options = {.batch = t->batch, .compute = LK_F32, .training = true};
    lk_status status = LK_OK;
    LK_TRY(lk_model_build(&graph, model, &spec, err));
    LK_TRY(lk_graph_cross_entropy(graph, &loss, 0, err));
    LK_TRY(lk_plan_create(&plan, graph, device, &options, err));
    for (int i = 0; i < graph->count; i++)
        if (!add_op(t, &plan->nodes[i].desc))
            LK_TRY(lk_fail(err, LK_ERR_CONFIG, "%s has more than %d different layers", model, MAX_ROWS));
out:
    lk_plan_free(plan);
    lk_graph_free(graph);
    return status;
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
    LK_TRY(get(l, &residual, desc->kind == LK_OP_SCALE ? lk_act_bytes(&desc->scale.gate) : y_bytes));
    LK_TRY(get(l, &b.dx, lk_act_bytes(&desc->x)));
    LK_TRY(get(l, &b.dresidual, y_bytes));
    LK_TRY(get(l, &b.stash, l->info.stash_bytes));
    LK_TRY(get(l, &b.workspace, l->info.workspace_bytes));
    LK_TRY(get(l, &b.unfinished, l->info.unfinished_bytes));
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
        if (l->status == LK_OK && l->device->finish_gradients != NULL)
            l->status = l->device->finish_gradients(l->device, l->stream, &l->err);
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
    double conv[3], depthwise[3], batchnorm[2], rest[2];
} sums;

static lk_status run_conv(lk_device *device, const row *r, int lanes, int repetitions, sums *s, lk_error *err) {
    const lk_op_desc *d = &r->desc;
    lk_op_info info, again;
    lk_op_desc alone = *d;
    double forward, backward, unused, weight;
    alone.need_dx = false;
    LK_RETURN_IF(measure(device, d, lanes, repetitions, &forward, &backward, &info, err));
    LK_RETURN_IF(measure(device, &alone, lanes, repetitions, &unused, &weight, &again, err));
    double data = d->need_dx ? backward - weight : 0, flops = info.flops_forward * 1e-6;
    bool depthwise = d->conv.groups > 1;
    printf("%-9s %2dx %5" PRId64 " ch %4" PRId64 " px -> %5" PRId64 " k%" PRId64 " s%" PRId64
           "  fwd %8.2f (%5.1f)  dx %8.2f (%5.1f)  dw %8.2f (%5.1f)  %s | %s | %s\n",
           depthwise ? "depthwise" : "conv", r->times, d->x.c, d->x.h, d->conv.out_channels, d->conv.kernel_h,
           d->conv.stride, forward, flops / forward, data, data > 0 ? flops / data : 0, weight, flops / weight,
           info.impl_forward, info.impl_dx, info.impl_dw);
    double *into = depthwise ? s->depthwise : s->conv;
    into[0] += r->times * forward;
    into[1] += r->times * data;
    into[2] += r->times * weight;
    return LK_OK;
}

static lk_status run_row(lk_device *device, const row *r, int lanes, int repetitions, sums *s, lk_error *err) {
    const lk_op_desc *d = &r->desc;
    lk_op_info info;
    double forward, backward;
    if (d->kind == LK_OP_CONV2D) return run_conv(device, r, lanes, repetitions, s, err);
    LK_RETURN_IF(measure(device, d, lanes, repetitions, &forward, &backward, &info, err));
    bool norm = d->kind == LK_OP_BATCHNORM;
    printf("%-14s %2dx %5" PRId64 " ch %4" PRId64
           " px %-5s %s %d dy  fwd %8.2f (%5.1f GB/s)  bwd %8.2f (%5.1f GB/s)  %s\n",
           lk_op_kind_name(d->kind), r->times, d->x.c, d->x.h, lk_act_name(norm ? d->batchnorm.act : LK_ACT_NONE),
           norm && d->batchnorm.residual ? "residual" : "-", d->dy_count, forward, info.bytes_forward * 1e-6 / forward,
           backward, info.bytes_backward * 1e-6 / backward, info.impl_forward);
    double *into = norm ? s->batchnorm : s->rest;
    into[0] += r->times * forward;
    into[1] += r->times * backward;
    return LK_OK;
}

static void print_sums(const sums *s, int64_t batch, int lanes) {
    double conv = s->conv[0] + s->conv[1] + s->conv[2], norm = s->batchnorm[0] + s->batchnorm[1];
    double depthwise = s->depthwise[0] + s->depthwise[1] + s->depthwise[2];
    double rest = s->rest[0] + s->rest[1], all = conv + depthwise + norm + rest;
    printf("ms for %" PRId64 " images on each of %d lanes\n", batch, lanes);
    printf("  conv %.1f: forward %.1f, data gradient %.1f, weight gradient %.1f\n", conv, s->conv[0], s->conv[1],
           s->conv[2]);
    printf("  depthwise %.1f: forward %.1f, data gradient %.1f, weight gradient %.1f\n", depthwise, s->depthwise[0],
           s->depthwise[1], s->depthwise[2]);
    printf("  batchnorm %.1f: forward %.1f, backward %.1f\n", norm, s->batchnorm[0], s->batchnorm[1]);
    printf("  rest %.1f: forward %.1f, backward %.1f\n", rest, s->rest[0], s->rest[1]);
    printf("  total %.1f; %.2f images/s\n", all, (double)(batch * lanes) / all * 1e3);
}

int main(int argc, char **argv) {
    lk_error err = {0};
    lk_device *device = NULL;
    sums s = {0};
    int lanes = argc > 3 ? atoi(argv[3]) : 1, repetitions = argc > 4 ? atoi(argv[4]) : 5;
    int size = argc > 5 ? atoi(argv[5]) : 224;
    table t = {.batch = argc > 2 ? atoi(argv[2]) : 16};
    if (argc < 2 || t.batch < 1 || lanes < 1 || lanes > MAX_LANES || repetitions < 1) {
        fprintf(stderr, "usage: ops_bench MODEL [batch] [lanes] [repetitions] [pixels]\n");
        return 2;
    }
    lk_status status = LK_OK;
    LK_TRY(lk_device_create(&device, "cpu", 1, &err));
    printf("%s\n", device->identity(device));
    LK_TRY(fill_table(&t, device, argv[1], size, &err));
    for (int i = 0; i < t.count; i++) LK_TRY(run_row(device, &t.rows[i], lanes, repetitions, &s, &err));
    print_sums(&s, t.batch, lanes);
out:
    if (status != LK_OK) fprintf(stderr, "ops_bench: %s\n", err.message);
    lk_device_free(device);
    return status == LK_OK ? 0 : 1;
}
