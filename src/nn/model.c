#include "nn/model.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "core/options.h"
#include "nn/models/families.h"

static const lk_model_entry MODELS[] = {
    {"resnet18", "resnet", "torchvision", 18, 224, lk_model_resnet},
    {"resnet34", "resnet", "torchvision", 34, 224, lk_model_resnet},
    {"resnet50", "resnet", "torchvision", 50, 224, lk_model_resnet},
    {"resnet101", "resnet", "torchvision", 101, 224, lk_model_resnet},
    {"resnet152", "resnet", "torchvision", 152, 224, lk_model_resnet},
    {"cifar_resnet8", "cifar_resnet", "torchvision", 8, 32, lk_model_cifar_resnet},
    {"cifar_resnet14", "cifar_resnet", "torchvision", 14, 32, lk_model_cifar_resnet},
    {"cifar_resnet20", "cifar_resnet", "torchvision", 20, 32, lk_model_cifar_resnet},
    {"cifar_resnet32", "cifar_resnet", "torchvision", 32, 32, lk_model_cifar_resnet},
    {"cifar_resnet44", "cifar_resnet", "torchvision", 44, 32, lk_model_cifar_resnet},
    {"cifar_resnet56", "cifar_resnet", "torchvision", 56, 32, lk_model_cifar_resnet},
};

enum { MODEL_COUNT = sizeof MODELS / sizeof MODELS[0] };

const lk_model_entry *lk_models(int *count) {
    *count = MODEL_COUNT;
    return MODELS;
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

lk_status lk_model_build(lk_graph **out, const char *name, const lk_model_spec *spec, lk_error *err) {
    *out = NULL;
    const lk_model_entry *entry = NULL;
    for (int i = 0; i < MODEL_COUNT && entry == NULL; i++)
        if (strcmp(MODELS[i].name, name) == 0) entry = &MODELS[i];
    if (entry == NULL) return unknown_model(name, err);
    if (spec->classes < 2)
        return lk_fail(err, LK_ERR_CONFIG, "model %s needs at least 2 classes and got %" PRId64, name, spec->classes);
    lk_graph *graph = NULL;
    LK_RETURN_IF(lk_graph_create(&graph, spec->channels, spec->h, spec->w, spec->mean, spec->std, err));
    lk_status status = entry->build(graph, entry, spec, err);
    if (status != LK_OK) {
        lk_graph_free(graph);
        return status;
    }
    *out = graph;
    return LK_OK;
}
