#include <stdio.h>

#include "nn/models/families.h"

#define BOTTLENECK_EXPANSION 4

lk_status lk_model_conv_bn(lk_graph *g, lk_node_id *out, lk_node_id x, const lk_conv_bn *layer, lk_error *err) {
    lk_conv_spec spec = {.out_channels = layer->channels,
                         .kernel = layer->kernel,
                         .stride = layer->stride,
                         .pad = layer->kernel / 2,
                         .groups = 1};
    lk_node_id y = -1;
    LK_RETURN_IF(lk_graph_conv2d(g, &y, layer->conv, x, spec, LK_INIT_KAIMING_NORMAL_FAN_OUT, err));
    lk_batchnorm_spec norm = {.eps = LK_TORCH_BATCHNORM_EPS,
                              .momentum = LK_TORCH_BATCHNORM_MOMENTUM,
                              .act = layer->act,
                              .residual = layer->residual};
    return lk_graph_batchnorm(g, out, layer->bn, y, norm, err);
}

/* What the block's last BatchNorm adds: x itself, or its projection where channels or size change. */
static lk_status shortcut(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, int64_t channels,
                          int64_t stride, lk_error *err) {
    *out = x;
    if (stride == 1 && g->nodes[x].c == channels) return LK_OK;
    char conv[LK_NAME_SIZE], bn[LK_NAME_SIZE];
    snprintf(conv, sizeof conv, "%s.downsample.0", name);
    snprintf(bn, sizeof bn, "%s.downsample.1", name);
    return lk_model_conv_bn(g, out, x, &(lk_conv_bn){conv, bn, channels, 1, stride, LK_ACT_NONE, -1}, err);
}

lk_status lk_model_residual_block(lk_graph *g, lk_node_id *out, const char *name, lk_node_id x, int64_t width,
                                  int64_t stride, bool bottleneck, lk_error *err) {
    int convolutions = bottleneck ? 3 : 2;
    int64_t channels = bottleneck ? width * BOTTLENECK_EXPANSION : width;
    lk_node_id residual = -1, y = x;
    LK_RETURN_IF(shortcut(g, &residual, name, x, channels, stride, err));
    for (int i = 1; i <= convolutions; i++) {
        char conv[LK_NAME_SIZE], bn[LK_NAME_SIZE];
        snprintf(conv, sizeof conv, "%s.conv%d", name, i);
        snprintf(bn, sizeof bn, "%s.bn%d", name, i);
        bool last = i == convolutions;
        bool spatial = !bottleneck || i == 2;
        bool strided = bottleneck ? i == 2 : i == 1;
        lk_conv_bn layer = {.conv = conv,
                            .bn = bn,
                            .channels = last ? channels : width,
                            .kernel = spatial ? 3 : 1,
                            .stride = strided ? stride : 1,
                            .act = LK_ACT_RELU,
                            .residual = last ? residual : -1};
        LK_RETURN_IF(lk_model_conv_bn(g, &y, y, &layer, err));
    }
    *out = y;
    return LK_OK;
}

lk_status lk_model_head(lk_graph *g, lk_node_id x, int64_t classes, lk_error *err) {
    lk_node_id y = -1;
    LK_RETURN_IF(lk_graph_global_avgpool(g, &y, "avgpool", x, err));
    return lk_graph_linear(g, &y, "fc", y, classes, LK_INIT_TORCH_LINEAR, err);
}
