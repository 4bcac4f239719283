/* Writes a checkpoint of an initialised model whose statistics are not trivial, with golden samples:
 *   make_checkpoint OUT.h5 [--model resnet18] [--classes 4] [--size 64] [--channels 3] [--golden 3] [--seed 1]
 *                          [--device cpu]
 * It holds the model alone, as lk_export_checkpoint writes it. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/options.h"
#include "train/export.h"
#include "train/inference.h"

typedef struct settings {
    char *model, *device;
    int64_t classes, size, channels, golden, seed;
} settings;

#define FIELD(f) offsetof(settings, f)
static const lk_option OPTIONS[] = {
    {.name = "model", .type = LK_OPTION_STRING, .offset = FIELD(model), .default_text = "resnet18", .help = "name"},
    {.name = "device", .type = LK_OPTION_STRING, .offset = FIELD(device), .default_text = "cpu", .help = "of logits"},
    {.name = "classes",
     .type = LK_OPTION_INT,
     .offset = FIELD(classes),
     .default_text = "4",
     .min = 2,
     .max = 1000,
     .help = "count"},
    {.name = "size",
     .type = LK_OPTION_INT,
     .offset = FIELD(size),
     .default_text = "64",
     .min = 8,
     .max = 512,
     .help = "pixels"},
    {.name = "channels",
     .type = LK_OPTION_INT,
     .offset = FIELD(channels),
     .default_text = "3",
     .min = 1,
     .max = 3,
     .help = "1 or 3"},
    {.name = "golden",
     .type = LK_OPTION_INT,
     .offset = FIELD(golden),
     .default_text = "3",
     .min = 0,
     .max = 64,
     .help = "samples"},
    {.name = "seed",
     .type = LK_OPTION_INT,
     .offset = FIELD(seed),
     .default_text = "1",
     .min = 0,
     .max = 1 << 30,
     .help = "of everything"},
};
enum { OPTION_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

static lk_status make_meta(lk_meta *meta, const settings *s, lk_error *err) {
    meta->preprocess = (lk_preprocess){.channels = (int)s->channels,
                                       .height = (int32_t)s->size,
                                       .width = (int32_t)s->size,
                                       .resize = LK_RESIZE_SHORT_SIDE,
                                       .resize_size = (int32_t)(s->size + s->size / 7),
                                       .interpolation = LK_BILINEAR,
                                       .mean = {0.485f, 0.456f, 0.406f},
                                       .std = {0.229f, 0.224f, 0.225f}};
    meta->dataset_hash[0] = 0x0123456789abcdef;
    meta->dataset_hash[1] = (uint64_t)s->seed;
    LK_RETURN_IF(lk_strdup(&meta->architecture, s->model, err));
    LK_RETURN_IF(lk_strdup(&meta->program, "lockstep " LK_VERSION, err));
    LK_RETURN_IF(lk_strdup(&meta->stored_rule, "", err));
    LK_RETURN_IF(lk_alloc((void **)&meta->class_names, (size_t)s->classes, sizeof(char *), "class names", err));
    for (int64_t i = 0; i < s->classes; i++) {
        LK_RETURN_IF(lk_format(&meta->class_names[i], err, "class %lld", (long long)i));
        meta->class_count++;
    }
    return LK_OK;
}

/* Fills a BatchNorm's tensor so that every one of its four matters. */
static void fill_batchnorm(lk_named_tensor *t, uint64_t index, const settings *s) {
    lk_random_key key = {(uint64_t)s->seed, 0, LK_RANDOM_GOLDEN};
    float *values = t->tensor.data;
    bool positive = strstr(t->name, ".weight") != NULL || strstr(t->name, ".running_var") != NULL;
    for (int64_t i = 0; i < lk_shape_count(&t->tensor.shape); i++) {
        float u = lk_random_uniform(&key, index << 32 | (uint64_t)i, 0);
        values[i] = positive ? 0.5f + u : 0.4f * u - 0.2f;
    }
}

