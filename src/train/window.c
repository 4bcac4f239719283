#include "train/window.h"

#include <string.h>

#include "core/memory.h"
#include "train/window_internal.h"

int64_t lk_window_stats_bytes(const lk_window *window) {
    return window->network->totals.stats_count * (int64_t)lk_dtype_size(window->network->device->master);
}

lk_status lk_window_drive_reducer(lk_window *window, lk_error *err) {
    if (!window->buckets_may_leave) return LK_OK;
    int bucket;
    while ((bucket = lk_gradient_tree_next(&window->tree, &window->taken)) >= 0)
        LK_RETURN_IF(lk_reducer_submit(window->reducer, bucket, err));
    return lk_reducer_poll(window->reducer, err);
}

uint64_t lk_sample_hash(int64_t sample) {
    /* The finaliser of splitmix64: a bijection that scatters neighbours. */
    uint64_t x = (uint64_t)sample + UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static lk_status create_worker(lk_window *window, lk_window_worker *worker, lk_error *err) {
    const lk_network *network = window->network;
    lk_device *device = network->device;
    int64_t bytes = lk_plan_output_bytes(network->plans[LK_NETWORK_TRAIN]);
    worker->counted = -1;
    LK_RETURN_IF(LK_NEW(&worker->params_left, window->buckets.count, "worker state", err));
    LK_RETURN_IF(LK_NEW(&worker->logits, window->microbatch * network->graph->classes, "logits", err));
    LK_RETURN_IF(LK_NEW(&worker->losses, window->microbatch, "losses", err));
    LK_RETURN_IF(device->host_alloc(device, &worker->outputs, bytes, "logits", err));
    return device->event_create(device, &worker->fetched, err);
}

static void free_worker(lk_window *window, lk_window_worker *worker) {
    lk_device *device = window->network->device;
    lk_free(worker->params_left);
    lk_free(worker->logits);
    lk_free(worker->losses);
    device->event_free(device, worker->fetched);
    device->host_release(device, worker->outputs);
}

static lk_status create_buffers(lk_window *window, lk_error *err) {
    lk_device *device = window->network->device;
    int64_t leaves = window->share.count;
    window->leaf_bytes = (int64_t)lk_round_up(sizeof(lk_leaf_record) + (size_t)lk_window_stats_bytes(window));
    LK_RETURN_IF(device->host_alloc(device, (void **)&window->mine, leaves * window->leaf_bytes,
                                    "statistics of the leaves", err));
    memset(window->mine, 0, (size_t)(leaves * window->leaf_bytes)); /* leaves that are absent travel too */
    LK_RETURN_IF(device->host_alloc(device, (void **)&window->all, leaves * window->comm->size * window->leaf_bytes,
                                    "statistics of all leaves", err));
    LK_RETURN_IF(device->alloc(device, &window->stats, leaves * window->comm->size * lk_window_stats_bytes(window),
                               "statistics of the leaves", err));
    LK_RETURN_IF(LK_NEW(&window->workers, window->lanes->count, "worker state", err));
    for (int i = 0; i < window->lanes->count; i++) LK_RETURN_IF(create_worker(window, &window->workers[i], err));
    return LK_OK;
}

static lk_status do_nothing(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    (void)context, (void)index, (void)worker, (void)slot, (void)err;
    return LK_OK;
}

static lk_status create_exchange(lk_window *window, int leaves, lk_error *err) {
    int count;
    int64_t most = 1;
    const lk_stat *stats = lk_plan_get_stats(window->network->plans[LK_NETWORK_TRAIN], &count);
    for (int i = 0; i < count; i++)
        if (stats[i].channels > most) most = stats[i].channels;
    lk_exchange_config config = {.leaves = leaves,
                                 .group = window->group,
                                 .lanes = window->lanes->count,
                                 .numbers = lk_group_numbers((int64_t)lk_round_up((size_t)most))};
    LK_RETURN_IF(lk_exchange_create(&window->exchange, window->comm, &config, err));
    for (int i = 0; i < window->lanes->count; i++) {
        lk_window_worker *worker = &window->workers[i];
        worker->member = (lk_exchange_member){.exchange = window->exchange, .owns_comm = i == 0};
        worker->group = (lk_leaf_group){.context = &worker->member, .gather = lk_exchange_gather};
    }
    /* A lane that cannot be prepared would fail before its leaf could tell those that wait for it: so it fails here. */
    return lk_lanes_run(window->lanes, do_nothing, NULL, window->lanes->count, err);
}

/* With several lanes, one that took ahead would take another's leaf of the round. */
static lk_status create_ahead(lk_window *window, lk_error *err) {
    const lk_graph *graph = window->network->graph;
    lk_device *device = window->network->device;
    if (device->host_memory || window->lanes->count > 1) return LK_OK;
    int64_t bytes = window->microbatch * graph->in_channels * graph->in_h * graph->in_w;
    return lk_ahead_create(&window->ahead, device, window->loader, bytes, err);
}

/* Between ranks, a pass is cut where a bucket is complete, so that it leaves while backward goes on. */
static lk_status create_cuts(lk_window *window, bool graphs, lk_error *err) {
    const lk_buckets *buckets = &window->buckets;
    if (window->comm->size > 1) {
        LK_RETURN_IF(LK_NEW(&window->cuts, buckets->param_count, "the parts of a pass", err));
        /* Backward comes to a bucket's first parameter last. */
        for (int i = 0, last = -1; i < buckets->param_count; i++) {
            if (buckets->of_param[i] < 0) continue;
            window->cuts[i] = buckets->of_param[i] != last;
            last = buckets->of_param[i];
        }
    }
    return lk_lanes_cut(window->lanes, window->cuts, graphs, err);
}

lk_status lk_window_create(lk_window **out, lk_network *network, lk_lanes *lanes, lk_comm *comm, lk_loader *loader,
                           const lk_window_config *config, lk_error *err) {
    lk_status status;
    lk_window *window = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&window, 1, "the window", err));
    window->network = network;
    window->lanes = lanes;
    window->comm = comm;
    window->loader = loader;
    window->chain = config->chain;
    window->microbatch = config->microbatch;
    window->loss = lk_network_loss(network);
    window->dataset = config->dataset;
    window->group = config->group > 1 ? config->group : 1;
    window->loss_scale = 1;
    int count;
    const lk_param *params = lk_plan_get_params(network->plans[LK_NETWORK_TRAIN], &count);
    LK_TRY(
        lk_buckets_create(&window->buckets, params, count, network->totals.slab_count, config->bucket_elements, err));
    lk_reducer_config reduce = {.leaves = config->leaves / config->chain,
                                .count = network->totals.slab_count,
                                .dtype = network->device->master,
                                .bucket_begins = window->buckets.begins,
                                .bucket_ends = window->buckets.ends,
                                .buckets = window->buckets.count,
                                .device_comm = config->device_comm,
                                .ring = config->ring};
    if (config->device_comm != NULL) LK_TRY(lk_lanes_main_stream(lanes, &reduce.after, err));
    LK_TRY(lk_reducer_create(&window->reducer, comm, &reduce, err));
    window->share = lk_tree_share(config->leaves, comm->size, comm->rank);
    LK_TRY(lk_gradient_tree_create(&window->tree, network->device, config->leaves, config->chain, window->share,
                                   lanes->count, network->totals.slab_count, window->buckets.begins,
                                   window->buckets.ends, window->buckets.count, err));
    LK_TRY(create_buffers(window, err));
    LK_TRY(lk_window_counts_create(window, err));
    LK_TRY(create_ahead(window, err));
    LK_TRY(create_cuts(window, config->graphs, err));
    if (window->group > 1) LK_TRY(create_exchange(window, config->leaves, err));
    *out = window;
    return LK_OK;
