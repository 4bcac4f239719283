/* The hash that stands at the end of every epoch's line. */
#include <xxhash.h>

#include "core/memory.h"
#include "train/network.h"

/* canonical: room for a slab of parameters and one of statistics. */
static lk_status hash_slabs(const lk_network *network, const void *slab, const void *stats_slab, void *canonical,
                            XXH3_state_t *state, lk_error *err) {
    const lk_plan *plan = network->plans[LK_NETWORK_TRAIN];
    size_t size = lk_dtype_size(network->device->master);
    int count;
    const lk_param *params = lk_plan_get_params(plan, &count);
    for (int i = 0; i < count; i++) {
        LK_RETURN_IF(lk_plan_unpack(plan, i, slab, canonical, err));
        XXH3_128bits_update(state, canonical, (size_t)lk_shape_count(&params[i].shape) * size);
    }
    LK_RETURN_IF(network->device->download(network->device, canonical, stats_slab,
                                           network->totals.stats_count * (int64_t)size, err));
    const lk_stat *stats = lk_plan_get_stats(plan, &count);
    for (int i = 0; i < count; i++)
        XXH3_128bits_update(state, (char *)canonical + (size_t)stats[i].offset * size,
                            2 * (size_t)stats[i].channels * size);
    return LK_OK;
}

lk_status lk_network_hash(const lk_network *network, uint64_t hash[2], lk_error *err) {
    lk_status status;
    void *canonical = NULL;
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot allocate the state of a hash");
    XXH3_128bits_reset(state);
    LK_TRY(lk_alloc(&canonical, (size_t)(network->totals.slab_count + network->totals.stats_count),
                    lk_dtype_size(network->device->master), "a parameter", err));
    LK_TRY(hash_slabs(network, network->params, network->stats, canonical, state, err));
    if (lk_network_averages(network))
        LK_TRY(hash_slabs(network, network->eval_params, network->eval_stats, canonical, state, err));
    XXH128_hash_t digest = XXH3_128bits_digest(state);
    hash[0] = digest.high64;
    hash[1] = digest.low64;
out:
    XXH3_freeState(state);
    lk_free(canonical);
    return status;
}
