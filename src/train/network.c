#include "train/network.h"

#include <string.h>
#include <xxhash.h>

#include "core/memory.h"

static lk_status compile(lk_network *network, lk_network_mode mode, int64_t batch, const lk_network_config *config,
                         lk_error *err) {
    lk_plan_options options = {.batch = batch,
                               .compute = config->compute,
                               .training = mode != LK_NETWORK_EVALUATE,
                               .group = config->group,
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

lk_status lk_network_create(lk_network **out, lk_device *device, const lk_network_config *config, lk_error *err) {
    lk_status status;
    lk_network *network = NULL;
    lk_node_id loss;
    *out = NULL;
    LK_TRY(LK_NEW(&network, 1, "the network", err));
    network->device = device;
    LK_TRY(lk_model_build(&network->graph, config->model, &config->spec, err));
    LK_TRY(lk_graph_loss(network->graph, &loss, config->loss, err));
    LK_TRY(compile(network, LK_NETWORK_TRAIN, config->microbatch, config, err));
    if (config->tail_rows > 0) LK_TRY(compile(network, LK_NETWORK_TAIL, config->tail_rows, config, err));
    LK_TRY(compile(network, LK_NETWORK_EVALUATE, config->evaluate_batch, config, err));
    int64_t size = (int64_t)lk_dtype_size(device->master);
    LK_TRY(device->alloc(device, &network->params, network->totals.slab_count * size, "parameters", err));
    LK_TRY(device->alloc(device, &network->stats, network->totals.stats_count * size, "running statistics", err));
    LK_TRY(lk_plan_initialise(network->plans[LK_NETWORK_TRAIN], config->seed, config->threads, network->params,
                              network->stats, err));
    *out = network;
    return LK_OK;
out:
    lk_network_free(network);
    return status;
}

void lk_network_free(lk_network *network) {
    if (network == NULL) return;
    lk_device *device = network->device;
    if (network->params != NULL) device->release(device, network->params);
    if (network->stats != NULL) device->release(device, network->stats);
    for (int mode = LK_NETWORK_MODES - 1; mode >= 0; mode--) {
        if (network->derived[mode] != NULL) device->release(device, network->derived[mode]);
        lk_plan_free(network->plans[mode]);
    }
    lk_graph_free(network->graph);
    lk_free(network);
}

const lk_loss_config *lk_network_loss(const lk_network *network) {
    return &network->graph->nodes[network->graph->count - 1].op.loss;
}

void lk_network_touch(lk_network *network) {
    for (int mode = 0; mode < LK_NETWORK_MODES; mode++) network->stale[mode] = true;
}

lk_status lk_network_refresh(lk_network *network, lk_network_mode mode, lk_stream *stream, lk_error *err) {
    if (!network->stale[mode] || network->plans[mode] == NULL) return LK_OK;
    LK_RETURN_IF(lk_plan_refresh(network->plans[mode], stream, network->params, network->derived[mode], err));
    network->stale[mode] = false;
    return LK_OK;
}

lk_status lk_network_hash(const lk_network *network, uint64_t hash[2], lk_error *err) {
    lk_status status;
    void *canonical = NULL;
    XXH3_state_t *state = NULL;
    const lk_plan *plan = network->plans[LK_NETWORK_TRAIN];
    size_t size = lk_dtype_size(network->device->master);
    int count;
    const lk_param *params = lk_plan_get_params(plan, &count);
    LK_TRY(lk_alloc(&canonical, (size_t)(network->totals.slab_count + network->totals.stats_count), size, "a parameter",
                    err));
    state = XXH3_createState();
    if (state == NULL) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot allocate the state of a hash");
        goto out;
    }
    XXH3_128bits_reset(state);
    for (int i = 0; i < count; i++) {
        LK_TRY(lk_plan_unpack(plan, i, network->params, canonical, err));
        XXH3_128bits_update(state, canonical, (size_t)lk_shape_count(&params[i].shape) * size);
    }
    LK_TRY(network->device->download(network->device, canonical, network->stats,
                                     network->totals.stats_count * (int64_t)size, err));
    const lk_stat *stats = lk_plan_get_stats(plan, &count);
    for (int i = 0; i < count; i++)
        XXH3_128bits_update(state, (char *)canonical + (size_t)stats[i].offset * size,
                            2 * (size_t)stats[i].channels * size);
    XXH128_hash_t digest = XXH3_128bits_digest(state);
    hash[0] = digest.high64;
    hash[1] = digest.low64;
    status = LK_OK;
out:
    XXH3_freeState(state);
    lk_free(canonical);
    return status;
}
