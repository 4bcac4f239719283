/* Where a training step goes: every call of a model's plan is timed in its place, on one or more lanes side by side.
 *   step_profile MODEL [batch] [lanes] [repetitions] [pixels] [device] [float32|bfloat16]
 * The time of a call is processor time, the shortest of the repetitions, on the slowest lane; on a device with memory
 * of its own it is wall time with a wait after each call, and whole steps without waits are timed as well. Not in it:
 * data, sums over microbatches, the optimizer. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/memory.h"
#include "nn/model.h"
#include "nn/plan_internal.h"

#define MAX_LANES 16
#define CLASSES 10

/* What calls are added up under. */
typedef struct group {
    char name[64];
    int calls;
    double forward, backward; /* seconds */
    double bytes, flops;      /* as the device counts them */
} group;

typedef struct worker {
    const lk_plan *plan;
    lk_device *device;
    const void *params, *derived;
    pthread_barrier_t *barrier;
    int repetitions;
    double *seconds; /* of each call, forward then backward: the shortest */
    /* of the pass that runs */
    lk_stream *stream;
    double before;
    int call;
    double whole; /* seconds of a step without waits: the shortest; on a device with memory of its own */
    lk_status status;
    lk_error err;
} worker;

/* On the host, of this thread: what other programs take does not count. */
static double seconds(const worker *w) {
    struct timespec t;
    clock_gettime(w->device->host_memory ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Ends one call. */
static lk_status on_call(void *context, int param, lk_error *err) {
    worker *w = context;
    if (param >= 0) return LK_OK;
    LK_RETURN_IF(w->device->synchronize(w->device, w->stream, err));
    while (w->call < w->plan->graph->count && w->plan->nodes[w->call].skipped) w->call++;
    double now = seconds(w), taken = now - w->before;
    if (taken < w->seconds[w->call]) w->seconds[w->call] = taken;
    w->call++;
    w->before = seconds(w);
    return LK_OK;
}

static lk_status step(worker *w, lk_lane *lane, const lk_run *run) {
    w->call = 0;
    w->before = seconds(w);
    LK_RETURN_IF(lk_lane_forward(lane, run, on_call, w, &w->err));
    w->call = w->plan->graph->count;
    w->before = seconds(w);
    return lk_lane_backward(lane, run, on_call, w, &w->err);
}

/* Steps one after another, as training runs them. */
static lk_status whole_steps(worker *w, lk_lane *lane, const lk_run *run) {
    const int steps = 4;
    double start = seconds(w);
    for (int i = 0; i < steps; i++) {
        LK_RETURN_IF(lk_lane_forward(lane, run, NULL, NULL, &w->err));
        LK_RETURN_IF(lk_lane_backward(lane, run, NULL, NULL, &w->err));
    }
    LK_RETURN_IF(w->device->synchronize(w->device, w->stream, &w->err));
    double taken = (seconds(w) - start) / steps;
    if (w->whole == 0 || taken < w->whole) w->whole = taken;
    return LK_OK;
}

static lk_status run_lane(worker *w) {
    lk_device *device = w->device;
    const lk_plan_options *options = &w->plan->options;
    const lk_graph *g = w->plan->graph;
    void *arena = NULL, *grads = NULL, *stats = NULL;
    uint8_t *images = NULL;
    int32_t *labels = NULL;
    lk_stream *stream = NULL;
    lk_lane *lane = NULL;
    lk_status status = LK_OK;
    lk_error *err = &w->err;
    int64_t pixels = options->batch * g->in_channels * g->in_h * g->in_w;
    LK_TRY(device->alloc(device, &arena, w->plan->totals.arena_bytes, "an arena", err));
    LK_TRY(device->alloc(device, &grads, w->plan->totals.slab_count * (int64_t)sizeof(float), "gradients", err));
    LK_TRY(device->alloc(device, &stats, w->plan->totals.stats_count * (int64_t)sizeof(float), "statistics", err));
    LK_TRY(LK_NEW(&images, pixels, "images", err));
    LK_TRY(LK_NEW(&labels, options->batch, "labels", err));
    LK_TRY(device->stream_create(device, &stream, err));
    w->stream = stream;
    LK_TRY(lk_lane_create(&lane, w->plan, stream, arena, err));
    for (int64_t i = 0; i < pixels; i++) images[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int64_t i = 0; i < options->batch; i++) labels[i] = (int32_t)(i % CLASSES);
    lk_run run = {.params = w->params,
                  .derived = w->derived,
                  .grads = grads,
                  .stats = stats,
                  .images = images,
                  .labels = labels,
                  .rows = options->batch,
                  .loss_scale = 1.0 / (double)options->batch};
    for (int i = 0; i < w->repetitions; i++) {
        pthread_barrier_wait(w->barrier);
        LK_TRY(step(w, lane, &run));
        if (!device->host_memory) LK_TRY(whole_steps(w, lane, &run));
    }
out:
    lk_lane_free(lane);
    if (stream != NULL) device->stream_free(device, stream);
    if (arena != NULL) device->release(device, arena);
    if (grads != NULL) device->release(device, grads);
    if (stats != NULL) device->release(device, stats);
    lk_free(images);
    lk_free(labels);
    return status;
}

static void *work(void *argument) {
    worker *w = argument;
    w->status = run_lane(w);
    return NULL;
}

static void name_group(char *name, size_t size, const lk_plan *plan, int call) {
    int count = plan->graph->count;
    bool adds = call >= count && plan->backward[call - count].add >= 0;
    const lk_op_desc *d = &plan->nodes[call < count ? call : plan->backward[call - count].node].desc;
    if (adds)
        snprintf(name, size, "add of gradients");
    else if (d->kind == LK_OP_CONV2D && d->x.h * d->x.w == 1)
        snprintf(name, size, "conv2d on 1 pixel");
    else if (d->kind == LK_OP_CONV2D)
        snprintf(name, size, "conv2d %" PRId64 "x%" PRId64 "%s", d->conv.kernel_h, d->conv.kernel_w,
                 d->conv.groups > 1 ? " depthwise" : "");
    else if (d->kind == LK_OP_BATCHNORM)
        snprintf(name, size, "batchnorm %s%s", lk_act_name(d->batchnorm.act), d->batchnorm.residual ? " residual" : "");
    else
        snprintf(name, size, "%s", lk_op_kind_name(d->kind));
}

/* Adds what the device says that a call moves and computes. */
static void count_work(group *g, const lk_plan *plan, int call) {
    bool back = call >= plan->graph->count;
    if (back && plan->backward[call - plan->graph->count].add >= 0) return;
    const lk_op_info *info = &plan->nodes[back ? plan->backward[call - plan->graph->count].node : call].info;
    g->bytes += back ? info->bytes_backward : info->bytes_forward;
    g->flops += back ? info->flops_backward : info->flops_forward;
}

static void add_call(group *groups, int *count, const lk_plan *plan, int call, double seconds) {
    char name[sizeof groups->name];
    int i = 0;
    name_group(name, sizeof name, plan, call);
    while (i < *count && strcmp(groups[i].name, name) != 0) i++;
    if (i == *count) snprintf(groups[(*count)++].name, sizeof name, "%s", name);
    groups[i].calls++;
    count_work(&groups[i], plan, call);
    *(call < plan->graph->count ? &groups[i].forward : &groups[i].backward) += seconds;
}

static int by_time(const void *a, const void *b) {
    const group *x = a, *y = b;
    double first = x->forward + x->backward, second = y->forward + y->backward;
    return first < second ? 1 : first > second ? -1 : 0;
}

static void print_groups(const lk_plan *plan, const worker *workers, int lanes) {
    group groups[64] = {0}, all = {.name = "all"};
    int count = 0, calls = plan->graph->count + plan->backward_count;
    for (int call = 0; call < calls; call++) {
        double slowest = 0;
        if (call < plan->graph->count && plan->nodes[call].skipped) continue;
        for (int i = 0; i < lanes; i++)
            if (workers[i].seconds[call] > slowest) slowest = workers[i].seconds[call];
        add_call(groups, &count, plan, call, slowest);
        *(call < plan->graph->count ? &all.forward : &all.backward) += slowest;
        all.calls++;
        count_work(&all, plan, call);
    }
    qsort(groups, (size_t)count, sizeof *groups, by_time);
    groups[count] = all;
    printf(
        "| layers | calls | forward ms | backward ms | share %% | GB/s | GFLOP/s |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (int i = 0; i <= count; i++) {
        double taken = groups[i].forward + groups[i].backward;
        printf("| %s | %d | %.2f | %.2f | %.1f | %.1f | %.1f |\n", groups[i].name, groups[i].calls,
               groups[i].forward * 1e3, groups[i].backward * 1e3, 100 * taken / (all.forward + all.backward),
               groups[i].bytes / taken * 1e-9, groups[i].flops / taken * 1e-9);
    }
    printf("%d lanes of %" PRId64 " images: %.2f images/s\n", lanes, plan->options.batch,
           (double)(lanes * plan->options.batch) / (all.forward + all.backward));
    if (workers[0].whole > 0)
        printf("whole steps: %.3f ms, %.0f images/s; arena %.0f MB\n", workers[0].whole * 1e3,
               (double)plan->options.batch / workers[0].whole, (double)plan->totals.arena_bytes / 1e6);
}

static lk_status profile(const lk_plan *plan, lk_device *device, int lanes, int repetitions, lk_error *err) {
    worker workers[MAX_LANES] = {0};
    pthread_t threads[MAX_LANES];
    pthread_barrier_t barrier;
    void *params = NULL, *stats = NULL, *derived = NULL;
    lk_stream *stream = NULL;
    lk_status status = LK_OK;
    int calls = plan->graph->count + plan->backward_count;
    pthread_barrier_init(&barrier, NULL, (unsigned)lanes);
    LK_TRY(device->alloc(device, &params, plan->totals.slab_count * (int64_t)sizeof(float), "parameters", err));
    LK_TRY(device->alloc(device, &stats, plan->totals.stats_count * (int64_t)sizeof(float), "statistics", err));
    LK_TRY(device->alloc(device, &derived, plan->totals.derived_bytes + 64, "derived parameters", err));
    LK_TRY(device->stream_create(device, &stream, err));
    LK_TRY(lk_plan_initialise(plan, 1, lanes, params, stats, err));
    LK_TRY(lk_plan_refresh(plan, stream, params, derived, err));
    for (int i = 0; i < lanes; i++) {
        workers[i] = (worker){.plan = plan,
                              .device = device,
                              .params = params,
                              .derived = derived,
                              .barrier = &barrier,
                              .repetitions = repetitions};
        LK_TRY(LK_NEW(&workers[i].seconds, calls, "times", err));
        for (int call = 0; call < calls; call++) workers[i].seconds[call] = 1e30;
    }
    for (int i = 0; i < lanes; i++)
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) abort();
    for (int i = 0; i < lanes; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < lanes; i++)
        if (workers[i].status != LK_OK) LK_TRY(lk_fail(err, workers[i].status, "%s", workers[i].err.message));
    print_groups(plan, workers, lanes);
out:
    for (int i = 0; i < lanes; i++) lk_free(workers[i].seconds);
    if (stream != NULL) device->stream_free(device, stream);
    if (params != NULL) device->release(device, params);
    if (stats != NULL) device->release(device, stats);
    if (derived != NULL) device->release(device, derived);
    pthread_barrier_destroy(&barrier);
    return status;
}

int main(int argc, char **argv) {
    lk_error err = {0};
    lk_device *device = NULL;
    lk_graph *graph = NULL;
    lk_plan *plan = NULL;
    lk_node_id loss;
    lk_status status = LK_OK;
    int batch = argc > 2 ? atoi(argv[2]) : 16, lanes = argc > 3 ? atoi(argv[3]) : 1;
    int repetitions = argc > 4 ? atoi(argv[4]) : 5, size = argc > 5 ? atoi(argv[5]) : 224;
    if (argc < 2 || batch < 1 || lanes < 1 || lanes > MAX_LANES || repetitions < 1) {
        fprintf(stderr,
                "usage: step_profile MODEL [batch] [lanes] [repetitions] [pixels] [device] [float32|bfloat16]\n");
        return 2;
    }
    lk_model_spec spec = {.channels = 3,
                          .h = size,
                          .w = size,
                          .classes = CLASSES,
                          .dropout = -1,
                          .drop_path = -1,
                          .mean = {0.5f, 0.5f, 0.5f},
                          .std = {0.25f, 0.25f, 0.25f}};
    bool bf16 = argc > 7 && strcmp(argv[7], "bfloat16") == 0;
    lk_plan_options options = {.batch = batch, .compute = bf16 ? LK_BF16 : LK_F32, .training = true};
    LK_TRY(lk_device_create(&device, argc > 6 ? argv[6] : "cpu", 1, &err));
    LK_TRY(lk_model_build(&graph, argv[1], &spec, &err));
    LK_TRY(lk_graph_cross_entropy(graph, &loss, 0, &err));
    LK_TRY(lk_plan_create(&plan, graph, device, &options, &err));
    printf("%s, %d px, %s, %s\n", argv[1], size, lk_dtype_name(options.compute), device->identity(device));
    LK_TRY(profile(plan, device, lanes, repetitions, &err));
out:
    if (status != LK_OK) fprintf(stderr, "step_profile: %s\n", err.message);
    lk_plan_free(plan);
    lk_graph_free(graph);
    lk_device_free(device);
    return status == LK_OK ? 0 : 1;
}