out:
    lk_window_free(window);
    return status;
}

lk_status lk_window_enlist(lk_window *window, lk_error *err) {
    int64_t bytes = window->network->totals.slab_count * (int64_t)lk_dtype_size(window->network->device->master);
    return lk_reducer_enlist(window->reducer, window->tree.slabs[0], bytes, err);
}

void lk_window_free(lk_window *window) {
    if (window == NULL) return;
    lk_device *device = window->network->device;
    lk_ahead_free(window->ahead);
    for (int i = 0; window->workers != NULL && i < window->lanes->count; i++) free_worker(window, &window->workers[i]);
    lk_free(window->workers);
    if (window->stats != NULL) device->release(device, window->stats);
    device->host_release(device, window->mine);
    device->host_release(device, window->all);
    lk_window_counts_free(window);
    lk_exchange_free(window->exchange);
    lk_gradient_tree_free(&window->tree);
    lk_reducer_free(window->reducer);
    lk_buckets_free(&window->buckets);
    lk_free(window->cuts);
    lk_free(window);
}

lk_status lk_window_prefetch(lk_window *window, const lk_sampler *sampler, int64_t update, const lk_augment *augment,
                             lk_error *err) {
    for (int i = 0; i < window->share.count; i++) {
        int64_t first, rows;
        int leaf = window->share.first + i;
        lk_sampler_leaf(sampler, update, leaf, &first, &rows);
        if (rows == 0) break;
        lk_load_request request = {.tag = leaf,
                                   .rows = rows,
                                   .samples = sampler->order + first,
                                   .first_position = first,
                                   .epoch = sampler->epoch};
        LK_RETURN_IF(lk_loader_submit(window->loader, &request, 1, augment, sampler->seed, err));
        if (window->ahead != NULL) lk_ahead_expect(window->ahead, 1);
    }
    return LK_OK;
}

