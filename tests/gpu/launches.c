/* gpu_launches MODEL PIXELS BATCH float32|bfloat16|float16 RECOMPUTE: runs one microbatch on the stand-in GPU and
 * compares, call by call, the launches that the plan counts with those that the stand-in saw. Prints a line for each
 * call that differs and one with the sums; status 1 where any differs. Needs LOCKSTEP_MODULES. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/model.h"
#include "nn/plan_internal.h"

#define CLASSES 5

typedef struct count {
    const lk_plan *plan;
    int64_t (*seen)(void);
    int64_t before, planned_sum, seen_sum;
    int call, wrong;
} count;

static void compare(count *c, const char *pass, const char *layer, int planned) {
    int64_t now = c->seen(), seen = now - c->before;
    if (seen != planned) printf("%s of %s: planned %d launches, seen %" PRId64 "\n", pass, layer, planned, seen);
    c->wrong += seen != planned;
    c->planned_sum += planned;
    c->seen_sum += seen;
    c->before = now;
}

/* A pass of several launches says what each is, and they add up to it. */
static int check_parts(const char *layer, const lk_op_launch *parts, int launches, double bytes, double flops) {
    int listed = 0;
    double all_bytes = 0, all_flops = 0;
    for (; listed < LK_OP_LAUNCHES && parts[listed].what != NULL; listed++) {
        all_bytes += parts[listed].bytes;
        all_flops += parts[listed].flops;
    }
    bool well = listed == 0 ? launches <= 1 : listed == launches && all_bytes == bytes && all_flops == flops;
    if (!well) printf("%s: %d launches, %d listed\n", layer, launches, listed);
    return !well;
}

static int check_all_parts(const lk_plan *plan) {
    int wrong = 0;
    for (int i = 0; i < plan->graph->count; i++) {
        const lk_op_info *info = &plan->nodes[i].info;
        const char *layer = plan->graph->nodes[i].name;
        if (plan->nodes[i].skipped) continue;
        wrong +=
            check_parts(layer, info->parts_forward, info->launches_forward, info->bytes_forward, info->flops_forward);
        wrong += check_parts(layer, info->parts_backward, info->launches_backward, info->bytes_backward,
                             info->flops_backward);
    }
    return wrong;
}

/* After each call of a pass. */
static lk_status on_call(void *context, int param, lk_error *err) {
    (void)err;
    count *c = context;
    const lk_plan *plan = c->plan;
    if (param >= 0) return LK_OK;
    while (c->call < plan->graph->count && plan->nodes[c->call].skipped) c->call++;
    int call = c->call++;
    if (call < plan->graph->count) {
        compare(c, "forward", plan->graph->nodes[call].name, plan->nodes[call].info.launches_forward);
        return LK_OK;
    }
    int at = call - plan->graph->count;
    lk_plan_step step = plan->backward[at];
    int finish = at + 1 == plan->backward_count ? lk_plan_finish_launches(plan) : 0; /* behind the last call */
    const char *layer = plan->graph->nodes[step.node].name;
    if (step.add >= 0)
        compare(c, "gradient sum", layer, plan->adds[step.add].info.launches_forward + finish);
    else if (step.again) /* never the last */
        compare(c, "again", layer, plan->nodes[step.node].info.launches_forward);
    else
        compare(c, "backward", layer, plan->nodes[step.node].info.launches_backward + finish);
    return LK_OK;
}

/* A microbatch's memory. */
typedef struct memory {
    void *params, *stats, *derived, *grads, *arena;
    uint8_t *images;
    int32_t *labels;
} memory;

static lk_status allocate(memory *m, const lk_plan *plan, lk_device *device, lk_error *err) {
    lk_plan_totals t;
    lk_plan_get_totals(plan, &t);
    int64_t size = (int64_t)lk_dtype_size(device->master);
    const lk_graph *g = plan->graph;
    LK_RETURN_IF(device->alloc(device, &m->params, t.slab_count * size, "parameters", err));
    LK_RETURN_IF(device->alloc(device, &m->stats, t.stats_count * size, "statistics", err));
    LK_RETURN_IF(device->alloc(device, &m->derived, t.derived_bytes, "derived parameters", err));
    LK_RETURN_IF(device->alloc(device, &m->grads, t.slab_count * size, "gradients", err));
    LK_RETURN_IF(device->alloc(device, &m->arena, t.arena_bytes, "an arena", err));
    LK_RETURN_IF(LK_NEW(&m->images, plan->options.batch * g->in_channels * g->in_h * g->in_w, "images", err));
    return LK_NEW(&m->labels, plan->options.batch, "labels", err);
}

