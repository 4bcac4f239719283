/* Each bucket goes through four stages, each a set of messages that must all be over before the next:
 *   scatter  every rank sends its slices to their handlers on its node, which then sum them
 *   across   handlers send their node's sum to the owner of the slice, which sums them (two levels only)
 *   back     owners send the total to the handlers on the other nodes (two levels only)
 *   gather   handlers send the totals to the other ranks of their node
 * A later stage receives into places that an earlier one sent from, so the order is needed, not only convenient.
 *
 * Invariants (cited in messages of failed assertions):
 *   R1  a bucket is submitted once per update, never outside of one
 *   R2  a bucket has open requests only while it is in a stage
 *   R3  finished buckets of this update = buckets whose stage is DONE
 *   R4  both ends skip the same messages: empty slices and absent shares, known from offsets and `present` alone */
#include <assert.h>
#include <string.h>

#include "core/clock.h"
#include "dist/comm_impl.h"
#include "dist/reducer_internal.h"

#define LONGEST_SLEEP 100e-6

static bool rank_present(const lk_reducer *r, int rank) {
    return lk_tree_share(r->leaves, r->route.ranks, rank).first < r->present;
}

/* Leaves are present from the first on: a node has a share where its first rank has. */
static bool node_present(const lk_reducer *r, int node) { return rank_present(r, r->route.node_first[node]); }

static char *slab_at(const lk_reducer *r, int64_t element) { return r->slab + (size_t)element * r->size; }

/* Where a neighbour's share of the handled slices is received. */
static char *share_scratch(const lk_reducer *r, const bucket *b, int rank) {
    int index = rank - node_begin(r) - (rank > r->comm->rank);
    return b->scratch + (size_t)(index * b->handled) * r->size;
}

/* Where another node's sum of the owned slice is received. */
static char *node_scratch(const lk_reducer *r, const bucket *b, int node) {
    int slice = owned_slice(r);
    int64_t shares = (node_end(r) - node_begin(r) - 1) * b->handled;
    int index = node - (node > own_node(r));
    return b->scratch + (size_t)(shares + index * run_count(r, b, slice, slice + 1)) * r->size;
}

/* ---- messages ---- */

static lk_status post(lk_reducer *r, bucket *b, bool sending, void *data, int64_t count, int peer, lk_error *err) {
    if (count == 0) return LK_OK;
    assert(b->open < r->room && "R2");
    int tag = (int)(b - r->buckets) * STAGE_TAGS + (int)(b->stage - SCATTER);
    int64_t bytes = count * (int64_t)r->size;
    lk_request **request = &b->requests[b->open];
    if (sending) {
        r->stats.bytes_sent += bytes;
        LK_RETURN_IF(lk_comm_send(r->comm, data, bytes, peer, tag, request, err));
    } else {
        LK_RETURN_IF(lk_comm_receive(r->comm, data, bytes, peer, tag, request, err));
    }
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
        char *into = share_scratch(r, b, peer);
        for (int first = 0, end = 0; lk_route_next_run(&r->route, self, &first, &end);) {
            int64_t count = run_count(r, b, first, end);
            LK_RETURN_IF(post(r, b, false, into, count, peer, err));
            into += (size_t)count * r->size;
        }
    }
    if (!rank_present(r, self)) return LK_OK;
    for (int peer = node_begin(r); peer < node_end(r); peer++)
        if (peer != self) LK_RETURN_IF(post_runs(r, b, true, peer, peer, err));
    return LK_OK;
}

static void sum_scattered(lk_reducer *r, bucket *b) {
    int self = r->comm->rank;
    int64_t done = 0;
    for (int first = 0, end = 0; lk_route_next_run(&r->route, self, &first, &end);) {
        char *own = slab_at(r, slice_start(r, b, first));
        for (int rank = node_begin(r); rank < node_end(r); rank++) {
            const void *term = rank == self ? own : share_scratch(r, b, rank) + (size_t)done * r->size;
            r->terms[rank - node_begin(r)] = rank_present(r, rank) ? term : NULL;
        }
        int64_t count = run_count(r, b, first, end);
        lk_sum_tree_add(&r->within, r->dtype, r->terms, own, count);
        done += count;
    }
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
        LK_RETURN_IF(post(r, b, false, node_scratch(r, b, node), count, lk_route_handler(&r->route, node, slice), err));
    }
    return node_present(r, own_node(r)) ? post_foreign(r, b, true, err) : LK_OK;
}

