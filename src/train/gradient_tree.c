#include "train/gradient_tree.h"

#include <string.h>

#include "core/memory.h"

lk_status lk_gradient_tree_create(lk_gradient_tree *tree, lk_device *device, int leaves, int chain, lk_span share,
                                  int lanes, int64_t slab_count, const int64_t *bucket_begins,
                                  const int64_t *bucket_ends, int buckets, lk_error *err) {
    lk_status status;
    memset(tree, 0, sizeof *tree);
    tree->device = device;
    tree->leaves = leaves;
    tree->chain = chain;
    tree->share = share;
    tree->slab_count = slab_count;
    tree->bucket_begins = bucket_begins;
    tree->bucket_ends = bucket_ends;
    tree->buckets = buckets;
    tree->slab_total = lk_tree_slabs(share, chain, lanes);
    pthread_mutex_init(&tree->mutex, NULL);
    LK_TRY(LK_NEW(&tree->slabs, tree->slab_total, "gradient slabs", err));
    LK_TRY(LK_NEW(&tree->slab_used, tree->slab_total, "gradient slabs", err));
    LK_TRY(LK_NEW(&tree->slab_of_leaf, share.count, "the gradient tree", err));
    LK_TRY(LK_NEW(&tree->arrived, (int64_t)share.count * buckets, "the gradient tree", err));
    LK_TRY(LK_NEW(&tree->merged, share.count, "the gradient tree", err));
    LK_TRY(LK_NEW(&tree->done, buckets, "the gradient tree", err));
    int64_t bytes = slab_count * (int64_t)lk_dtype_size(device->master);
    for (int i = 0; i < tree->slab_total; i++)
        LK_TRY(device->alloc(device, &tree->slabs[i], bytes, "a gradient slab", err));
    return LK_OK;
out:
    lk_gradient_tree_free(tree);
    return status;
}

void lk_gradient_tree_free(lk_gradient_tree *tree) {
    if (tree == NULL || tree->device == NULL) return;
    for (int i = 0; tree->slabs != NULL && i < tree->slab_total; i++)
        if (tree->slabs[i] != NULL) tree->device->release(tree->device, tree->slabs[i]);
    lk_free(tree->slabs);
    lk_free(tree->slab_used);
    lk_free(tree->slab_of_leaf);
    lk_free(tree->arrived);
    lk_free(tree->merged);
    lk_free(tree->done);
    pthread_mutex_destroy(&tree->mutex);
    memset(tree, 0, sizeof *tree);
}

void lk_gradient_tree_begin(lk_gradient_tree *tree, int present) {
    tree->present = present;
    tree->done_count = 0;
    memset(tree->slab_used, 0, (size_t)tree->slab_total * sizeof *tree->slab_used);
    memset(tree->arrived, 0, (size_t)tree->share.count * (size_t)tree->buckets * sizeof *tree->arrived);
    memset(tree->merged, 0, (size_t)tree->share.count * sizeof *tree->merged);
    /* The first leaf's slab becomes the total: kept for it, whoever starts first. */
    tree->slab_used[0] = true;
    tree->slab_of_leaf[0] = 0;
}

lk_status lk_gradient_tree_take(lk_gradient_tree *tree, int leaf, void **slab, lk_error *err) {
    int at = leaf - tree->share.first;
    pthread_mutex_lock(&tree->mutex);
    int index = at == 0 ? 0 : -1;
    for (int i = 0; i < tree->slab_total && index < 0; i++)
        if (!tree->slab_used[i]) index = i;
    if (index >= 0) {
        tree->slab_used[index] = true;
        tree->slab_of_leaf[at] = index;
        *slab = tree->slabs[index];
    }
    pthread_mutex_unlock(&tree->mutex);
    if (index < 0) return lk_fail(err, LK_ERR_INTERNAL, "no gradient slab is free for leaf %d", leaf);
    return LK_OK;
}

/* Counts one operand of the sum whose right operand starts at `right`; true for the second. */
static bool arrive(lk_gradient_tree *tree, int right, int bucket) {
    pthread_mutex_lock(&tree->mutex);
    bool second = ++tree->arrived[(size_t)(right - tree->share.first) * (size_t)tree->buckets + (size_t)bucket] == 2;
    pthread_mutex_unlock(&tree->mutex);
    return second;
}

/* One more bucket of the right operand was added to the left: its slab is free after the last. */
static void count_merge(lk_gradient_tree *tree, int right) {
    int at = right - tree->share.first;
    pthread_mutex_lock(&tree->mutex);
    if (++tree->merged[at] == tree->buckets) tree->slab_used[tree->slab_of_leaf[at]] = false;
    pthread_mutex_unlock(&tree->mutex);
}

lk_status lk_gradient_tree_complete(lk_gradient_tree *tree, lk_stream *stream, int leaf, int bucket, lk_error *err) {
    size_t size = lk_dtype_size(tree->device->master);
    int64_t begin = tree->bucket_begins[bucket];
    int64_t count = tree->bucket_ends[bucket] - begin;
    lk_span node = {leaf, 1};
    while (node.count < tree->share.count) {
        int right;
        node = lk_tree_chain_parent(tree->leaves, tree->chain, node, &right);
        if (right >= tree->present) continue; /* what is absent is skipped, never added as zero */
        if (!arrive(tree, right, bucket)) return LK_OK;
        char *left_slab = tree->slabs[tree->slab_of_leaf[node.first - tree->share.first]];
        char *right_slab = tree->slabs[tree->slab_of_leaf[right - tree->share.first]];
        size_t at = (size_t)begin * size;
        LK_RETURN_IF(tree->device->slab_add(tree->device, stream, left_slab + at, right_slab + at, count, err));
        count_merge(tree, right);
    }
    pthread_mutex_lock(&tree->mutex);
    tree->done[tree->done_count++] = bucket;
    pthread_mutex_unlock(&tree->mutex);
    return LK_OK;
}

int lk_gradient_tree_next(lk_gradient_tree *tree, int *taken) {
    int bucket = -1;
    pthread_mutex_lock(&tree->mutex);
    if (*taken < tree->done_count) bucket = tree->done[(*taken)++];
    pthread_mutex_unlock(&tree->mutex);
    return bucket;
}
