#include "train/network.h"

#include <string.h>

#include "core/memory.h"

static lk_status compile(lk_network *network, lk_network_mode mode, int64_t batch, const lk_network_config *config,
                         lk_error *err) {
    lk_plan_options options = {.batch = batch,
                               .compute = config->compute,
                               .training = mode != LK_NETWORK_EVALUATE,
                               .group = config->group,
                               .recompute = config->recompute,
                               .choices = config->choices,
                               .like = network->plans[LK_NETWORK_TRAIN]};
    LK_RETURN_IF(lk_plan_create(&network->plans[mode], network->graph, network->device, &options, err));
    lk_plan_totals totals;
    lk_plan_get_totals(network->plans[mode], &totals);
    if (mode == LK_NETWORK_TRAIN) network->totals = totals;
    if (totals.arena_bytes > network->arena_bytes) network->arena_bytes = totals.arena_bytes;
    network->stale[mode] = true;
    return network->device->alloc(network->device, &network->derived[mode], totals.derived_bytes, "derived parameters",
                                  err);
}

static lk_status create_average(lk_network *network, lk_error *err) {
    lk_device *device = network->device;
    int64_t size = (int64_t)lk_dtype_size(device->master);
    network->eval_params = network->eval_stats = NULL;
    LK_RETURN_IF(device->alloc(device, &network->eval_params, network->totals.slab_count * size,
                               "the average of the parameters", err));
    return device->alloc(device, &network->eval_stats, network->totals.stats_count * size,
                         "the average of the running statistics", err);
}

#define SMALL_GAP (1 << 16) /* elements: reading so many zeros costs less than another call */

static lk_status find_runs(lk_network *network, lk_error *err) {
    int count;
    const lk_param *params = lk_plan_get_params(network->plans[LK_NETWORK_TRAIN], &count);
    lk_slab_run *run = NULL;
    bool zero = true; /* all that lies behind the run so far */
    LK_RETURN_IF(LK_NEW(&network->runs, count, "the trained parameters", err));
    for (int i = 0; i < count; i++) {
        if (params[i].frozen) {
            zero = zero && network->graph->nodes[params[i].node].op.frozen;
            continue;
        }
        if (run == NULL || !zero || params[i].offset - run->end > SMALL_GAP) {
            run = &network->runs[network->run_count++];
            run->begin = params[i].offset;
        }
        run->end = i + 1 < count ? params[i + 1].offset : network->totals.slab_count;
        zero = true;
    }
    return LK_OK;
}

lk_status lk_network_create(lk_network **out, lk_device *device, const lk_network_config *config, lk_error *err) {
    lk_status status;
    lk_network *network = NULL;
    lk_node_id loss;
    *out = NULL;
    LK_TRY(LK_NEW(&network, 1, "the network", err));
    network->device = device;
    LK_TRY(lk_model_build(&network->graph, config->model, &config->spec, err));
    LK_TRY(lk_graph_freeze(network->graph, config->freeze, config->freeze_batchnorm, &network->trained, err));
    LK_TRY(lk_graph_loss(network->graph, &loss, config->loss, err));
    LK_TRY(compile(network, LK_NETWORK_TRAIN, config->microbatch, config, err));
    LK_TRY(find_runs(network, err));
    if (config->tail_rows > 0) LK_TRY(compile(network, LK_NETWORK_TAIL, config->tail_rows, config, err));
    LK_TRY(compile(network, LK_NETWORK_EVALUATE, config->evaluate_batch, config, err));
    int64_t size = (int64_t)lk_dtype_size(device->master);
    LK_TRY(device->alloc(device, &network->params, network->totals.slab_count * size, "parameters", err));
    LK_TRY(device->alloc(device, &network->stats, network->totals.stats_count * size, "running statistics", err));
    network->eval_params = network->params;
    network->eval_stats = network->stats;
    if (config->average) LK_TRY(create_average(network, err));
    LK_TRY(lk_plan_initialise(network->plans[LK_NETWORK_TRAIN], config->seed, config->threads, network->params,
                              network->stats, err));
    LK_TRY(lk_network_restart_average(network, err));
    *out = network;
    return LK_OK;
out:
    lk_network_free(network);
    return status;
}

void lk_network_free(lk_network *network) {
    if (network == NULL) return;
    lk_device *device = network->device;
    if (network->eval_params != NULL && network->eval_params != network->params)
        device->release(device, network->eval_params);
    if (network->eval_stats != NULL && network->eval_stats != network->stats)
        device->release(device, network->eval_stats);
    if (network->params != NULL) device->release(device, network->params);
    if (network->stats != NULL) device->release(device, network->stats);
    for (int mode = LK_NETWORK_MODES - 1; mode >= 0; mode--) {
        if (network->derived[mode] != NULL) device->release(device, network->derived[mode]);
        lk_plan_free(network->plans[mode]);
    }
    lk_graph_free(network->graph);
    lk_free(network->runs);
    lk_free(network);
}

lk_status lk_network_choices(const lk_network *network, char **text, lk_error *err) {
    lk_status status;
    lk_choices *choices = NULL;
    *text = NULL;
    LK_TRY(lk_choices_create(&choices, err));
    for (int mode = 0; mode < LK_NETWORK_MODES; mode++)
        if (network->plans[mode] != NULL) LK_TRY(lk_plan_choices(network->plans[mode], choices, err));
    LK_TRY(lk_choices_write(choices, text, err));
out:
    lk_choices_free(choices);
    return status;
}

const char *lk_network_declined(const lk_network *network) {
    const char *declined = "";
    for (int mode = LK_NETWORK_MODES - 1; mode >= 0; mode--)
        if (network->plans[mode] != NULL && lk_plan_declined(network->plans[mode])[0] != '\0')
            declined = lk_plan_declined(network->plans[mode]);
    return declined;
}

const lk_loss_config *lk_network_loss(const lk_network *network) {
    return &network->graph->nodes[network->graph->count - 1].op.loss;
}

bool lk_network_averages(const lk_network *network) { return network->eval_params != network->params; }

static lk_status copy_slab(lk_device *device, void *to, const void *from, int64_t bytes, lk_error *err) {
    lk_status status;
    void *host = NULL;
    LK_TRY(lk_alloc(&host, (size_t)bytes, 1, "a copy of the parameters", err));
    LK_TRY(device->download(device, host, from, bytes, err));
    LK_TRY(device->upload(device, to, host, bytes, err));
out:
    lk_free(host);
    return status;
}

lk_status lk_network_restart_average(lk_network *network, lk_error *err) {
    if (!lk_network_averages(network)) return LK_OK;
    int64_t size = (int64_t)lk_dtype_size(network->device->master);
    LK_RETURN_IF(
        copy_slab(network->device, network->eval_params, network->params, network->totals.slab_count * size, err));
    LK_RETURN_IF(
        copy_slab(network->device, network->eval_stats, network->stats, network->totals.stats_count * size, err));
    network->stale[LK_NETWORK_EVALUATE] = true;
    return LK_OK;
}

void lk_network_touch(lk_network *network) {
    for (int mode = 0; mode < LK_NETWORK_MODES; mode++) network->stale[mode] = true;
}

lk_status lk_network_refresh(lk_network *network, lk_network_mode mode, lk_stream *stream, lk_error *err) {
    if (!network->stale[mode] || network->plans[mode] == NULL) return LK_OK;
    const void *params = mode == LK_NETWORK_EVALUATE ? network->eval_params : network->params;
    LK_RETURN_IF(lk_plan_refresh(network->plans[mode], stream, params, network->derived[mode], err));
    network->stale[mode] = false;
    return LK_OK;
}
