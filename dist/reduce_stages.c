/* What a stage of a bucket sends, receives and sums (reducer.c says which stages there are). Where a share is absent
 * the first that comes is received in its place, so that every sum ends in the slab. */
#include <assert.h>

#include "dist/reducer_internal.h"

static bool rank_present(const lk_reducer *r, int rank) {
    return lk_tree_share(r->leaves, r->route.ranks, rank).first < r->present;
}

/* Leaves are present from the first on: a node has a share where its first rank has. */
static bool node_present(const lk_reducer *r, int node) { return rank_present(r, r->route.node_first[node]); }

static char *slab_at(const lk_reducer *r, int64_t element) { return r->slab + (size_t)element * r->size; }

/* The rank whose share lies in the slab while the node's is summed: the own, or where there is none the first. */
static int rank_in_slab(const lk_reducer *r) { return rank_present(r, r->comm->rank) ? r->comm->rank : node_begin(r); }

/* The same of nodes. */
static int node_in_slab(const lk_reducer *r) { return node_present(r, own_node(r)) ? own_node(r) : 0; }

/* Where a rank's share of a run is: the first of its slices, and elements of the handled slices before it. */
static char *share_place(const lk_reducer *r, const bucket *b, int rank, int first, int64_t before) {
    if (rank == rank_in_slab(r)) return slab_at(r, slice_start(r, b, first));
    int index = rank - node_begin(r) - (rank > r->comm->rank);
    return b->scratch + (size_t)(index * b->handled + before) * r->size;
}

/* Where a node's sum of the owned slice is. */
static char *node_place(const lk_reducer *r, const bucket *b, int node) {
    if (node == node_in_slab(r)) return slab_at(r, slice_start(r, b, owned_slice(r)));
    int slice = owned_slice(r);
    int64_t shares = (node_end(r) - node_begin(r) - 1) * b->handled;
    int index = node - (node > own_node(r));
    return b->scratch + (size_t)(shares + index * run_count(r, b, slice, slice + 1)) * r->size;
}

/* ---- messages ---- */

static lk_status post(lk_reducer *r, bucket *b, bool sending, void *data, int64_t count, int peer, lk_error *err) {
    if (count == 0) return LK_OK;
    int64_t bytes = count * (int64_t)r->size;
    if (sending) r->stats.bytes_sent += bytes;
    if (r->device_comm != NULL)
        return sending ? lk_device_comm_send(r->device_comm, data, bytes, peer, err)
                       : lk_device_comm_receive(r->device_comm, data, bytes, peer, err);
    assert(b->open < r->room && "R2");
    int tag = (int)(b - r->buckets) * STAGE_TAGS + (int)(b->stage - SCATTER);
    lk_request **request = &b->requests[b->open];
    if (sending)
        LK_RETURN_IF(lk_comm_send(r->comm, data, bytes, peer, tag, request, err));
    else
        LK_RETURN_IF(lk_comm_receive(r->comm, data, bytes, peer, tag, request, err));
    if (*request != NULL) b->open++;
    return LK_OK;
}

/* Sends or receives, in place, the slices that `handler` handles. */
static lk_status post_runs(lk_reducer *r, bucket *b, bool sending, int handler, int peer, lk_error *err) {
    for (int first = 0, end = 0; lk_route_next_run(&r->route, handler, &first, &end);)
        LK_RETURN_IF(post(r, b, sending, slab_at(r, slice_start(r, b, first)), run_count(r, b, first, end), peer, err));
    return LK_OK;
}

static lk_status start_scatter(lk_reducer *r, bucket *b, lk_error *err) {
    int self = r->comm->rank;
    for (int peer = node_begin(r); peer < node_end(r); peer++) {
        if (peer == self || !rank_present(r, peer)) continue;
        int64_t before = 0;
        for (int first = 0, end = 0; lk_route_next_run(&r->route, self, &first, &end);) {
            int64_t count = run_count(r, b, first, end);
            LK_RETURN_IF(post(r, b, false, share_place(r, b, peer, first, before), count, peer, err));
            before += count;
        }
    }
    if (!rank_present(r, self)) return LK_OK;
    for (int peer = node_begin(r); peer < node_end(r); peer++)
        if (peer != self) LK_RETURN_IF(post_runs(r, b, true, peer, peer, err));
    return LK_OK;
}

/* out is the one of the terms that lies in the slab. */
static lk_status add_terms(lk_reducer *r, const lk_sum_tree *tree, void *out, int64_t count, lk_error *err) {
    if (r->device_comm != NULL)
        return lk_sum_tree_add_on(tree, r->device_comm->device, r->device_comm->stream, r->terms, out, count, err);
    lk_sum_tree_add(tree, r->dtype, (const void *const *)r->terms, out, count);
    return LK_OK;
}

