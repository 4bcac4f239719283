#include "train/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

#define MODEL "model"           /* what the figures belong to: the weights, or their moving average */
#define UNAVERAGED "unaveraged" /* beside an average: the weights that training goes on with */

/* A growing list of tensors whose names and data it owns. */
typedef struct tensor_list {
    lk_named_tensor *items;
    size_t count, capacity;
    size_t owned; /* the first ones own their data; borrowed ones come last */
} tensor_list;

static void free_list(tensor_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        lk_free((char *)list->items[i].name);
        if (i < list->owned) lk_free(list->items[i].tensor.data);
    }
    lk_free(list->items);
}

/* Adds a tensor; data NULL: allocates it. */
static lk_status add(tensor_list *list, const char *group, const char *name, const char *suffix, lk_dtype dtype,
                     lk_shape shape, const void *data, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items,
                         "a list of tensors", err));
    lk_named_tensor *item = &list->items[list->count];
    char *full;
    LK_RETURN_IF(lk_format(&full, err, "/%s/%s%s", group, name, suffix));
    item->name = full;
    item->tensor = (lk_tensor){.dtype = dtype, .shape = shape, .data = (void *)data};
    list->count++;
    if (data != NULL) return LK_OK;
    list->owned = list->count;
    return lk_alloc(&item->tensor.data, (size_t)lk_shape_count(&shape), lk_dtype_size(dtype), full, err);
}

static void *last_data(tensor_list *list) { return list->items[list->count - 1].tensor.data; }

static lk_status add_params(tensor_list *list, const lk_network *network, const char *group, const void *slab,
                            lk_error *err) {
    int count;
    const lk_plan *plan = network->plans[LK_NETWORK_TRAIN];
    const lk_param *params = lk_plan_get_params(plan, &count);
    for (int i = 0; i < count; i++) {
        LK_RETURN_IF(add(list, group, params[i].name, "", network->device->master, params[i].shape, NULL, err));
        LK_RETURN_IF(lk_plan_unpack(plan, i, slab, last_data(list), err));
    }
    return LK_OK;
}

static lk_status add_stats(tensor_list *list, const lk_network *network, const char *group, const void *slab,
                           int64_t microbatches, lk_error *err) {
    int count;
    const lk_stat *stats = lk_plan_get_stats(network->plans[LK_NETWORK_TRAIN], &count);
    lk_device *device = network->device;
    int64_t size = (int64_t)lk_dtype_size(device->master);
    for (int i = 0; i < count; i++) {
        lk_shape shape = lk_shape_of(1, stats[i].channels);
        const char *mean = (const char *)slab + stats[i].offset * size;
        int64_t bytes = stats[i].channels * size;
        LK_RETURN_IF(add(list, group, stats[i].name, ".running_mean", device->master, shape, NULL, err));
        LK_RETURN_IF(device->download(device, last_data(list), mean, bytes, err));
        LK_RETURN_IF(add(list, group, stats[i].name, ".running_var", device->master, shape, NULL, err));
        LK_RETURN_IF(device->download(device, last_data(list), mean + bytes, bytes, err));
        LK_RETURN_IF(add(list, group, stats[i].name, ".num_batches_tracked", LK_I64, lk_shape_of(0), NULL, err));
        int64_t tracked = stats[i].fixed ? 0 : microbatches;
        memcpy(last_data(list), &tracked, sizeof tracked);
    }
    return LK_OK;
}

static lk_status add_golden(tensor_list *list, const lk_snapshot *s, lk_error *err) {
    if (s->golden_count == 0) return LK_OK;
    const lk_graph *graph = s->network->graph;
    LK_RETURN_IF(add(list, "golden", "images", "", LK_U8,
                     lk_shape_of(4, s->golden_count, graph->in_h, graph->in_w, graph->in_channels), s->golden_images,
                     err));
    LK_RETURN_IF(add(list, "golden", "logits", "", LK_F32, lk_shape_of(2, s->golden_count, graph->classes),
                     s->golden_logits, err));
    return add(list, "golden", "samples", "", LK_I64, lk_shape_of(1, s->golden_count), s->golden_samples, err);
}

