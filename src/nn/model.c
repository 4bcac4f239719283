#include "nn/model.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/options.h"
#include "nn/models/families.h"

/* clang-format off */
#define IMAGENET {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}
#define HALF {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}
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
    {"efficientnet_b0", "efficientnet", "timm", 0, 224, 0.2, 0.2, lk_model_efficientnet, {"timm efficientnet_b0.ra_in1k", 224, 0.875, true, IMAGENET}},
    {"efficientnet_b1", "efficientnet", "timm", 1, 240, 0.2, 0.2, lk_model_efficientnet, {"timm efficientnet_b1.ra4_e3600_r240_in1k", 240, 0.9, true, HALF}},
    {"efficientnet_b2", "efficientnet", "timm", 2, 260, 0.3, 0.2, lk_model_efficientnet, {"timm efficientnet_b2.ra_in1k", 256, 0.875, true, IMAGENET}},
    {"efficientnet_b3", "efficientnet", "timm", 3, 300, 0.3, 0.2, lk_model_efficientnet, {"timm efficientnet_b3.ra2_in1k", 288, 0.875, true, IMAGENET}},
    {"efficientnet_b4", "efficientnet", "timm", 4, 380, 0.4, 0.2, lk_model_efficientnet, {"timm efficientnet_b4.ra2_in1k", 320, 0.875, true, IMAGENET}},
    {"tf_efficientnet_lite0", "efficientnet_lite", "timm", 0, 224, 0.2, 0.2, lk_model_efficientnet_lite, {"timm tf_efficientnet_lite0.in1k", 224, 0.875, true, HALF}},
    {"tf_efficientnet_lite1", "efficientnet_lite", "timm", 1, 240, 0.2, 0.2, lk_model_efficientnet_lite, {"timm tf_efficientnet_lite1.in1k", 240, 0.882, true, HALF}},
    {"tf_efficientnet_lite2", "efficientnet_lite", "timm", 2, 260, 0.3, 0.2, lk_model_efficientnet_lite, {"timm tf_efficientnet_lite2.in1k", 260, 0.89, true, HALF}},
    {"tf_efficientnet_lite3", "efficientnet_lite", "timm", 3, 280, 0.3, 0.2, lk_model_efficientnet_lite, {"timm tf_efficientnet_lite3.in1k", 300, 0.904, false, HALF}},
    {"tf_efficientnet_lite4", "efficientnet_lite", "timm", 4, 300, 0.4, 0.2, lk_model_efficientnet_lite, {"timm tf_efficientnet_lite4.in1k", 380, 0.92, false, HALF}},
    {"mobilenetv3_large_100", "mobilenetv3", "timm", 0, 224, 0.2, 0, lk_model_mobilenetv3, {"timm mobilenetv3_large_100.ra_in1k", 224, 0.875, true, IMAGENET}},
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