/* Initialises on the device as training does, then takes the parameters out in state_dict order. */
static lk_status fill_tensors(lk_model_file *file, const settings *s, lk_error *err) {
    lk_device *device = NULL;
    lk_plan *plan = NULL;
    void *params = NULL, *stats = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_device_create(&device, s->device, 1, err));
    lk_plan_options options = {.batch = 1, .compute = LK_F32};
    LK_TRY(lk_plan_create(&plan, file->graph, device, &options, err));
    lk_plan_totals totals;
    lk_plan_get_totals(plan, &totals);
    LK_TRY(lk_alloc(&params, (size_t)totals.slab_count, 8, "parameters", err));
    LK_TRY(lk_alloc(&stats, (size_t)totals.stats_count, 8, "statistics", err));
    LK_TRY(lk_plan_initialise(plan, (uint64_t)s->seed, 1, params, stats, err));
    int count;
    const lk_param *list = lk_plan_get_params(plan, &count);
    for (int t = 0; t < file->tensor_count; t++) {
        lk_named_tensor *tensor = &file->tensors[t];
        int64_t elements = lk_shape_count(&tensor->tensor.shape);
        LK_TRY(lk_alloc(&tensor->tensor.data, (size_t)elements, 8, "a tensor", err));
        int i = 0;
        while (i < count && strcmp(list[i].name, tensor->name) != 0) i++;
        if (tensor->tensor.dtype == LK_I64) {
            *(int64_t *)tensor->tensor.data = 17;
        } else if (i < count && tensor->tensor.shape.rank > 1) {
            LK_TRY(lk_plan_unpack(plan, i, params, tensor->tensor.data, err));
            for (int64_t k = 0; device->master == LK_F64 && k < elements; k++)
                ((float *)tensor->tensor.data)[k] = (float)((double *)tensor->tensor.data)[k];
        } else {
            fill_batchnorm(tensor, (uint64_t)t, s);
        }
    }
out:
    lk_free(params);
    lk_free(stats);
    lk_plan_free(plan);
    lk_device_free(device);
    return status;
}

static lk_status add_golden(lk_model_file *file, const char *path, const settings *s, lk_error *err) {
    lk_inference *inference = NULL;
    double *logits = NULL;
    lk_status status = LK_OK;
    int64_t n = s->golden, bytes = n * s->size * s->size * s->channels;
    lk_inference_options options = {.device = s->device, .batch = n, .compute = LK_F32};
    LK_TRY(lk_inference_open(&inference, path, &options, err));
    LK_TRY(LK_NEW(&file->golden_images, bytes, "golden images", err));
    LK_TRY(LK_NEW(&file->golden_logits, n * s->classes, "golden logits", err));
    LK_TRY(LK_NEW(&file->golden_samples, n, "golden samples", err));
    LK_TRY(LK_NEW(&logits, n * s->classes, "logits", err));
    lk_random_key key = {(uint64_t)s->seed, 1, LK_RANDOM_GOLDEN};
    for (int64_t i = 0; i < bytes; i++) file->golden_images[i] = (uint8_t)lk_random_below(&key, (uint64_t)i, 0, 256);
    LK_TRY(lk_inference_run(inference, file->golden_images, n, logits, err));
    for (int64_t i = 0; i < n * s->classes; i++) file->golden_logits[i] = (float)logits[i];
    for (int64_t i = 0; i < n; i++) file->golden_samples[i] = 100 + i;
    file->golden_count = n;
    LK_TRY(lk_export_checkpoint(file, path, err));
out:
    lk_free(logits);
    lk_inference_free(inference);
    return status;
}

static lk_status make(const char *path, const settings *s, lk_error *err) {
    lk_model_file file = {0};
    lk_status status = LK_OK;
    LK_TRY(make_meta(&file.meta, s, err));
    LK_TRY(lk_meta_write(&file.meta_text, &file.meta, err));
    lk_model_spec spec = {.channels = s->channels, .h = s->size, .w = s->size, .classes = s->classes};
    memcpy(spec.mean, file.meta.preprocess.mean, sizeof spec.mean);
    memcpy(spec.std, file.meta.preprocess.std, sizeof spec.std);
    LK_TRY(lk_model_build(&file.graph, s->model, &spec, err));
    LK_TRY(lk_state_dict_list(&file.tensors, &file.tensor_count, file.graph, err));
    LK_TRY(fill_tensors(&file, s, err));
    LK_TRY(lk_export_checkpoint(&file, path, err));
    if (s->golden > 0) LK_TRY(add_golden(&file, path, s, err));
out:
    lk_model_file_free(&file);
    return status;
}

int main(int argc, char **argv) {
    lk_error err = {0};
    settings s = {0};
    int arguments = 0;
    lk_status status = lk_options_defaults(OPTIONS, OPTION_COUNT, &s, &err);
    if (status == LK_OK) status = lk_options_read_argv(OPTIONS, OPTION_COUNT, &s, argc, argv, &arguments, &err);
    if (status == LK_OK && arguments != 1) status = lk_fail(&err, LK_ERR_USAGE, "give one output file");
    if (status == LK_OK) status = make(argv[1], &s, &err);
    lk_options_free(OPTIONS, OPTION_COUNT, &s);
    if (status != LK_OK) fprintf(stderr, "make_checkpoint: %s\n", err.message);
    return lk_exit_status(status);
}
