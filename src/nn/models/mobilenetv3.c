#include "nn/models/mobile.h"

#define FEATURES 1280

/* Table 1 of the paper. The stages of one line are the first numbers of timm's names. */
static const lk_mobile_stage LARGE[] = {
    {0, 1, 3, 1, 1, 16, LK_ACT_RELU, false},         {1, 1, 3, 2, 4, 24, LK_ACT_RELU, false},
    {1, 1, 3, 1, 3, 24, LK_ACT_RELU, false},         {2, 3, 5, 2, 3, 40, LK_ACT_RELU, true},
    {3, 1, 3, 2, 6, 80, LK_ACT_HARD_SWISH, false},   {3, 1, 3, 1, 2.5, 80, LK_ACT_HARD_SWISH, false},
    {3, 2, 3, 1, 2.3, 80, LK_ACT_HARD_SWISH, false}, {4, 2, 3, 1, 6, 112, LK_ACT_HARD_SWISH, true},
    {5, 3, 5, 2, 6, 160, LK_ACT_HARD_SWISH, true},
};
enum { LINES = sizeof LARGE / sizeof LARGE[0] };

lk_status lk_model_mobilenetv3(lk_graph *g, const lk_model_entry *entry, const lk_model_spec *spec, lk_error *err) {
    (void)entry; /* one variant */
    lk_mobile m = {.graph = g,
                   .eps = LK_TORCH_BATCHNORM_EPS,
                   .drop_path = spec->drop_path,
                   .blocks = 1, /* the convolution after the blocks */
                   .squeeze_act = LK_ACT_RELU,
                   .gate = LK_ACT_HARD_SIGMOID,
                   .squeeze_of_expanded = true};
    for (int i = 0; i < LINES; i++) m.blocks += LARGE[i].repeats;
    lk_mobile_conv stem = {"conv_stem", "bn1", 16, 3, 2, .act = LK_ACT_HARD_SWISH, .residual = -1};
    lk_mobile_conv last = {"blocks.6.0.conv", "blocks.6.0.bn1", 960, 1, 1, .act = LK_ACT_HARD_SWISH, .residual = -1};
    lk_conv_spec head = {.out_channels = FEATURES, .kernel = 1, .stride = 1, .groups = 1, .bias = true};
    LK_RETURN_IF(lk_mobile_conv_bn(&m, &stem, err));
    LK_RETURN_IF(lk_mobile_stages(&m, LARGE, LINES, err));
    LK_RETURN_IF(lk_mobile_conv_bn(&m, &last, err));
    LK_RETURN_IF(lk_graph_global_avgpool(g, &m.x, "global_pool", m.x, err));
    LK_RETURN_IF(lk_graph_conv2d(g, &m.x, "conv_head", m.x, head, LK_INIT_GOOGLE_CONV, err));
    LK_RETURN_IF(lk_graph_activation(g, &m.x, "act2", m.x, LK_ACT_HARD_SWISH, err));
    LK_RETURN_IF(lk_graph_dropout(g, &m.x, "dropout", m.x, spec->dropout, err));
    return lk_graph_linear(g, &m.x, "classifier", m.x, spec->classes, LK_INIT_GOOGLE_LINEAR, err);
}