enum { FLAG_NONE, FLAG_STOP, FLAG_FAILED };

/* A point that all ranks pass together: the worst flag of any reaches all. */
static lk_status pass_boundary(lk_window *window, lk_status local, bool stop, int64_t *flag, lk_error *err) {
    *flag = local != LK_OK ? FLAG_FAILED : stop ? FLAG_STOP : FLAG_NONE;
    return lk_comm_max(window->comm, flag, err);
}

/* How a rank goes through its leaves. */
typedef struct passage {
    lk_lane_work work;
    bool reduces; /* gradients leave for the other ranks in the last round */
    lk_stop_requested stop;
    void *stop_context;
} passage;

/* Rounds that the rank with most leaves needs: all ranks go through as many. */
static int rounds_of(const lk_window *window) {
    int most = window->present < window->share.count ? window->present : window->share.count;
    return (most + window->lanes->count - 1) / window->lanes->count;
}

/* Chains of which at least one microbatch exists. */
static int chains_present(const lk_window *window) { return (window->present + window->chain - 1) / window->chain; }

/* Runs the rounds; *failed is this rank's own failure, *flag what the ranks agreed at the last boundary. */
static lk_status run_rounds(lk_window *window, const passage *p, int64_t *flag, lk_status *failed, lk_error *err) {
    int lanes = window->lanes->count, rounds = rounds_of(window);
    int left = window->present - window->share.first;
    int mine = left < window->share.count ? left : window->share.count;
    if (window->exchange != NULL) lk_exchange_begin(window->exchange, window->present);
    for (int round = 0; round < rounds; round++) {
        if (round > 0) {
            LK_RETURN_IF(pass_boundary(window, *failed, p->stop(p->stop_context), flag, err));
            if (*flag != FLAG_NONE) return LK_OK;
        }
        window->buckets_may_leave = p->reduces && round == rounds - 1;
        if (window->buckets_may_leave)
            LK_RETURN_IF(lk_reducer_begin(window->reducer, window->tree.slabs[0], chains_present(window), err));
        window->round_first = window->share.first + round * lanes;
        int count = mine - round * lanes < lanes ? mine - round * lanes : lanes;
        if (count > 0) *failed = lk_lanes_run(window->lanes, p->work, window, count, err);
        if (window->exchange != NULL) LK_RETURN_IF(lk_exchange_end(window->exchange, *failed, err));
    }
    return LK_OK;
}

