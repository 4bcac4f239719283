#include "train/inference.h"

#include <string.h>

#include "core/memory.h"
#include "train/inference_file.h"

struct lk_inference {
    lk_model_file *file;
    lk_model_file opened; /* file points here where the model was read by lk_inference_open */
    lk_device *device;
    lk_plan *plan;
    lk_plan_totals totals;
    lk_stream *stream;
    lk_lane *lane;
    void *params, *stats, *derived, *arena; /* device memory */
    uint8_t *images;                        /* one batch, padded */
    int32_t *labels;
    double *logits; /* one batch */
    int64_t batch, image_bytes;
};

static const lk_named_tensor *find_tensor(const lk_model_file *file, const char *name) {
    for (int i = 0; i < file->tensor_count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

/* `values` as the device's master type; `scratch` has room for the largest tensor in double. */
static const void *as_master(const lk_inference *inference, const lk_tensor *tensor, double *scratch) {
    if (inference->device->master == LK_F32) return tensor->data;
    const float *values = tensor->data;
    int64_t count = lk_shape_count(&tensor->shape);
    for (int64_t i = 0; i < count; i++) scratch[i] = (double)values[i];
    return scratch;
}

static lk_status load_params(lk_inference *inference, double *scratch, lk_error *err) {
    int count;
    const lk_param *params = lk_plan_get_params(inference->plan, &count);
    for (int i = 0; i < count; i++) {
        const lk_named_tensor *found = find_tensor(inference->file, params[i].name);
        if (found == NULL || !lk_shape_equal(&found->tensor.shape, &params[i].shape))
            return lk_fail(err, LK_ERR_INTERNAL, "parameter '%s' of the plan is not in the state_dict", params[i].name);
        const void *values = as_master(inference, &found->tensor, scratch);
        LK_RETURN_IF(lk_plan_pack(inference->plan, i, values, inference->params, err));
    }
    return LK_OK;
}

static lk_status load_stats(lk_inference *inference, double *scratch, lk_error *err) {
    static const char *const suffixes[] = {"running_mean", "running_var"};
    int count;
    lk_device *device = inference->device;
    int64_t size = (int64_t)lk_dtype_size(device->master);
    const lk_stat *stats = lk_plan_get_stats(inference->plan, &count);
    for (int i = 0; i < 2 * count; i++) {
        const lk_stat *stat = &stats[i / 2];
        char *name = NULL;
        LK_RETURN_IF(lk_format(&name, err, "%s.%s", stat->name, suffixes[i % 2]));
        const lk_named_tensor *found = find_tensor(inference->file, name);
        lk_free(name);
        if (found == NULL || lk_shape_count(&found->tensor.shape) != stat->channels)
            return lk_fail(err, LK_ERR_INTERNAL, "statistics of '%s' are not in the state_dict", stat->name);
        const void *values = as_master(inference, &found->tensor, scratch);
        char *to = (char *)inference->stats + (stat->offset + (i % 2) * stat->channels) * size;
        LK_RETURN_IF(device->upload(device, to, values, stat->channels * size, err));
    }
    return LK_OK;
}

static lk_status load_tensors(lk_inference *inference, lk_error *err) {
    int64_t largest = 1;
    for (int i = 0; i < inference->file->tensor_count; i++) {
        int64_t count = lk_shape_count(&inference->file->tensors[i].tensor.shape);
        if (count > largest) largest = count;
    }
    double *scratch = NULL;
    LK_RETURN_IF(LK_NEW(&scratch, inference->device->master == LK_F32 ? 0 : largest, "a parameter", err));
    lk_status status = load_params(inference, scratch, err);
    if (status == LK_OK) status = load_stats(inference, scratch, err);
    lk_free(scratch);
    return status;
}

static lk_status allocate(lk_inference *inference, lk_error *err) {
    lk_device *device = inference->device;
    const lk_plan_totals *totals = &inference->totals;
    int64_t size = (int64_t)lk_dtype_size(device->master);
    LK_RETURN_IF(device->alloc(device, &inference->params, totals->slab_count * size, "parameters", err));
    LK_RETURN_IF(device->alloc(device, &inference->stats, totals->stats_count * size, "running statistics", err));
    LK_RETURN_IF(device->alloc(device, &inference->derived, totals->derived_bytes, "derived parameters", err));
    LK_RETURN_IF(device->alloc(device, &inference->arena, totals->arena_bytes, "activations", err));
    const lk_graph *graph = inference->file->graph;
    inference->image_bytes = graph->in_h * graph->in_w * graph->in_channels;
    LK_RETURN_IF(LK_NEW(&inference->images, inference->batch * inference->image_bytes, "a batch of images", err));
    LK_RETURN_IF(LK_NEW(&inference->labels, inference->batch, "a batch of labels", err));
    return LK_NEW(&inference->logits, inference->batch * graph->classes, "a batch of logits", err);
}

static lk_status compile(lk_inference *inference, const lk_inference_options *options, lk_error *err) {
    inference->batch = options->batch;
    LK_RETURN_IF(
        lk_device_create(&inference->device, options->device, options->threads < 1 ? 1 : options->threads, err));
    lk_plan_options plan = {.batch = options->batch, .compute = options->compute, .training = false};
    LK_RETURN_IF(lk_plan_create(&inference->plan, inference->file->graph, inference->device, &plan, err));
    lk_plan_get_totals(inference->plan, &inference->totals);
    LK_RETURN_IF(allocate(inference, err));
    LK_RETURN_IF(load_tensors(inference, err));
    LK_RETURN_IF(inference->device->stream_create(inference->device, &inference->stream, err));
    LK_RETURN_IF(lk_plan_refresh(inference->plan, inference->stream, inference->params, inference->derived, err));
    return lk_lane_create(&inference->lane, inference->plan, inference->stream, inference->arena, err);
}

lk_status lk_inference_open(lk_inference **out, const char *path, const lk_inference_options *options, lk_error *err) {
    *out = NULL;
    lk_inference *inference = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&inference, 1, "a model", err));
    LK_TRY(lk_model_file_open(&inference->opened, path, err));
    inference->file = &inference->opened;
    LK_TRY(compile(inference, options, err));
    *out = inference;
    inference = NULL;
out:
    lk_inference_free(inference);
    return status;
}

