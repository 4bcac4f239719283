/* Compiling a job for planning: the device, its plans, and what a number of ranks or another microbatch needs. */
#include <string.h>

#include "core/tree.h"
#include "device/described/described.h"
#include "device/module.h"
#include "dist/topology.h"
#include "jobs/plan.h"
#include "train/exchange.h"
#include "train/training_set.h"
#include "train/update_rows.h"

#define GPU_RESERVE 1.0e9 /* bytes: CUDA's context, the libraries' own memory, staging */

static lk_status count_samples(lk_compiled *c, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset *dataset = NULL;
    lk_training_set set = {0};
    lk_sampler *sampler = NULL;
    LK_TRY(lk_dataset_open(&dataset, c->job->data, err));
    LK_TRY(lk_training_set_read(&set, c->job, dataset, err));
    LK_TRY(lk_training_set_sampler(&sampler, &set, c->job, dataset, err));
    c->classes = dataset->class_count;
    c->samples = sampler->count;
    for (int64_t i = 0; i < dataset->count; i++) c->sample_bytes += (double)dataset->samples[i].length;
    c->sample_bytes /= dataset->count > 0 ? (double)dataset->count : 1;
    if (!c->job->drop_last) c->tail = c->samples % c->job->batch % c->job->microbatch;
out:
    lk_sampler_free(sampler);
    lk_training_set_free(&set);
    lk_dataset_free(dataset);
    return status;
}

/* Where a GPU of a known kind is named it is planned for by description; "this" is the GPU that answers. */
static lk_status open_device(lk_compiled *c, lk_error *err) {
    const char *name = c->flags->device != NULL ? c->flags->device : c->job->device;
    const char *const known[] = {"this", "auto", "cuda", "cpu", "reference"};
    bool is_known = c->flags->device == NULL;
    c->kind = lk_gpu_kind_find(name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) is_known |= strcmp(name, known[i]) == 0;
    if (c->kind == NULL && !is_known)
        return lk_fail(err, LK_ERR_CONFIG,
                       "--device %s is no device that plan knows: there are h100, a100, this, auto, cuda, cpu and "
                       "reference",
                       name);
    if (c->kind != NULL) {
        c->without_cudnn = c->flags->cudnn != LK_PLAN_HERE;
        return !c->without_cudnn ? lk_device_module_describe(&c->device, "cuda", c->kind, err)
                                 : lk_device_described_create(&c->device, c->kind, err);
    }
    if (strcmp(name, "this") == 0) name = "cuda";
    LK_RETURN_IF(lk_device_create(&c->device, name, (int)c->job->threads_per_microbatch, err));
    if (strcmp(c->device->name, "cuda") == 0) c->kind = lk_gpu_kind_of(c->device->identity(c->device));
    return LK_OK;
}

static lk_status compile_one(lk_compiled *c, lk_plan **out, int64_t batch, bool training, lk_error *err) {
    lk_plan_totals totals;
    lk_plan_options wanted = {.batch = batch,
                              .compute = lk_job_compute(c->job),
                              .training = training,
                              .group = (int)c->job->sync_batchnorm,
                              .recompute = (lk_recompute)c->job->recompute,
                              .like = c->train};
    LK_RETURN_IF(lk_plan_create(out, c->graph, c->device, &wanted, err));
    lk_plan_get_totals(*out, &totals);
    if (totals.arena_bytes > c->arena) c->arena = totals.arena_bytes;
    c->derived += totals.derived_bytes;
    return LK_OK;
}

