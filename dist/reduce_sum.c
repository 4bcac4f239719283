#include "dist/reduce_sum.h"

#include <assert.h>
#include <string.h>

#include "core/memory.h"

static lk_status build(lk_sum_tree *tree, lk_span node, const lk_span *terms, int first, int count, int depth,
                       int *index, lk_error *err) {
    int self = tree->node_count++;
    *index = self;
    if (depth > tree->depth) tree->depth = depth;
    if (count == 1 && terms[first].first == node.first && terms[first].count == node.count) {
        tree->nodes[self] = (lk_sum_node){-1, -1, first};
        return LK_OK;
    }
    lk_span left = lk_tree_left(node);
    int lefts = 0;
    while (lefts < count && terms[first + lefts].first < left.first + left.count) lefts++;
    if (lefts == 0 || lefts == count)
        return lk_fail(err, LK_ERR_INTERNAL, "leaves %d to %d are no node of the tree of microbatches",
                       terms[first].first, terms[first].first + terms[first].count - 1);
    tree->nodes[self].term = -1;
    LK_RETURN_IF(build(tree, left, terms, first, lefts, depth + 1, &tree->nodes[self].left, err));
    return build(tree, lk_tree_right(node), terms, first + lefts, count - lefts, depth + 1, &tree->nodes[self].right,
                 err);
}

lk_status lk_sum_tree_create(lk_sum_tree *tree, lk_span root, const lk_span *terms, int count, lk_error *err) {
    int index = 0;
    *tree = (lk_sum_tree){.term_count = count};
    LK_RETURN_IF(LK_NEW(&tree->nodes, 2 * (int64_t)count, "the tree of sums", err));
    LK_RETURN_IF(build(tree, root, terms, 0, count, 1, &index, err));
    return lk_alloc(&tree->blocks, (size_t)tree->depth, LK_SUM_BLOCK, "the tree of sums", err);
}

void lk_sum_tree_free(lk_sum_tree *tree) {
    lk_free(tree->nodes);
    lk_free(tree->blocks);
    *tree = (lk_sum_tree){0};
}

/* out may be a or b. */
static void add(lk_dtype dtype, void *out, const void *a, const void *b, int64_t count) {
    if (dtype == LK_F32) {
        const float *x = a, *y = b;
        float *z = out;
        for (int64_t i = 0; i < count; i++) z[i] = x[i] + y[i];
    } else {
        const double *x = a, *y = b;
        double *z = out;
        for (int64_t i = 0; i < count; i++) z[i] = x[i] + y[i];
    }
}

typedef struct block_sum {
    const lk_sum_tree *tree;
    lk_dtype dtype;
    const void *const *terms;
    int64_t at, count; /* elements */
} block_sum;

/* The node's sum over one block: a term itself, an intermediate result, or NULL where nothing is present. */
static const void *sum_block(const block_sum *s, int index, int slot, void *out) {
    const lk_sum_node *node = &s->tree->nodes[index];
    size_t size = lk_dtype_size(s->dtype);
    if (node->term >= 0) {
        const char *term = s->terms[node->term];
        return term == NULL ? NULL : term + (size_t)s->at * size;
    }
    char *own = (char *)s->tree->blocks + (size_t)slot * LK_SUM_BLOCK;
    const void *left = sum_block(s, node->left, slot, NULL);
    const void *right = sum_block(s, node->right, slot + 1, NULL);
    if (left == NULL || right == NULL) return left == NULL ? right : left;
    /* Only the last addition writes to `out`, which may be a term that the others still read. */
    void *target = out == NULL ? own : out;
    add(s->dtype, target, left, right, s->count);
    return target;
}

void lk_sum_tree_add(const lk_sum_tree *tree, lk_dtype dtype, const void *const *terms, void *out, int64_t count) {
    assert(dtype == LK_F32 || dtype == LK_F64);
    size_t size = lk_dtype_size(dtype);
    int64_t step = (int64_t)(LK_SUM_BLOCK / size);
    for (int64_t at = 0; at < count; at += step) {
        block_sum s = {tree, dtype, terms, at, count - at < step ? count - at : step};
        char *target = (char *)out + (size_t)at * size;
        const void *sum = sum_block(&s, 0, 0, target);
        if (sum != NULL && sum != target) memcpy(target, sum, (size_t)s.count * size);
    }
}

typedef struct device_sum {
    const lk_sum_tree *tree;
    lk_device *device;
    lk_stream *stream;
    void *const *terms;
    void *out;
    int64_t count;
} device_sum;

/* *result: the term that holds the node's sum, which is `out` where that is one of them; NULL: nothing is present. */
static lk_status sum_node(const device_sum *s, int index, void **result, lk_error *err) {
    const lk_sum_node *node = &s->tree->nodes[index];
    void *left, *right;
    if (node->term >= 0) {
        *result = s->terms[node->term];
        return LK_OK;
    }
    LK_RETURN_IF(sum_node(s, node->left, &left, err));
    LK_RETURN_IF(sum_node(s, node->right, &right, err));
    *result = left == NULL || right == s->out ? right : left;
    if (left == NULL || right == NULL) return LK_OK;
    return s->device->slab_add(s->device, s->stream, *result, *result == left ? right : left, s->count, err);
}

lk_status lk_sum_tree_add_on(const lk_sum_tree *tree, lk_device *device, lk_stream *stream, void *const *terms,
                             void *out, int64_t count, lk_error *err) {
    device_sum s = {tree, device, stream, terms, out, count};
    void *result = NULL;
    LK_RETURN_IF(sum_node(&s, 0, &result, err));
    assert((result == out || result == NULL) && "the sum ends in the slab");
    return LK_OK;
}