lk_status lk_inference_borrow(lk_inference **out, lk_model_file *file, const lk_inference_options *options,
                              lk_error *err) {
    *out = NULL;
    lk_inference *inference = NULL;
    LK_RETURN_IF(LK_NEW(&inference, 1, "a model", err));
    inference->file = file;
    lk_status status = compile(inference, options, err);
    if (status == LK_OK)
        *out = inference;
    else
        lk_inference_free(inference);
    return status;
}

void lk_inference_free(lk_inference *inference) {
    if (inference == NULL) return;
    lk_device *device = inference->device;
    lk_lane_free(inference->lane);
    if (inference->stream != NULL) device->stream_free(device, inference->stream);
    void *memory[] = {inference->params, inference->stats, inference->derived, inference->arena};
    for (int i = 0; i < 4; i++)
        if (memory[i] != NULL) device->release(device, memory[i]);
    lk_plan_free(inference->plan);
    lk_device_free(device);
    lk_model_file_free(&inference->opened);
    lk_free(inference->images);
    lk_free(inference->labels);
    lk_free(inference->logits);
    lk_free(inference);
}

const lk_meta *lk_inference_get_meta(const lk_inference *inference) { return &inference->file->meta; }

const lk_graph *lk_inference_get_graph(const lk_inference *inference) { return inference->file->graph; }

lk_status lk_inference_run(lk_inference *inference, const uint8_t *images, int64_t rows, double *logits,
                           lk_error *err) {
    if (rows < 1 || rows > inference->batch)
        return lk_fail(err, LK_ERR_INTERNAL, "%lld rows do not fit into a batch of %lld", (long long)rows,
                       (long long)inference->batch);
    size_t used = (size_t)(rows * inference->image_bytes);
    memcpy(inference->images, images, used);
    memset(inference->images + used, 0, (size_t)((inference->batch - rows) * inference->image_bytes));
    lk_run run = {.params = inference->params,
                  .derived = inference->derived,
                  .stats = inference->stats,
                  .images = inference->images,
                  .labels = inference->labels,
                  .rows = rows,
                  .loss_scale = 1};
    LK_RETURN_IF(lk_lane_forward(inference->lane, &run, NULL, NULL, err));
    LK_RETURN_IF(lk_lane_read_logits(inference->lane, inference->logits, err));
    memcpy(logits, inference->logits, (size_t)(rows * inference->file->graph->classes) * sizeof *logits);
    return LK_OK;
}

void lk_inference_get_golden(const lk_inference *inference, lk_golden *golden) {
    *golden =
        (lk_golden){inference->file->golden_count, inference->file->golden_images, inference->file->golden_logits};
}
