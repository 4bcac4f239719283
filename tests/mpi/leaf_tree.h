/* What a reduction must give: leaves of made-up numbers, summed in the fixed tree (P5). */
#ifndef LK_TEST_MPI_LEAF_TREE_H
#define LK_TEST_MPI_LEAF_TREE_H

#include <math.h>

#include "core/tree.h"

/* Scattered over signs and twenty powers of two, so that another order of sums gives other bits. */
static inline float made_up(int number, int64_t i) {
    uint64_t x = (uint64_t)(number + 1) * 0xBF58476D1CE4E5B9u + (uint64_t)i;
    for (int k = 0; k < 3; k++) x = (x ^ (x >> 29)) * 0x94D049BB133111EBu;
    return ldexpf((float)(int32_t)(x >> 32), -31 - (int)(x % 20));
}

/* Element i of a node's sum of its first `present` leaves; false where it has none of them. */
static inline bool tree_value(float (*leaf_value)(int leaf, int64_t i), lk_span node, int present, int64_t i,
                              float *out) {
    float left = 0, right = 0;
    if (node.first >= present) return false;
    if (node.count == 1) {
        *out = leaf_value(node.first, i);
        return true;
    }
    bool has_left = tree_value(leaf_value, lk_tree_left(node), present, i, &left);
    bool has_right = tree_value(leaf_value, lk_tree_right(node), present, i, &right);
    *out = has_left && has_right ? left + right : has_left ? left : right;
    return has_left || has_right;
}

#endif
