#include "core/tree.h"

#include <stdio.h>

bool lk_tree_is_node(int leaves, lk_span span) {
    if (span.count < 1) return false;
    lk_span node = {0, leaves};
    while (node.count > span.count) {
        lk_span left = lk_tree_left(node);
        node = span.first < left.first + left.count ? left : lk_tree_right(node);
    }
    return node.first == span.first && node.count == span.count;
}

lk_span lk_tree_parent(int leaves, lk_span node) {
    lk_span at = {0, leaves};
    lk_span parent = at;
    while (at.count > node.count) {
        parent = at;
        lk_span left = lk_tree_left(at);
        at = node.first < left.first + left.count ? left : lk_tree_right(at);
    }
    return parent;
}

bool lk_tree_ranks_ok(int leaves, int ranks) {
    if (ranks < 1 || ranks > leaves || leaves % ranks != 0) return false;
    for (int rank = 0; rank < ranks; rank++)
        if (!lk_tree_is_node(leaves, lk_tree_share(leaves, ranks, rank))) return false;
    return true;
}

lk_span lk_tree_share(int leaves, int ranks, int rank) {
    int share = leaves / ranks;
    return (lk_span){rank * share, share};
}

char *lk_tree_ranks_print(int leaves, char *text, int size) {
    int used = 0;
    if (size > 0) text[0] = '\0';
    for (int ranks = 1; ranks <= leaves && used < size; ranks++) {
        if (!lk_tree_ranks_ok(leaves, ranks)) continue;
        used += snprintf(text + used, (size_t)(size - used), used == 0 ? "%d" : ", %d", ranks);
    }
    return text;
}

lk_span lk_tree_chain_parent(int microbatches, int chain, lk_span node, int *right) {
    if (node.count < chain) {
        int start = node.first / chain * chain;
        *right = node.first == start ? start + node.count : node.first;
        return (lk_span){start, *right - start + 1};
    }
    lk_span parent = lk_tree_parent(microbatches / chain, (lk_span){node.first / chain, node.count / chain});
    *right = lk_tree_right(parent).first * chain;
    return (lk_span){parent.first * chain, parent.count * chain};
}

/* Slabs held by finished left siblings on the path to `leaf`. */
static int slabs_waiting(lk_span node, int leaf) {
    int waiting = 0;
    while (node.count > 1) {
        lk_span left = lk_tree_left(node);
        if (leaf < left.first + left.count) {
            node = left;
        } else {
            waiting++;
            node = lk_tree_right(node);
        }
    }
    return waiting;
}

int lk_tree_slabs(lk_span node, int chain, int lanes) {
    int most = 1;
    lk_span chains = {node.first / chain, node.count / chain};
    for (int at = node.first; at < node.first + node.count; at++) {
        /* While this is the oldest one running, up to lanes - 1 later ones run too. */
        int later = node.first + node.count - 1 - at;
        int side = lanes - 1 < later ? lanes - 1 : later;
        int slabs = slabs_waiting(chains, at / chain) + (at % chain > 0) + 1 + side;
        if (slabs > most) most = slabs;
    }
    return most < node.count ? most : node.count;
}
