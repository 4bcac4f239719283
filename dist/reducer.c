/* Each bucket goes through four stages, each a set of messages that must all be over before the next:
 *   scatter  every rank sends its slices to their handlers on its node, which then sum them
 *   across   handlers send their node's sum to the owner of the slice, which sums them (two levels only)
 *   back     owners send the total to the handlers on the other nodes (two levels only)
 *   gather   handlers send the totals to the other ranks of their node
 * In device memory all of them are enqueued at once (reduce_device.c).
 * A later stage receives into places that an earlier one sent from, so the order is needed, not only convenient.
 *
 * Invariants (cited in messages of failed assertions):
 *   R1  a bucket is submitted once per update, never outside of one
 *   R2  a bucket has open requests only while it is in a stage
 *   R3  finished buckets of this update = buckets whose stage is DONE
 *   R4  both ends skip the same messages: empty slices and absent shares, known from offsets and `present` alone */
#include <assert.h>

#include "core/clock.h"
#include "dist/comm_impl.h"
#include "dist/reducer_internal.h"

#define LONGEST_SLEEP 100e-6

/* ---- progress ---- */

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
        LK_RETURN_IF(lk_reduce_finish(r, b, err));
        if (b->stage != DONE) LK_RETURN_IF(lk_reduce_start(r, b, err));
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
    r->turn = r->bucket_count - 1;
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
    if (r->device_comm != NULL) return lk_reduce_on_device(r, err);
    LK_RETURN_IF(lk_reduce_start(r, b, err));
    return advance_bucket(r, b, &moved, err);
}

lk_status lk_reducer_poll(lk_reducer *r, lk_error *err) {
    bool done = false, moved = false;
    if (r->slab == NULL) return LK_OK;
    if (r->device_comm != NULL) return lk_device_comm_poll(r->device_comm, err);
    return poll_step(r, &done, &moved, err);
}

lk_status lk_reducer_wait(lk_reducer *r, lk_error *err) {
    double begun = lk_clock_seconds();
    if (r->slab == NULL) return lk_fail(err, LK_ERR_INTERNAL, "no gradient sum was begun (R1)");
    for (int i = 0; i < r->bucket_count; i++)
        if (r->buckets[i].stage == IDLE)
            return lk_fail(err, LK_ERR_INTERNAL, "gradient bucket %d was never submitted in this update (R1)", i);
    if (r->comm->size > 1) {
        LK_RETURN_IF(lk_comm_enter(r->comm, "gradient sum", r->present, 0, err));
        if (r->device_comm != NULL)
            LK_RETURN_IF(lk_device_comm_wait(r->device_comm, LONGEST_SLEEP, err));
        else
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