lk_status lk_compile_job(lk_compiled *c, lk_error *err) {
    const lk_job *job = c->job;
    lk_model_spec spec;
    lk_node_id loss;
    LK_RETURN_IF(open_device(c, err));
    if (c->kind != NULL) c->cost = lk_cost_of(c->kind, lk_job_compute(job));
    c->classes = c->flags->classes;
    c->cores = (int)c->flags->cores;
    if (c->classes == 0) LK_RETURN_IF(count_samples(c, err));
    if (c->cores == 0) LK_RETURN_IF(lk_topology_cores(&c->cores, err));
    lk_job_model_spec(job, c->classes, &spec);
    LK_RETURN_IF(lk_model_build(&c->graph, job->model, &spec, err));
    LK_RETURN_IF(lk_graph_freeze(c->graph, job->freeze.names, job->freeze.batchnorm, &c->trained, err));
    LK_RETURN_IF(lk_graph_cross_entropy(c->graph, &loss, job->loss.smoothing, err));
    LK_RETURN_IF(compile_one(c, &c->train, job->microbatch, true, err));
    if (c->tail > 0) LK_RETURN_IF(compile_one(c, &c->last, c->tail, true, err));
    LK_RETURN_IF(compile_one(c, &c->evaluate, job->evaluate.batch, false, err));
    lk_plan_get_totals(c->train, &c->totals);
    return LK_OK;
}

void lk_compiled_release(lk_compiled *c) {
    lk_plan_free(c->train);
    lk_plan_free(c->last);
    lk_plan_free(c->evaluate);
    lk_graph_free(c->graph);
    lk_device_free(c->device);
}

double lk_plan_rank_bytes(const lk_compiled *c, int slabs, int lanes, double arena, double derived) {
    lk_optimizer_config optimizer;
    lk_job_optimizer(c->job, &optimizer);
    double slab = (double)c->totals.slab_count * (double)lk_dtype_size(c->device->master);
    /* Parameters, their moving average, the optimizer's state. */
    int state = 1 + (c->job->ema.decay > 0) + lk_optimizer_state_slabs(&optimizer);
    return (slabs + state) * slab + derived + lanes * arena;
}

lk_status lk_plan_rank_rows(const lk_compiled *c, lk_rank_row *rows, int *count, lk_error *err) {
    int leaves = lk_job_leaves(c->job), chain = lk_job_chain(c->job), group = (int)c->job->sync_batchnorm;
    *count = 0;
    for (int ranks = 1; ranks <= leaves && *count < LK_PLAN_MAX_ROWS; ranks++) {
        if (!lk_exchange_ranks_ok(leaves, chain, group, ranks)) continue;
        lk_rank_row *row = &rows[(*count)++];
        int64_t lanes = c->cores / c->job->threads_per_microbatch;
        *row = (lk_rank_row){.ranks = ranks, .accumulated = leaves / ranks};
        row->lanes = lanes < 1 ? 1 : lanes > row->accumulated ? row->accumulated : (int)lanes;
        if (c->device->most_lanes > 0 && row->lanes > c->device->most_lanes) row->lanes = c->device->most_lanes;
        row->lanes = lk_exchange_lanes(row->accumulated, group, row->lanes);
        row->slabs = lk_tree_slabs(lk_tree_share(leaves, ranks, 0), chain, row->lanes);
        row->bytes = lk_plan_rank_bytes(c, row->slabs, row->lanes, (double)c->arena, (double)c->derived);
        if (c->kind == NULL) continue;
        double seconds;
        lk_update_config config = {.job = c->job, .plan = c->train, .leaves = leaves, .ranks = ranks, .cost = &c->cost};
        LK_RETURN_IF(lk_update_predict(&seconds, &config, err));
        row->rate = (double)c->job->batch / seconds;
    }
    return LK_OK;
}

double lk_plan_gpu_room(const lk_gpu_kind *kind) { return (double)kind->memory - GPU_RESERVE; }

