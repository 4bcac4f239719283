#include <assert.h>
#include <stdio.h>

#include "nn/models/families.h"

lk_status lk_model_cifar_resnet(lk_graph *g, const lk_model_entry *entry, const lk_model_spec *spec, lk_error *err) {
    assert((entry->variant - 2) % 6 == 0);
    int blocks = (entry->variant - 2) / 6;
    lk_node_id x = 0;
    LK_RETURN_IF(lk_model_conv_bn(g, &x, x, &(lk_conv_bn){"conv1", "bn1", 16, 3, 1, LK_ACT_RELU, -1}, err));
    for (int stage = 0; stage < 3; stage++) {
        for (int block = 0; block < blocks; block++) {
            char name[LK_NAME_SIZE];
            snprintf(name, sizeof name, "layer%d.%d", stage + 1, block);
            int64_t stride = stage > 0 && block == 0 ? 2 : 1;
            LK_RETURN_IF(lk_model_residual_block(g, &x, name, x, INT64_C(16) << stage, stride, false, err));
        }
    }
    return lk_model_head(g, x, spec->classes, err);
}
