#include "nn/model.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/options.h"
#include "nn/models/families.h"

#define IMAGENET \
    {0.485f, 0.456f, 0.406f}, { 0.229f, 0.224f, 0.225f }

/* clang-format off */
static const lk_model_entry MODELS[] = {
    {"resnet18", "resnet", "torchvision", 18, 224, 0, 0, lk_model_resnet, {"torchvision IMAGENET1K_V1", 224, 224 / 256.0, false, IMAGENET}},
    {"resnet34", "resnet", "torchvision", 34, 224, 0, 0, lk_model_resnet, {"torchvision IMAGENET1K_V1", 224, 224 / 256.0, false, IMAGENET}},
    {"resnet50", "resnet", "torchvision", 50, 224, 0, 0, lk_model_resnet, {"torchvision IMAGENET1K_V2", 224, 224 / 232.0, false, IMAGENET}},
    {"resnet101", "resnet", "torchvision", 101, 224, 0, 0, lk_model_resnet, {"torchvision IMAGENET1K_V2", 224, 224 / 232.0, false, IMAGENET}},
    {"resnet152", "resnet", "torchvision", 152, 224, 0, 0, lk_model_resnet, {"torchvision IMAGENET1K_V2", 224, 224 / 232.0, false, IMAGENET}},
    {"cifar_resnet8", "cifar_resnet", "torchvision", 8, 32, 0, 0, lk_model_cifar_resnet, {0}},
    {"cifar_resnet14", "cifar_resnet", "torchvision", 14, 32, 0, 0, lk_model_cifar_resnet, {0}},
    {"cifar_resnet20", "cifar_resnet", "torchvision", 20, 32, 0, 0, lk_model_cifar_resnet, {0}},
    {"cifar_resnet32", "cifar_resnet", "torchvision", 32, 32, 0, 0, lk_model_cifar_resnet, {0}},
    {"cifar_resnet44", "cifar_resnet", "torchvision", 44, 32, 0, 0, lk_model_cifar_resnet, {0}},
    {"cifar_resnet56", "cifar_resnet", "torchvision", 56, 32, 0, 0, lk_model_cifar_resnet, {0}},
};
/* clang-format on */

enum { MODEL_COUNT = sizeof MODELS / sizeof MODELS[0] };

const lk_model_entry *lk_models(int *count) {
    *count = MODEL_COUNT;
    return MODELS;
}

const lk_model_entry *lk_model_find(const char *name) {
    for (int i = 0; i < MODEL_COUNT; i++)
        if (strcmp(MODELS[i].name, name) == 0) return &MODELS[i];
    return NULL;
}

int64_t lk_model_resize_size(const lk_model_weights *weights, int64_t size) {
    /* 224 / (224 / 232.0) may come out just below 232. */
    return (int64_t)floor((double)size / weights->crop + 1e-6);
}

static lk_status unknown_model(const char *name, lk_error *err) {
    const char *names[MODEL_COUNT];
    for (int i = 0; i < MODEL_COUNT; i++) names[i] = MODELS[i].name;
    const char *nearest = lk_nearest_name(name, names, MODEL_COUNT);
    if (nearest != NULL)
        return lk_fail(err, LK_ERR_CONFIG, "there is no model '%.64s': did you mean '%s'?", name, nearest);
    return lk_fail(err, LK_ERR_CONFIG, "there is no model '%.64s': the first of %d known ones is '%s'", name,
                   MODEL_COUNT, MODELS[0].name);
}

static lk_status check_spec(const lk_model_entry *entry, const lk_model_spec *spec, lk_error *err) {
    if (spec->classes < 2)
        return lk_fail(err, LK_ERR_CONFIG, "model %s needs at least 2 classes and got %" PRId64, entry->name,
                       spec->classes);
    if (!(spec->dropout < 1) || !(spec->drop_path < 1))
        return lk_fail(err, LK_ERR_CONFIG, "model %s: dropout %g and drop_path %g must be below 1", entry->name,
                       spec->dropout, spec->drop_path);
    if (!(spec->bn_momentum >= 0 && spec->bn_momentum <= 1))
        return lk_fail(err, LK_ERR_CONFIG, "model %s: a BatchNorm momentum of %g is outside (0, 1]", entry->name,
                       spec->bn_momentum);
    return LK_OK;
}

static void set_momentum(lk_graph *graph, double momentum) {
    for (int i = 0; i < graph->count; i++)
        if (graph->nodes[i].op.kind == LK_OP_BATCHNORM) graph->nodes[i].momentum = momentum;
}

lk_status lk_model_build(lk_graph **out, const char *name, const lk_model_spec *spec, lk_error *err) {
    *out = NULL;
    const lk_model_entry *entry = lk_model_find(name);
    if (entry == NULL) return unknown_model(name, err);
    LK_RETURN_IF(check_spec(entry, spec, err));
    lk_model_spec resolved = *spec;
    if (resolved.dropout < 0) resolved.dropout = entry->dropout;
    if (resolved.drop_path < 0) resolved.drop_path = entry->drop_path;
    lk_graph *graph = NULL;
    LK_RETURN_IF(lk_graph_create(&graph, spec->channels, spec->h, spec->w, spec->mean, spec->std, err));
    lk_status status = entry->build(graph, entry, &resolved, err);
    if (status != LK_OK) {
        lk_graph_free(graph);
        return status;
    }
    if (spec->bn_momentum > 0) set_momentum(graph, spec->bn_momentum);
    *out = graph;
    return LK_OK;
}
