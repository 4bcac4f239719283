/* Does what a rank is about to allocate fit into the memory of its device? Said before the first step, with what would
 * fit. */
#include <inttypes.h>
#include <stdio.h>

#include "train/trainer_internal.h"

#define RESERVE 0.02 /* of the device's memory: what libraries take beside what is counted here */

/* A way to cut the batch, and the bytes of a rank beside parameters and optimizer, which it has by then. */
typedef struct cut {
    int64_t microbatch;
    lk_recompute recompute;
    double activations, bytes;
} cut;

static double bytes_of(const lk_trainer *t, int64_t microbatch, int lanes, double arena) {
    const lk_network *network = t->network;
    int leaves = (int)(t->job->batch / microbatch), ranks = t->comm->size;
    int chain = t->job->max_ranks == 0 ? 1 : leaves / (int)t->job->max_ranks;
    int slabs = lk_tree_slabs(lk_tree_share(leaves, ranks, t->comm->rank), chain, lanes);
    double element = (double)lk_dtype_size(t->device->master);
    return lanes * arena + slabs * (double)network->totals.slab_count * element +
           leaves * (double)network->totals.stats_count * element;
}

static lk_status measure_plan(double *arena, const lk_trainer *t, const lk_plan_options *options, lk_error *err) {
    lk_plan *plan = NULL;
    lk_plan_totals totals;
    LK_RETURN_IF(lk_plan_create(&plan, t->network->graph, t->device, options, err));
    lk_plan_get_totals(plan, &totals);
    if ((double)totals.arena_bytes > *arena) *arena = (double)totals.arena_bytes;
    lk_plan_free(plan);
    return LK_OK;
}

/* Fills activations and bytes. Evaluation takes the microbatch, unless the job says otherwise. */
static lk_status measure(cut *c, const lk_trainer *t, lk_error *err) {
    const lk_job *job = t->job;
    int64_t evaluated = job->evaluate.batch == job->microbatch ? c->microbatch : job->evaluate.batch;
    lk_plan_options train = {.batch = c->microbatch,
                             .compute = lk_job_compute(job),
                             .training = true,
                             .group = (int)job->sync_batchnorm,
                             .recompute = c->recompute};
    lk_plan_options evaluate = {.batch = evaluated, .compute = train.compute};
    c->activations = 0;
    LK_RETURN_IF(measure_plan(&c->activations, t, &train, err));
    LK_RETURN_IF(measure_plan(&c->activations, t, &evaluate, err));
    c->bytes = bytes_of(t, c->microbatch, 1, c->activations);
    return LK_OK;
}

static bool is_cut(const lk_trainer *t, int64_t microbatch) {
    const lk_job *job = t->job;
    if (job->batch % microbatch != 0) return false;
    int64_t leaves = job->batch / microbatch;
    if (job->max_ranks > 0 && leaves % job->max_ranks != 0) return false;
    int chain = job->max_ranks == 0 ? 1 : (int)(leaves / job->max_ranks);
    return lk_exchange_ranks_ok((int)leaves, chain, (int)job->sync_batchnorm, t->comm->size);
}

/* The largest microbatch below the job's that fits; 0: none does. */
static int64_t find_microbatch(const lk_trainer *t, double room) {
    for (int64_t size = t->job->microbatch / 2; size >= 1; size--) {
        cut c = {.microbatch = size, .recompute = (lk_recompute)t->job->recompute};
        lk_error ignored = {0};
        if (!is_cut(t, size)) continue;
        if (measure(&c, t, &ignored) != LK_OK) return 0; /* BatchNorm sees too few values */
        if (c.bytes <= room) return size;
    }
    return 0;
}

/* The mildest way to compute again with which the job's own microbatch fits; LK_RECOMPUTE_COUNT: none. */
static lk_recompute find_recompute(const lk_trainer *t, double room) {
    int level = (int)t->job->recompute + 1;
    for (; level < LK_RECOMPUTE_COUNT; level++) {
        cut c = {.microbatch = t->job->microbatch, .recompute = (lk_recompute)level};
        lk_error ignored = {0};
        if (measure(&c, t, &ignored) == LK_OK && c.bytes <= room) break;
    }
    return (lk_recompute)level;
}

static lk_status refuse(const lk_trainer *t, int64_t room, double bytes, double usable, lk_error *err) {
    static const char *const levels[] = {"none", "convs", "all"};
    char microbatch[96] = "", again[64] = "";
    int64_t fits = find_microbatch(t, usable);
    lk_recompute level = find_recompute(t, usable);
    if (fits > 0)
        snprintf(microbatch, sizeof microbatch, "the largest microbatch that fits is %" PRId64, fits);
    else
        snprintf(microbatch, sizeof microbatch, "no smaller microbatch that divides the batch fits");
    if (level < LK_RECOMPUTE_COUNT)
        snprintf(again, sizeof again, "; this one fits with recompute: %s, with the same bits", levels[level]);
    return lk_fail(err, LK_ERR_MEMORY,
                   "the GPU has %.1f MB free beside the parameters, and a microbatch of %" PRId64
                   " needs %.1f MB (activations %.1f MB): %s%s",
                   (double)room / 1e6, t->job->microbatch, bytes / 1e6, (double)t->network->arena_bytes / 1e6,
                   microbatch, again);
}

lk_status lk_trainer_check_memory(const lk_trainer *t, int lanes, lk_error *err) {
    int64_t room, total;
    if (t->device->memory_room == NULL) return LK_OK;
    LK_RETURN_IF(t->device->memory_room(t->device, &room, &total, err));
    double bytes = bytes_of(t, t->job->microbatch, lanes, (double)t->network->arena_bytes);
    if (bytes <= (double)room) return LK_OK;
    return refuse(t, room, bytes, (double)room - RESERVE * (double)total, err);
}