/* Plans a microbatch of this size from the description alone; extra: bytes of workspace that it does not know. */
static lk_status size_row(const lk_compiled *c, lk_device *device, int64_t microbatch, double extra, lk_size_row *row,
                          lk_error *err) {
    lk_status status;
    lk_plan *plan = NULL;
    lk_plan_totals totals;
    double seconds;
    int64_t leaves = c->job->batch / microbatch > 1 ? c->job->batch / microbatch : 1;
    lk_plan_options options = {.batch = microbatch, .compute = lk_job_compute(c->job), .training = true};
    options.recompute = (lk_recompute)c->job->recompute;
    LK_TRY(lk_plan_create(&plan, c->graph, device, &options, err));
    lk_plan_get_totals(plan, &totals);
    lk_update_config config = {.job = c->job, .plan = plan, .leaves = (int)leaves, .ranks = 1, .cost = &c->cost};
    LK_TRY(lk_update_predict(&seconds, &config, err));
    double arena = row->arena = (double)totals.arena_bytes + extra;
    int64_t most = c->job->max_ranks; /* of a job cut otherwise: where it does not divide, as without the key */
    int chain = most > 0 && leaves % most == 0 ? (int)(leaves / most) : 1;
    int slabs = lk_tree_slabs((lk_span){0, (int)leaves}, chain, 1);
    row->microbatch = microbatch;
    row->rate = (double)(leaves * microbatch) / seconds;
    lk_plan_get_totals(c->evaluate, &totals);
    if (arena < (double)totals.arena_bytes) arena = (double)totals.arena_bytes;
    row->bytes = lk_plan_rank_bytes(c, slabs, 1, arena, (double)c->derived);
out:
    lk_plan_free(plan);
    return status;
}

/* The largest microbatch that fits above `low`, which does, and below `high`, which does not: a multiple of 8 where
 * they are. *row stays as it is where there is none. */
static lk_status search_largest(const lk_compiled *c, lk_device *device, double extra, int64_t low, int64_t high,
                                lk_size_row *row, lk_error *err) {
    int64_t unit = low % 8 == 0 && high % 8 == 0 ? 8 : 1;
    while (high - low > unit) {
        lk_size_row tried;
        int64_t middle = (low + high) / 2 / unit * unit;
        LK_RETURN_IF(size_row(c, device, middle, extra, &tried, err));
        if (tried.bytes <= lk_plan_gpu_room(c->kind)) {
            low = middle;
            *row = tried;
        } else {
            high = middle;
        }
    }
    return LK_OK;
}

lk_status lk_plan_sizes(const lk_compiled *c, lk_size_row *rows, int *count, lk_error *err) {
    lk_status status;
    lk_device *device = NULL;
    lk_size_row tried, largest = {0};
    *count = 0;
    LK_TRY(lk_device_described_create(&device, c->kind, err));
    LK_TRY(size_row(c, device, c->job->microbatch, 0, &tried, err));
    /* What the engines of this microbatch ask for stands for those of the others. */
    double extra = (double)c->totals.arena_bytes - tried.arena;
    LK_TRY(size_row(c, device, c->job->microbatch, extra, &tried, err));
    while (tried.bytes <= lk_plan_gpu_room(c->kind) && *count < LK_PLAN_MAX_SIZES - 1) {
        rows[(*count)++] = largest = tried;
        LK_TRY(size_row(c, device, 2 * largest.microbatch, extra, &tried, err));
    }
    int64_t low = *count > 0 ? rows[*count - 1].microbatch : 0;
    LK_TRY(search_largest(c, device, extra, low, tried.microbatch, &largest, err));
    if (largest.microbatch > low) rows[(*count)++] = largest;
out:
    lk_device_free(device);
    return status;
}

lk_bound lk_plan_bound(const lk_compiled *c, double gpu_rate) {
    lk_bound b = {.gpu = gpu_rate, .rate = gpu_rate, .name = "GPU"};
    b.loader = c->cores * c->flags->loader_rate;
    b.cores_needed = gpu_rate / c->flags->loader_rate;
    b.storage_needed = gpu_rate * c->sample_bytes;
    if (c->sample_bytes > 0) b.storage = c->flags->storage_rate * 1e6 / c->sample_bytes;
    if (b.loader < b.rate) {
        b.rate = b.loader;
        b.name = "loader";
    }
    if (b.storage > 0 && b.storage < b.rate) {
        b.rate = b.storage;
        b.name = "storage";
    }
    return b;
}
