/* The fixed tree of microbatches: what every sum of an update goes by, whoever computes it.
 * A node of k leaves splits into ceil(k/2) left and floor(k/2) right. A node is named by its span
 * [first, first + count) of leaves. A leaf is a microbatch, or a chain: `chain` microbatches next to each other, added
 * from left to right, which needs fewer slabs. All functions are pure. */
#ifndef LK_CORE_TREE_H
#define LK_CORE_TREE_H

#include <stdbool.h>

typedef struct lk_span {
    int first;
    int count;
} lk_span;

static inline int lk_tree_left_count(int count) { return count - count / 2; }

static inline lk_span lk_tree_left(lk_span node) { return (lk_span){node.first, lk_tree_left_count(node.count)}; }

static inline lk_span lk_tree_right(lk_span node) {
    int left = lk_tree_left_count(node.count);
    return (lk_span){node.first + left, node.count - left};
}

/* Is `span` a node of the tree over `leaves` leaves? */
bool lk_tree_is_node(int leaves, lk_span span);

/* The parent of a node; the root is its own parent. `node` must be a node. */
lk_span lk_tree_parent(int leaves, lk_span node);

/* Can `ranks` ranks take equal, contiguous shares of `leaves` leaves that are all nodes? */
bool lk_tree_ranks_ok(int leaves, int ranks);

/* Share of one rank; only where lk_tree_ranks_ok. */
lk_span lk_tree_share(int leaves, int ranks, int rank);

/* Writes the rank counts that work, e.g. "1, 2, 4", into text; returns text. */
char *lk_tree_ranks_print(int leaves, char *text, int size);

/* What `node` is added to, or what is added to it, and what that gives: a span of microbatches, as `node`, where leaves
 * are chains. Within a chain [s, s + c) the nodes are its beginnings [s, s + k) and its microbatches. *right: the first
 * microbatch of the right operand. The root is its own parent. `node` must be a node. */
lk_span lk_tree_chain_parent(int microbatches, int chain, lk_span node, int *right);

/* Slabs that a rank needs at once to sum the microbatches of `node`, whole chains, running `lanes` of them side by side
 * and starting them in order: a left operand's slab is kept until its right one is done. */
int lk_tree_slabs(lk_span node, int chain, int lanes);

#endif
