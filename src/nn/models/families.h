/* One build function per model family; model.c's table names them. */
#ifndef LK_NN_MODELS_FAMILIES_H
#define LK_NN_MODELS_FAMILIES_H

#include "nn/model.h"

/* Defaults of torch.nn.BatchNorm2d. */
#define LK_TORCH_BATCHNORM_EPS 1e-5
#define LK_TORCH_BATCHNORM_MOMENTUM 0.1

/* Source: He et al. 2016, "Deep residual learning for image recognition"; torchvision.models.resnet (version 1.5 of the
 * bottleneck: the stride is in the 3 x 3 convolution). Errors: those of the lk_graph functions. */
LK_MUST_CHECK lk_status lk_model_resnet(lk_graph *graph, const lk_model_entry *entry, const lk_model_spec *spec,
                                        lk_error *err);

/* Source: the same paper, section 4.2 (depth 6n + 2), with projection shortcuts; names as torchvision's ResNet.
 * Errors: those of the lk_graph functions. */
LK_MUST_CHECK lk_status lk_model_cifar_resnet(lk_graph *graph, const lk_model_entry *entry, const lk_model_spec *spec,
                                              lk_error *err);

/* Source: Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks"; timm's
 * efficientnet_b0 to b4. Errors: those of the lk_graph functions. */
LK_MUST_CHECK lk_status lk_model_efficientnet(lk_graph *graph, const lk_model_entry *entry, const lk_model_spec *spec,
                                              lk_error *err);

/* Source: the same, without squeeze-and-excitation and with ReLU6 and TensorFlow's padding: Liu 2020, "Higher accuracy
 * on vision models with EfficientNet-Lite"; timm's tf_efficientnet_lite0 to lite4. Errors: those of the lk_graph
 * functions. */
LK_MUST_CHECK lk_status lk_model_efficientnet_lite(lk_graph *graph, const lk_model_entry *entry,
                                                   const lk_model_spec *spec, lk_error *err);

/* Source: Howard et al. 2019, "Searching for MobileNetV3"; timm's mobilenetv3_large_100. Errors: those of the lk_graph
 * functions. */
LK_MUST_CHECK lk_status lk_model_mobilenetv3(lk_graph *graph, const lk_model_entry *entry, const lk_model_spec *spec,
                                             lk_error *err);

/* What the families of residual networks share. */

/* A convolution without bias and its BatchNorm. conv and bn: layer names. Shape: stride divides height and width. */
typedef struct lk_conv_bn {
    const char *conv, *bn;
    int64_t channels, kernel, stride;
    lk_act act;
    lk_node_id residual; /* added before the activation; -1: none */
} lk_conv_bn;
LK_MUST_CHECK lk_status lk_model_conv_bn(lk_graph *g, lk_node_id *out, lk_node_id x, const lk_conv_bn *layer,
                                         lk_error *err);

/* One residual block called `name` ("layer1.0"): two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 with four times as
 * many channels out. The shortcut is a 1 x 1 convolution where shapes differ. */
LK_MUST_CHECK lk_status lk_model_residual_block(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x,
                                                int64_t width, int64_t stride, bool bottleneck, lk_error *err);

/* Global average pool and classifier "fc". */
LK_MUST_CHECK lk_status lk_model_head(lk_graph *g, lk_node_id x, int64_t classes, lk_error *err);

#endif
