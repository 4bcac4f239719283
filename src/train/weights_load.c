#include "train/weights_load.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

/* Room for the largest tensor, as the file gives it and as the device wants it. */
typedef struct scratch {
    float *values;
    double *wide;
} scratch;

/* `count` values in the device's master type. */
static const void *as_master(const lk_network *network, const scratch *s, int64_t count) {
    if (network->device->master == LK_F32) return s->values;
    for (int64_t i = 0; i < count; i++) s->wide[i] = (double)s->values[i];
    return s->wide;
}

/* Index of a parameter by name, or -1. */
static int find_param(const lk_plan *plan, const char *name) {
    int count;
    const lk_param *params = lk_plan_get_params(plan, &count);
    for (int i = 0; i < count; i++)
        if (strcmp(params[i].name, name) == 0) return i;
    return -1;
}

/* Offset of a running statistic by name, or -1. */
static int64_t find_stat(const lk_plan *plan, const char *name) {
    int count;
    const lk_stat *stats = lk_plan_get_stats(plan, &count);
    for (int i = 0; i < count; i++) {
        size_t length = strlen(stats[i].name);
        if (strncmp(stats[i].name, name, length) != 0 || name[length] != '.') continue;
        if (strcmp(name + length + 1, "running_mean") == 0) return stats[i].offset;
        if (strcmp(name + length + 1, "running_var") == 0) return stats[i].offset + stats[i].channels;
    }
    return -1;
}

static lk_status load_tensor(const lk_weights *weights, int i, lk_network *network, const scratch *s, lk_error *err) {
    const lk_plan *plan = network->plans[LK_NETWORK_TRAIN];
    lk_device *device = network->device;
    const lk_named_tensor *own = &weights->tensors[i];
    int64_t count = lk_shape_count(&own->tensor.shape), size = (int64_t)lk_dtype_size(device->master);
    LK_RETURN_IF(lk_weights_read(weights, i, s->values, err));
    const void *values = as_master(network, s, count);
    int param = find_param(plan, own->name);
    if (param >= 0) return lk_plan_pack(plan, param, values, network->params, err);
    int64_t stat = find_stat(plan, own->name);
    if (stat < 0) return lk_fail(err, LK_ERR_INTERNAL, "'%s' is neither a parameter nor a statistic", own->name);
    return device->upload(device, (char *)network->stats + stat * size, values, count * size, err);
}

lk_status lk_weights_load(const lk_weights *weights, lk_network *network, lk_error *err) {
    lk_status status;
    scratch s = {0};
    int64_t largest = 1;
    for (int i = 0; i < weights->tensor_count; i++) {
        int64_t count = lk_shape_count(&weights->tensors[i].tensor.shape);
        if (count > largest) largest = count;
    }
    LK_TRY(LK_NEW(&s.values, largest, "a tensor", err));
    LK_TRY(LK_NEW(&s.wide, network->device->master == LK_F32 ? 0 : largest, "a tensor", err));
    for (int i = 0; i < weights->tensor_count; i++)
        if (weights->fates[i].fate == LK_WEIGHTS_LOADED) LK_TRY(load_tensor(weights, i, network, &s, err));
    lk_network_touch(network);
out:
    lk_free(s.values);
    lk_free(s.wide);
    return status;
}
