/* What follows from all leaves of a window: its record, and BatchNorm's running statistics. */
#include <string.h>

#include "train/window_internal.h"

/* running = (1 - momentum) * running + momentum * fresh, once for each leaf, or group that normalised together, in
 * order (P23): what one rank that runs all microbatches would do. samples: of the leaf or group. Source:
 * torch.nn.BatchNorm2d and SyncBatchNorm, unbiased variance. */
static lk_status blend_leaf(lk_window *window, const void *leaf_stats, int64_t samples, lk_stream *stream,
                            lk_error *err) {
    lk_network *network = window->network;
    lk_device *device = network->device;
    size_t size = lk_dtype_size(device->master);
    int count;
    const lk_stat *stats = lk_plan_get_stats(network->plans[LK_NETWORK_TRAIN], &count);
    device->gather_open(device, stream);
    for (int i = 0; i < count; i++) {
        if (stats[i].fixed) continue;
        size_t mean = (size_t)stats[i].offset * size;
        size_t variance = mean + (size_t)stats[i].channels * size;
        int64_t values = stats[i].values / window->microbatch * samples;
        double unbiased = (double)values / (double)(values - 1);
        char *running = network->stats;
        const char *fresh = leaf_stats;
        LK_RETURN_IF(device->slab_blend(device, stream, running + mean, fresh + mean, stats[i].channels,
                                        stats[i].momentum, 1.0, err));
        LK_RETURN_IF(device->slab_blend(device, stream, running + variance, fresh + variance, stats[i].channels,
                                        stats[i].momentum, unbiased, err));
    }
    return device->gather_close(device, stream, err);
}

static lk_leaf_record record_of(const lk_window *window, int leaf) {
    lk_leaf_record record;
    memcpy(&record, window->all + leaf * window->leaf_bytes, sizeof record);
    return record;
}

/* Samples of the leaves that normalised with this one, itself included. */
static int64_t samples_together(const lk_window *window, int first) {
    int64_t samples = 0;
    for (int leaf = first; leaf < first + window->group && leaf < window->present; leaf++)
        samples += record_of(window, leaf).samples;
    return samples;
}

/* Statistics number i on the device: of leaf i of the share while leaves run, then of leaf i of all. */
static char *stats_at(const lk_window *window, int i) {
    return (char *)window->stats + i * lk_window_stats_bytes(window);
}

/* Every rank's records reach all, and where there are several, the statistics too; those of one rank stay where they
 * are. */
static lk_status gather_leaves(lk_window *window, lk_stream *stream, lk_error *err) {
    lk_device *device = window->network->device;
    int64_t bytes = lk_window_stats_bytes(window);
    bool alone = window->comm->size == 1;
    for (int i = 0; i < window->share.count && !alone; i++)
        LK_RETURN_IF(device->stream_fetch(device, stream,
                                          window->mine + i * window->leaf_bytes + sizeof(lk_leaf_record),
                                          stats_at(window, i), bytes, err));
    if (!alone) LK_RETURN_IF(device->synchronize(device, stream, err));
    return lk_comm_allgather(window->comm, window->mine, window->all, window->share.count * window->leaf_bytes, err);
}

/* The statistics of all leaves there are, to the device: behind one another where they come from other ranks too. */
static lk_status send_stats(lk_window *window, lk_stream *stream, lk_error *err) {
    lk_device *device = window->network->device;
    int64_t bytes = lk_window_stats_bytes(window);
    if (window->comm->size == 1) return LK_OK; /* they are there */
    for (int leaf = 0; leaf < window->present; leaf += window->group) {
        const char *gathered = window->all + leaf * window->leaf_bytes + sizeof(lk_leaf_record);
        LK_RETURN_IF(device->stream_send(device, stream, stats_at(window, leaf), gathered, bytes, err));
    }
    return LK_OK;
}

lk_status lk_window_gather_leaves(lk_window *window, lk_window_result *result, lk_error *err) {
    lk_stream *stream;
    LK_RETURN_IF(lk_lanes_main_stream(window->lanes, &stream, err));
    LK_RETURN_IF(gather_leaves(window, stream, err));
    for (int leaf = 0; leaf < window->present; leaf++) {
        lk_leaf_record record = record_of(window, leaf);
        result->loss_sum += record.loss_sum;
        result->samples += record.samples;
        result->correct += record.correct;
        result->sample_sum += record.sample_sum;
    }
    if (lk_window_counts_first(window))
        result->loss_sum += (double)result->samples * window->loss->f1 *
                            lk_f1_value(window->network->graph->classes, window->counts.all, window->loss->f1_epsilon);
    return LK_OK;
}

lk_status lk_window_apply_statistics(lk_window *window, lk_error *err) {
    lk_stream *stream;
    LK_RETURN_IF(lk_lanes_main_stream(window->lanes, &stream, err));
    LK_RETURN_IF(send_stats(window, stream, err));
    for (int leaf = 0; leaf < window->present; leaf += window->group) /* all of a group have the same */
        LK_RETURN_IF(blend_leaf(window, stats_at(window, leaf), samples_together(window, leaf), stream, err));
    return LK_OK;
}