static void sum_across(lk_reducer *r, bucket *b) {
    int slice = owned_slice(r);
    char *own = slab_at(r, slice_start(r, b, slice));
    for (int node = 0; node < r->route.node_count; node++) {
        const void *term = node == own_node(r) ? own : node_scratch(r, b, node);
        r->terms[node] = node_present(r, node) ? term : NULL;
    }
    lk_sum_tree_add(&r->across, r->dtype, r->terms, own, run_count(r, b, slice, slice + 1));
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

/* ---- progress ---- */

/* The stage's messages are over: what follows from them, and the next stage. */
static lk_status next_stage(lk_reducer *r, bucket *b, lk_error *err) {
    assert(b->open == 0 && "R2");
    switch (b->stage) {
        case SCATTER:
            sum_scattered(r, b);
            if (r->route.levels == 1) {
                b->stage = GATHER;
                return start_gather(r, b, err);
            }
            b->stage = ACROSS;
            return start_across(r, b, err);
        case ACROSS:
            sum_across(r, b);
            b->stage = BACK;
            return start_back(r, b, err);
        case BACK: b->stage = GATHER; return start_gather(r, b, err);
        case GATHER:
            b->stage = DONE;
            r->finished++;
            r->stats.bucket_sums++;
            return LK_OK;
        default: return lk_fail(err, LK_ERR_INTERNAL, "a bucket is summed outside of its stages (R2)");
    }
}

static lk_status test_bucket(lk_reducer *r, bucket *b, bool *moved, lk_error *err) {
    for (int i = 0; i < b->open;) {
        bool done = false;
        LK_RETURN_IF(lk_comm_test(r->comm, &b->requests[i], &done, err));
        if (done) {
            *moved = true;
            b->requests[i] = b->requests[--b->open];
        } else {
            i++;
        }
    }
    return LK_OK;
}

static lk_status advance_bucket(lk_reducer *r, bucket *b, bool *moved, lk_error *err) {
    while (b->stage != IDLE && b->stage != DONE) {
        LK_RETURN_IF(test_bucket(r, b, moved, err));
        if (b->open > 0) break;
        *moved = true;
        LK_RETURN_IF(next_stage(r, b, err));
    }
    return LK_OK;
}

static lk_status poll_step(void *context, bool *done, bool *moved, lk_error *err) {
    lk_reducer *r = context;
    for (int i = 0; i < r->bucket_count; i++) LK_RETURN_IF(advance_bucket(r, &r->buckets[i], moved, err));
    *done = r->finished == r->bucket_count;
    return LK_OK;
}

lk_status lk_reducer_begin(lk_reducer *r, void *slab, int present, lk_error *err) {
    if (r->slab != NULL)
        return lk_fail(err, LK_ERR_INTERNAL, "an update's gradient sum begins before the last one ended (R1)");
    if (present < 1 || present > r->leaves)
        return lk_fail(err, LK_ERR_INTERNAL, "an update cannot have %d of %d microbatches", present, r->leaves);
    if (r->comm->size > 1) {
        LK_RETURN_IF(lk_comm_enter(r->comm, "gradient begin", present, 0, err));
        lk_comm_leave(r->comm, false);
    }
    r->slab = slab;
    r->present = present;
    r->finished = 0;
    for (int i = 0; i < r->bucket_count; i++) r->buckets[i].stage = IDLE;
    return LK_OK;
}

lk_status lk_reducer_submit(lk_reducer *r, int index, lk_error *err) {
    if (index < 0 || index >= r->bucket_count)
        return lk_fail(err, LK_ERR_INTERNAL, "gradient bucket %d of %d does not exist", index, r->bucket_count);
    bucket *b = &r->buckets[index];
    if (r->slab == NULL || b->stage != IDLE)
        return lk_fail(err, LK_ERR_INTERNAL, "gradient bucket %d was submitted %s (R1)", index,
                       r->slab == NULL ? "outside of an update" : "twice in one update");
    if (r->comm->size == 1) {
        b->stage = DONE;
        r->finished++;
        r->stats.bucket_sums++;
        return LK_OK;
    }
    bool moved = false;
    b->stage = SCATTER;
    LK_RETURN_IF(start_scatter(r, b, err));
    return advance_bucket(r, b, &moved, err);
}

lk_status lk_reducer_poll(lk_reducer *r, lk_error *err) {
    bool done = false, moved = false;
    return r->slab == NULL ? LK_OK : poll_step(r, &done, &moved, err);
}

lk_status lk_reducer_wait(lk_reducer *r, lk_error *err) {
    double begun = lk_clock_seconds();
    if (r->slab == NULL) return lk_fail(err, LK_ERR_INTERNAL, "no gradient sum was begun (R1)");
    for (int i = 0; i < r->bucket_count; i++)
        if (r->buckets[i].stage == IDLE)
            return lk_fail(err, LK_ERR_INTERNAL, "gradient bucket %d was never submitted in this update (R1)", i);
    if (r->comm->size > 1) {
        LK_RETURN_IF(lk_comm_enter(r->comm, "gradient sum", r->present, 0, err));
        LK_RETURN_IF(lk_comm_wait_for(r->comm, poll_step, r, LONGEST_SLEEP, err));
        lk_comm_leave(r->comm, r->proving);
    }
    assert(r->finished == r->bucket_count && "R3");
    r->slab = NULL;
    r->stats.updates++;
    r->stats.wait_seconds += lk_clock_seconds() - begun;
    return LK_OK;
}

void lk_reducer_get_stats(const lk_reducer *r, lk_reducer_stats *stats) { *stats = r->stats; }
