#include <assert.h>
#include <stddef.h>
#include <stdio.h>

#include "nn/models/families.h"

typedef struct resnet_variant {
    int depth;
    bool bottleneck;
    int blocks[4]; /* of layer1 to layer4 */
} resnet_variant;

static const resnet_variant VARIANTS[] = {
    {18, false, {2, 2, 2, 2}},  {34, false, {3, 4, 6, 3}},  {50, true, {3, 4, 6, 3}},
    {101, true, {3, 4, 23, 3}}, {152, true, {3, 8, 36, 3}},
};

static const resnet_variant *find_variant(int depth) {
    for (size_t i = 0; i < sizeof VARIANTS / sizeof VARIANTS[0]; i++)
        if (VARIANTS[i].depth == depth) return &VARIANTS[i];
    return NULL;
}

lk_status lk_model_resnet(lk_graph *g, const lk_model_entry *entry, const lk_model_spec *spec, lk_error *err) {
    const resnet_variant *variant = find_variant(entry->variant);
    assert(variant != NULL);
    lk_node_id x = 0;
    LK_RETURN_IF(lk_model_conv_bn(g, &x, x, &(lk_conv_bn){"conv1", "bn1", 64, 7, 2, LK_ACT_RELU, -1}, err));
    LK_RETURN_IF(lk_graph_maxpool(g, &x, "maxpool", x, 3, 2, 1, err));
    for (int stage = 0; stage < 4; stage++) {
        for (int block = 0; block < variant->blocks[stage]; block++) {
            char name[LK_NAME_SIZE];
            snprintf(name, sizeof name, "layer%d.%d", stage + 1, block);
            int64_t stride = stage > 0 && block == 0 ? 2 : 1;
            LK_RETURN_IF(
                lk_model_residual_block(g, &x, name, x, INT64_C(64) << stage, stride, variant->bottleneck, err));
        }
    }
    return lk_model_head(g, x, spec->classes, err);
}
