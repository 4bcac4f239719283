/* What the mobile families share: depthwise separable blocks and inverted residuals, with squeeze-and-excitation or
 * without. Source: Howard et al. 2017, "MobileNets"; Sandler et al. 2018, "MobileNetV2"; Hu et al. 2018,
 * "Squeeze-and-excitation networks"; parameter names of timm's EfficientNet and MobileNetV3. */
#ifndef LK_NN_MODELS_MOBILE_H
#define LK_NN_MODELS_MOBILE_H

#include "nn/models/families.h"

/* A network being built, and what all its layers have in common. */
typedef struct lk_mobile {
    lk_graph *graph;
    lk_node_id x; /* the value so far */
    double eps;   /* of every BatchNorm */
    bool same;    /* TensorFlow's padding */
    double
        drop_path; /* of the block after the last; block i of n has i / n of it. Source: timm's EfficientNetBuilder */
    int blocks, done; /* of the whole network, built so far */
    /* Squeeze-and-excitation. */
    lk_act squeeze_act, gate;
    bool squeeze_of_expanded; /* a quarter of the expanded channels, rounded to eights; else of the block's input */
} lk_mobile;

/* Blocks of one shape; the first alone has the stride. */
typedef struct lk_mobile_stage {
    int stage; /* of the names: "blocks.<stage>.<block>"; lines of one stage count their blocks on */
    int repeats;
    int64_t kernel, stride;
    double expansion; /* 1: depthwise separable, without the first 1 x 1 convolution */
    int64_t channels;
    lk_act act;
    bool squeeze;
} lk_mobile_stage;

/* Nearest multiple of 8, and not less than 0.9 of the value. Source: timm's make_divisible. Pure. */
int64_t lk_mobile_round(double channels);

/* A convolution without bias and its BatchNorm, with the names given. Errors: those of the graph builders. */
typedef struct lk_mobile_conv {
    const char *conv, *bn;
    int64_t channels, kernel, stride;
    bool depthwise;
    lk_act act;
    lk_node_id residual; /* -1: none */
    double drop_path;
} lk_mobile_conv;
LK_MUST_CHECK lk_status lk_mobile_conv_bn(lk_mobile *m, const lk_mobile_conv *layer, lk_error *err);

/* Appends the blocks, line by line. Errors: those of the graph builders. */
LK_MUST_CHECK lk_status lk_mobile_stages(lk_mobile *m, const lk_mobile_stage *stages, int count, lk_error *err);

#endif
