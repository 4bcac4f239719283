/* Model families: one file each in nn/models, one line each in the table of model.c. */
#ifndef LK_NN_MODEL_H
#define LK_NN_MODEL_H

#include "core/random.h"
#include "nn/graph.h"

typedef struct lk_model_spec {
    int64_t channels, h, w; /* of the pixels */
    int64_t classes;
    float mean[LK_MAX_CHANNELS_IN], std[LK_MAX_CHANNELS_IN];
} lk_model_spec;

typedef struct lk_model_entry {
    const char *name;    /* "resnet18", "cifar_resnet8" */
    const char *family;  /* "resnet", "cifar_resnet" */
    const char *source;  /* whose parameter names and initialisation: "torchvision", ... */
    int variant;         /* depth */
    int64_t native_size; /* pixels */
    lk_status (*build)(lk_graph *graph, const struct lk_model_entry *entry, const lk_model_spec *spec, lk_error *err);
} lk_model_entry;

/* All models, `*count` of them. Static. */
const lk_model_entry *lk_models(int *count);

/* Builds a model's graph up to the logits; add the loss with lk_graph_cross_entropy for training.
 * Errors: LK_ERR_CONFIG for an unknown name (with the nearest one) or shapes that do not fit; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_build(lk_graph **out, const char *name, const lk_model_spec *spec, lk_error *err);

#endif