static lk_status sum_scattered(lk_reducer *r, bucket *b, lk_error *err) {
    int64_t before = 0;
    for (int first = 0, end = 0; lk_route_next_run(&r->route, r->comm->rank, &first, &end);) {
        int64_t count = run_count(r, b, first, end);
        for (int rank = node_begin(r); rank < node_end(r); rank++)
            r->terms[rank - node_begin(r)] = rank_present(r, rank) ? share_place(r, b, rank, first, before) : NULL;
        LK_RETURN_IF(add_terms(r, &r->within, slab_at(r, slice_start(r, b, first)), count, err));
        before += count;
    }
    return LK_OK;
}

/* Calls for every slice that this rank handles but doesn't own: to or from the owner. */
static lk_status post_foreign(lk_reducer *r, bucket *b, bool sending, lk_error *err) {
    for (int slice = 0; slice < r->route.ranks; slice++) {
        int owner = r->route.owner[slice];
        if (owner == r->comm->rank || lk_route_handler(&r->route, own_node(r), slice) != r->comm->rank) continue;
        char *place = slab_at(r, slice_start(r, b, slice));
        LK_RETURN_IF(post(r, b, sending, place, run_count(r, b, slice, slice + 1), owner, err));
    }
    return LK_OK;
}

static lk_status start_across(lk_reducer *r, bucket *b, lk_error *err) {
    int slice = owned_slice(r);
    int64_t count = run_count(r, b, slice, slice + 1);
    for (int node = 0; node < r->route.node_count; node++) {
        if (node == own_node(r) || !node_present(r, node)) continue;
        LK_RETURN_IF(post(r, b, false, node_place(r, b, node), count, lk_route_handler(&r->route, node, slice), err));
    }
    return node_present(r, own_node(r)) ? post_foreign(r, b, true, err) : LK_OK;
}

static lk_status sum_across(lk_reducer *r, bucket *b, lk_error *err) {
    int slice = owned_slice(r);
    for (int node = 0; node < r->route.node_count; node++)
        r->terms[node] = node_present(r, node) ? node_place(r, b, node) : NULL;
    return add_terms(r, &r->across, slab_at(r, slice_start(r, b, slice)), run_count(r, b, slice, slice + 1), err);
}

static lk_status start_back(lk_reducer *r, bucket *b, lk_error *err) {
    int slice = owned_slice(r);
    LK_RETURN_IF(post_foreign(r, b, false, err));
    for (int node = 0; node < r->route.node_count; node++)
        if (node != own_node(r))
            LK_RETURN_IF(post(r, b, true, slab_at(r, slice_start(r, b, slice)), run_count(r, b, slice, slice + 1),
                              lk_route_handler(&r->route, node, slice), err));
    return LK_OK;
}

static lk_status start_gather(lk_reducer *r, bucket *b, lk_error *err) {
    int self = r->comm->rank;
    for (int peer = node_begin(r); peer < node_end(r); peer++)
        if (peer != self) LK_RETURN_IF(post_runs(r, b, false, peer, peer, err));
    for (int peer = node_begin(r); peer < node_end(r); peer++)
        if (peer != self) LK_RETURN_IF(post_runs(r, b, true, self, peer, err));
    return LK_OK;
}

lk_status lk_reduce_start(lk_reducer *r, bucket *b, lk_error *err) {
    switch (b->stage) {
        case SCATTER: return start_scatter(r, b, err);
        case ACROSS: return start_across(r, b, err);
        case BACK: return start_back(r, b, err);
        case GATHER: return start_gather(r, b, err);
        default: return lk_fail(err, LK_ERR_INTERNAL, "a bucket is summed outside of its stages (R2)");
    }
}

lk_status lk_reduce_finish(lk_reducer *r, bucket *b, lk_error *err) {
    switch (b->stage) {
        case SCATTER:
            LK_RETURN_IF(sum_scattered(r, b, err));
            b->stage = r->route.levels == 1 ? GATHER : ACROSS;
            return LK_OK;
        case ACROSS:
            LK_RETURN_IF(sum_across(r, b, err));
            b->stage = BACK;
            return LK_OK;
        case BACK: b->stage = GATHER; return LK_OK;
        case GATHER:
            b->stage = DONE;
            r->finished++;
            r->stats.bucket_sums++;
            return LK_OK;
        default: return lk_fail(err, LK_ERR_INTERNAL, "a bucket is summed outside of its stages (R2)");
    }
}