/* The forward passes that the loss asks for before any backward pass. *flag other than FLAG_NONE: the window ends. */
static lk_status count_window(lk_window *window, passage p, int64_t *flag, lk_status *failed, lk_error *err) {
    if (!lk_window_counts_first(window)) return LK_OK;
    p.work = lk_window_count_leaf;
    p.reduces = false;
    window->counts.hold = rounds_of(window) == 1;
    for (int i = 0; i < window->lanes->count; i++) window->workers[i].counted = -1;
    LK_RETURN_IF(run_rounds(window, &p, flag, failed, err));
    if (*flag == FLAG_NONE) LK_RETURN_IF(pass_boundary(window, *failed, p.stop(p.stop_context), flag, err));
    return *flag == FLAG_NONE ? lk_window_add_counts(window, err) : LK_OK;
}

/* Submits the buckets that this rank has not: all where it has no leaf, those that never became complete after a
 * failure. They travel as they are, so that no peer waits; the boundary that follows throws a failed sum away. */
static lk_status submit_rest(lk_window *window, lk_error *err) {
    bool *sent = NULL;
    LK_RETURN_IF(LK_NEW(&sent, window->buckets.count, "bucket flags", err));
    int seen = 0;
    while (seen < window->taken) sent[lk_gradient_tree_next(&window->tree, &seen)] = true;
    lk_status status = LK_OK;
    for (int bucket = 0; bucket < window->buckets.count && status == LK_OK; bucket++)
        if (!sent[bucket]) status = lk_reducer_submit(window->reducer, bucket, err);
    lk_free(sent);
    return status;
}

static lk_status finish_reduction(lk_window *window, lk_status failed, lk_error *err) {
    lk_error *sink = failed == LK_OK ? err : NULL; /* the first error is kept */
    bool contributes = window->share.first < window->present;
    if (contributes && failed == LK_OK)
        LK_RETURN_IF(lk_window_drive_reducer(window, sink));
    else
        LK_RETURN_IF(submit_rest(window, sink));
    return lk_reducer_wait(window->reducer, sink);
}

/* Known before the window starts, on every rank: the labels are the data set's (P6). */
static double weight_scale(const lk_window *window, const lk_sampler *sampler, int64_t update) {
    int64_t first, rows;
    lk_sampler_leaf(sampler, update, 0, &first, &rows);
    return lk_loss_weight_scale(window->loss, window->dataset, sampler->order + first, window->window_samples);
}

lk_status lk_window_run(lk_window *window, const lk_sampler *sampler, int64_t update, lk_stop_requested stop,
                        void *stop_context, lk_window_result *result, lk_error *err) {
    lk_status failed = LK_OK;
    int64_t flag = FLAG_NONE;
    memset(result, 0, sizeof *result);
    window->sampler = sampler;
    window->update = update;
    window->present = lk_sampler_window_leaves(sampler, update);
    window->window_samples = lk_sampler_window_samples(sampler, update);
    window->weight_scale = weight_scale(window, sampler, update);
    window->taken = 0;
    window->buckets_may_leave = false;
    lk_gradient_tree_begin(&window->tree, window->present);
    passage p = {lk_window_run_leaf, true, stop, stop_context};
    LK_RETURN_IF(count_window(window, p, &flag, &failed, err));
    if (flag == FLAG_NONE) LK_RETURN_IF(run_rounds(window, &p, &flag, &failed, err));
    if (flag == FLAG_NONE) {
        LK_RETURN_IF(finish_reduction(window, failed, err));
        LK_RETURN_IF(pass_boundary(window, failed, stop(stop_context), &flag, err));
        if (flag == FLAG_STOP) result->stop = true; /* the gradients are whole: this update still counts */
    } else if (flag == FLAG_STOP) {
        return LK_STOPPED;
    }
    if (flag == FLAG_FAILED) return lk_comm_agree(window->comm, failed, err);
    return lk_window_gather_leaves(window, result, err);
}

void lk_window_set_loss_scale(lk_window *window, double scale) { window->loss_scale = scale; }

const void *lk_window_gradients(const lk_window *window) { return window->tree.slabs[0]; }

int lk_window_buckets(const lk_window *window) { return window->buckets.count; }

double lk_window_first_forward(const lk_window *window) { return window->first_forward; }

int lk_window_slabs(const lk_window *window) { return window->tree.slab_total; }

void lk_window_reductions(const lk_window *window, lk_reducer_stats *stats) {
    lk_reducer_get_stats(window->reducer, stats);
}
