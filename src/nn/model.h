/* Model families: one file each in nn/models, one line each in the table of model.c. */
#ifndef LK_NN_MODEL_H
#define LK_NN_MODEL_H

#include "core/random.h"
#include "nn/graph.h"

typedef struct lk_model_spec {
    int64_t channels, h, w; /* of the pixels */
    int64_t classes;
    float mean[LK_MAX_CHANNELS_IN], std[LK_MAX_CHANNELS_IN];
    double dropout, drop_path; /* in [0, 1); below 0: the model's published rates. Evaluation knows neither */
    double bn_momentum;        /* of every BatchNorm; 0: the model's own */
} lk_model_spec;

/* What the published weights of a model were evaluated with. */
typedef struct lk_model_weights {
    const char *name; /* "timm efficientnet_b0.ra_in1k"; NULL: none are published */
    int64_t size;     /* pixels, height and width */
    double crop;      /* size / short side before the centre crop */
    bool bicubic;     /* else bilinear, antialiased as Pillow */
    float mean[3], std[3];
} lk_model_weights;

typedef struct lk_model_entry {
    const char *name;    /* "resnet18", "cifar_resnet8" */
    const char *family;  /* "resnet", "cifar_resnet" */
    const char *source;  /* whose parameter names and initialisation: "torchvision", "timm" */
    int variant;         /* depth, or place in the family */
    int64_t native_size; /* pixels, of the paper */
    double dropout, drop_path;
    lk_status (*build)(lk_graph *graph, const struct lk_model_entry *entry, const lk_model_spec *spec, lk_error *err);
    lk_model_weights weights;
} lk_model_entry;

/* All models, `*count` of them. Static. */
const lk_model_entry *lk_models(int *count);
/* The model of this name, or NULL. Static. */
const lk_model_entry *lk_model_find(const char *name);
/* Short side in pixels before the centre crop of `size`, as the published weights have it, rounded down. Source: timm's
 * create_transform. Pure. */
int64_t lk_model_resize_size(const lk_model_weights *weights, int64_t size);

/* Builds a model's graph up to the logits; add the loss with lk_graph_loss for training.
 * Errors: LK_ERR_CONFIG for an unknown name (with the nearest one) or shapes that do not fit; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_model_build(lk_graph **out, const char *name, const lk_model_spec *spec, lk_error *err);

#endif
