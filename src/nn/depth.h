/* How deep a layer lies, for layer-wise learning rates. */
#ifndef LK_NN_DEPTH_H
#define LK_NN_DEPTH_H

#include "nn/graph.h"

/* depths[0..graph->count): the group of each node, 0 for the stem. All layers before the first block are one group,
 * every block ("layer1.0", "blocks.2.1": the name up to its numbers) is the next, layers between the last block and the
 * last global pooling belong to that block, what comes after the pooling is the last group. *groups: how many.
 * Source: timm.optim.param_groups_layer_decay with the fine group_matcher of its ResNets and EfficientNets. Pure. */
void lk_graph_depths(const lk_graph *graph, int *depths, int *groups);

#endif