lk_status lk_snapshot_write(const lk_snapshot *s, const char *path, lk_error *err) {
    lk_status status;
    tensor_list list = {0};
    char *state = NULL;
    const lk_network *n = s->network;
    LK_TRY(add_params(&list, n, MODEL, n->eval_params, err));
    LK_TRY(add_stats(&list, n, MODEL, n->eval_stats, s->counters->microbatches, err));
    if (lk_network_averages(n)) {
        LK_TRY(add_params(&list, n, UNAVERAGED, n->params, err));
        LK_TRY(add_stats(&list, n, UNAVERAGED, n->stats, s->counters->microbatches, err));
    }
    int state_count;
    const char *const *names;
    void *const *slabs = lk_optimizer_get_state(s->optimizer, &names, &state_count);
    for (int i = 0; i < state_count; i++) {
        char group[64];
        snprintf(group, sizeof group, "optimizer/%s", names[i]);
        LK_TRY(add_params(&list, s->network, group, slabs[i], err));
    }
    LK_TRY(add_golden(&list, s, err));
    LK_TRY(lk_counters_write(&state, s->counters, err));
    lk_named_text texts[] = {
        {"meta", s->meta}, {"job", s->job}, {"state", state}, {"arithmetic", s->arithmetic}, {"choices", s->choices}};
    LK_TRY(lk_checkpoint_write(path, list.items, (int)list.count, texts, 5, err));
out:
    lk_free(state);
    free_list(&list);
    return status;
}

static lk_status read_params(const lk_network *network, lk_checkpoint *checkpoint, const char *group, void *slab,
                             void *canonical, lk_error *err) {
    int count;
    const lk_plan *plan = network->plans[LK_NETWORK_TRAIN];
    const lk_param *params = lk_plan_get_params(plan, &count);
    for (int i = 0; i < count; i++) {
        char name[LK_NAME_SIZE + 64];
        snprintf(name, sizeof name, "/%s/%s", group, params[i].name);
        LK_RETURN_IF(lk_checkpoint_read(checkpoint, name, network->device->master, &params[i].shape, canonical, err));
        LK_RETURN_IF(lk_plan_pack(plan, i, canonical, slab, err));
    }
    return LK_OK;
}

static lk_status read_stats(const lk_network *network, lk_checkpoint *checkpoint, const char *group, void *slab,
                            void *canonical, lk_error *err) {
    int count;
    lk_device *device = network->device;
    const lk_stat *stats = lk_plan_get_stats(network->plans[LK_NETWORK_TRAIN], &count);
    int64_t size = (int64_t)lk_dtype_size(device->master);
    static const char *const suffixes[] = {"running_mean", "running_var"};
    for (int i = 0; i < 2 * count; i++) {
        const lk_stat *stat = &stats[i / 2];
        char name[LK_NAME_SIZE + 64];
        lk_shape shape = lk_shape_of(1, stat->channels);
        snprintf(name, sizeof name, "/%s/%s.%s", group, stat->name, suffixes[i % 2]);
        LK_RETURN_IF(lk_checkpoint_read(checkpoint, name, device->master, &shape, canonical, err));
        char *to = (char *)slab + (stat->offset + (i % 2) * stat->channels) * size;
        LK_RETURN_IF(device->upload(device, to, canonical, stat->channels * size, err));
    }
    return LK_OK;
}

lk_status lk_snapshot_restore_model(lk_network *network, lk_checkpoint *checkpoint, lk_error *err) {
    lk_status status;
    void *canonical = NULL;
    LK_TRY(lk_alloc(&canonical, (size_t)(network->totals.slab_count + network->totals.stats_count),
                    lk_dtype_size(network->device->master), "a parameter", err));
    LK_TRY(read_params(network, checkpoint, MODEL, network->eval_params, canonical, err));
    LK_TRY(read_stats(network, checkpoint, MODEL, network->eval_stats, canonical, err));
    lk_network_touch(network);
out:
    lk_free(canonical);
    return status;
}

lk_status lk_snapshot_restore(const lk_snapshot *s, lk_checkpoint *checkpoint, const char *path, lk_error *err) {
    lk_status status;
    void *canonical = NULL;
    lk_network *n = s->network;
    const char *state = lk_checkpoint_text(checkpoint, "state");
    if (state == NULL) return lk_fail(err, LK_ERR_DATA, "%s carries no state to resume from", path);
    LK_TRY(lk_counters_parse(s->counters, state, path, err));
    LK_TRY(lk_snapshot_restore_model(s->network, checkpoint, err));
    LK_TRY(lk_alloc(&canonical, (size_t)(n->totals.slab_count + n->totals.stats_count),
                    lk_dtype_size(n->device->master), "a parameter", err));
    if (lk_network_averages(n)) {
        LK_TRY(read_params(n, checkpoint, UNAVERAGED, n->params, canonical, err));
        LK_TRY(read_stats(n, checkpoint, UNAVERAGED, n->stats, canonical, err));
    }
    int state_count;
    const char *const *names;
    void *const *slabs = lk_optimizer_get_state(s->optimizer, &names, &state_count);
    for (int i = 0; i < state_count; i++) {
        char group[64];
        snprintf(group, sizeof group, "optimizer/%s", names[i]);
        LK_TRY(read_params(s->network, checkpoint, group, slabs[i], canonical, err));
    }
out:
    lk_free(canonical);
    return status;
}
