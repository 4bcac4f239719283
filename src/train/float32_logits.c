#include "train/float32_logits.h"

#include "core/memory.h"

/* A plan with the memory that it alone needs. */
typedef struct float32_plan {
    lk_device *device;
    lk_plan *plan;
    lk_plan_totals totals;
    void *params, *derived, *arena; /* device memory */
    lk_lane *lane;
} float32_plan;

static void close_plan(float32_plan *p) {
    lk_lane_free(p->lane);
    if (p->arena != NULL) p->device->release(p->device, p->arena);
    if (p->derived != NULL) p->device->release(p->device, p->derived);
    if (p->params != NULL) p->device->release(p->device, p->params);
    lk_plan_free(p->plan);
}

static lk_status open_plan(float32_plan *p, const lk_network *network, lk_stream *stream, int64_t batch,
                           lk_error *err) {
    lk_device *device = p->device = network->device;
    lk_plan_options options = {.batch = batch, .compute = LK_F32, .training = false};
    LK_RETURN_IF(lk_plan_create(&p->plan, network->graph, device, &options, err));
    lk_plan_get_totals(p->plan, &p->totals);
    int64_t bytes = p->totals.slab_count * (int64_t)lk_dtype_size(device->master);
    LK_RETURN_IF(device->alloc(device, &p->params, bytes, "float32 parameters", err));
    LK_RETURN_IF(device->alloc(device, &p->derived, p->totals.derived_bytes, "derived float32 parameters", err));
    LK_RETURN_IF(device->alloc(device, &p->arena, p->totals.arena_bytes, "a float32 arena", err));
    return lk_lane_create(&p->lane, p->plan, stream, p->arena, err);
}

/* From the network's layouts to the plan's. */
static lk_status copy_params(float32_plan *p, const lk_network *network, lk_error *err) {
    lk_status status = LK_OK;
    void *canonical = NULL;
    int count = 0;
    size_t size = lk_dtype_size(p->device->master);
    LK_TRY(lk_alloc(&canonical, (size_t)network->totals.slab_count, size, "a parameter", err));
    lk_plan_get_params(p->plan, &count);
    for (int i = 0; i < count; i++) {
        LK_TRY(lk_plan_unpack(network->plans[LK_NETWORK_TRAIN], i, network->eval_params, canonical, err));
        LK_TRY(lk_plan_pack(p->plan, i, canonical, p->params, err));
    }
out:
    lk_free(canonical);
    return status;
}

lk_status lk_float32_logits(const lk_network *network, lk_stream *stream, const uint8_t *images, int64_t count,
                            float *logits, lk_error *err) {
    lk_status status;
    float32_plan p = {0};
    int32_t *labels = NULL;
    double *values = NULL;
    int64_t classes = network->graph->classes;
    LK_TRY(open_plan(&p, network, stream, count, err));
    LK_TRY(copy_params(&p, network, err));
    LK_TRY(LK_NEW(&labels, count, "labels", err));
    LK_TRY(LK_NEW(&values, count * classes, "logits", err));
    LK_TRY(lk_plan_refresh(p.plan, stream, p.params, p.derived, err));
    lk_run run = {.params = p.params,
                  .derived = p.derived,
                  .stats = network->eval_stats,
                  .images = images,
                  .labels = labels,
                  .rows = count,
                  .loss_scale = 1.0};
    LK_TRY(lk_lane_forward(p.lane, &run, NULL, NULL, err));
    LK_TRY(lk_lane_read_logits(p.lane, values, err));
    for (int64_t i = 0; i < count * classes; i++) logits[i] = (float)values[i];
out:
    lk_free(labels);
    lk_free(values);
    close_plan(&p);
    return status;
}
