#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "train/inference_file.h"

typedef struct list {
    lk_named_tensor *items;
    int count;
} list;

static lk_status add(list *l, const lk_node *node, const char *suffix, lk_dtype dtype, lk_shape shape, lk_error *err) {
    lk_named_tensor *item = &l->items[l->count++];
    item->tensor = (lk_tensor){dtype, shape, NULL};
    return lk_format((char **)&item->name, err, "%s.%s", node->name, suffix);
}

static lk_status add_batchnorm(list *l, const lk_node *node, lk_error *err) {
    static const char *const suffixes[] = {"weight", "bias", "running_mean", "running_var"};
    for (int i = 0; i < 4; i++) LK_RETURN_IF(add(l, node, suffixes[i], LK_F32, lk_shape_of(1, node->c), err));
    return add(l, node, "num_batches_tracked", LK_I64, lk_shape_of(0), err);
}

static lk_status add_node(list *l, const lk_graph *graph, const lk_node *node, lk_error *err) {
    const lk_node *x = &graph->nodes[node->x >= 0 ? node->x : 0];
    if (node->op.kind == LK_OP_BATCHNORM) return add_batchnorm(l, node, err);
    if (node->op.kind == LK_OP_CONV2D) {
        lk_shape shape = lk_shape_of(4, node->op.conv.out_channels, x->c / node->op.conv.groups, node->op.conv.kernel_h,
                                     node->op.conv.kernel_w);
        LK_RETURN_IF(add(l, node, "weight", LK_F32, shape, err));
        return node->op.conv.bias ? add(l, node, "bias", LK_F32, lk_shape_of(1, node->c), err) : LK_OK;
    }
    if (node->op.kind == LK_OP_LINEAR) {
        LK_RETURN_IF(
            add(l, node, "weight", LK_F32, lk_shape_of(2, node->op.linear.out_features, x->c * x->h * x->w), err));
        return add(l, node, "bias", LK_F32, lk_shape_of(1, node->op.linear.out_features), err);
    }
    return LK_OK;
}

lk_status lk_state_dict_list(lk_named_tensor **out, int *count, const lk_graph *graph, lk_error *err) {
    *out = NULL;
    *count = 0;
    list l = {0};
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&l.items, 5 * graph->count, "the names of a state_dict", err)); /* a BatchNorm has five */
    for (int i = 0; i < graph->count; i++) LK_TRY(add_node(&l, graph, &graph->nodes[i], err));
    *out = l.items;
    *count = l.count;
    return LK_OK;
out:
    lk_state_dict_free(l.items, l.count);
    return status;
}

void lk_state_dict_free(lk_named_tensor *tensors, int count) {
    for (int i = 0; i < count; i++) {
        lk_free((char *)tensors[i].name);
        lk_free(tensors[i].tensor.data);
    }
    lk_free(tensors);
}