static void release(memory *m, lk_device *device) {
    void *const parts[] = {m->params, m->stats, m->derived, m->grads, m->arena};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i] != NULL) device->release(device, parts[i]);
    lk_free(m->images);
    lk_free(m->labels);
}

static lk_status run_microbatch(count *c, lk_device *device, const memory *m, lk_error *err) {
    lk_status status = LK_OK;
    lk_stream *stream = NULL;
    lk_lane *lane = NULL;
    int64_t rows = c->plan->options.batch;
    lk_run run = {.params = m->params,
                  .derived = m->derived,
                  .grads = m->grads,
                  .stats = m->stats,
                  .images = m->images,
                  .labels = m->labels,
                  .rows = rows,
                  .loss_scale = 1.0 / (double)rows};
    LK_TRY(lk_plan_initialise(c->plan, 1, 1, m->params, m->stats, err));
    LK_TRY(device->stream_create(device, &stream, err));
    LK_TRY(lk_lane_create(&lane, c->plan, stream, m->arena, err));
    c->before = c->seen();
    LK_TRY(lk_plan_refresh(c->plan, stream, m->params, m->derived, err));
    compare(c, "refresh", "all layers", c->plan->totals.refresh_launches);
    LK_TRY(lk_lane_forward(lane, &run, on_call, c, err));
    c->call = c->plan->graph->count;
    LK_TRY(lk_lane_backward(lane, &run, on_call, c, err));
    LK_TRY(device->synchronize(device, stream, err));
out:
    lk_lane_free(lane);
    if (stream != NULL) device->stream_free(device, stream);
    return status;
}

static lk_status compile(lk_plan **plan, lk_graph **graph, lk_device *device, char **argv, lk_error *err) {
    int64_t pixels = strtoll(argv[2], NULL, 10);
    lk_node_id loss;
    lk_model_spec spec = {.channels = 3, .h = pixels, .w = pixels, .classes = CLASSES, .std = {1, 1, 1}};
    spec.dropout = spec.drop_path = 0.2;
    lk_plan_options options = {.batch = strtoll(argv[3], NULL, 10), .training = true};
    options.recompute = (lk_recompute)strtol(argv[5], NULL, 10);
    options.compute = strcmp(argv[4], "bfloat16") == 0 ? LK_BF16 : strcmp(argv[4], "float16") == 0 ? LK_F16 : LK_F32;
    LK_RETURN_IF(lk_model_build(graph, argv[1], &spec, err));
    LK_RETURN_IF(lk_graph_cross_entropy(*graph, &loss, 0.1, err));
    return lk_plan_create(plan, *graph, device, &options, err);
}

static lk_status find_counter(count *c, lk_error *err) {
    void *library = dlopen("libsim_cudart.so", RTLD_NOLOAD | RTLD_NOW);
    if (library != NULL) *(void **)&c->seen = dlsym(library, "sim_launches");
    return c->seen != NULL ? LK_OK : lk_fail(err, LK_ERR_CONFIG, "the CUDA module is not that of the stand-in GPU");
}

int main(int argc, char **argv) {
    lk_status status = LK_OK;
    lk_error err = {0};
    lk_device *device = NULL;
    lk_graph *graph = NULL;
    lk_plan *plan = NULL;
    count c = {0};
    memory m = {0};
    if (argc != 6) {
        fprintf(stderr, "usage: gpu_launches MODEL PIXELS BATCH float32|bfloat16|float16 RECOMPUTE\n");
        return 2;
    }
    LK_TRY(lk_device_create(&device, "cuda", 1, &err));
    LK_TRY(find_counter(&c, &err));
    LK_TRY(compile(&plan, &graph, device, argv, &err));
    c.plan = plan;
    LK_TRY(allocate(&m, plan, device, &err));
    LK_TRY(run_microbatch(&c, device, &m, &err));
    c.wrong += check_all_parts(plan);
    printf("%s %s: planned %" PRId64 " launches, seen %" PRId64 "\n", argv[1], argv[4], c.planned_sum, c.seen_sum);
out:
    if (status != LK_OK) fprintf(stderr, "gpu_launches: %s\n", err.message);
    if (device != NULL) release(&m, device);
    lk_plan_free(plan);
    lk_graph_free(graph);
    lk_device_free(device);
    return status == LK_OK && c.wrong == 0 && c.seen_sum > 0 ? 0 : 1;
}
