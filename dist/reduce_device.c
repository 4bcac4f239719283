/* Buckets in device memory. All that a bucket needs is enqueued at once on the communicator's stream, which runs beside
 * the lanes'. Ranks must enqueue alike, since messages between two of them are matched in order alone: buckets leave
 * from the last down, which is how backward completes them, whatever the order they are submitted in. */
#include "dist/reducer_internal.h"

static bool all_present(const lk_reducer *r) {
    return lk_tree_share(r->leaves, r->route.ranks, r->route.ranks - 1).first < r->present;
}

/* Every rank knows from `present` alone which of the two it is. */
static lk_status sum_ring(lk_reducer *r, bucket *b, lk_error *err) {
    float *data = (float *)r->slab + b->first;
    r->stats.bytes_sent += 2 * b->count * (int64_t)r->size * (r->route.ranks - 1) / r->route.ranks;
    LK_RETURN_IF(lk_device_comm_sum_ring(r->device_comm, data, b->count, err));
    b->stage = GATHER;
    return lk_reduce_finish(r, b, err);
}

static lk_status run_stage(lk_reducer *r, bucket *b, lk_error *err) {
    LK_RETURN_IF(lk_device_comm_begin(r->device_comm, err));
    LK_RETURN_IF(lk_reduce_start(r, b, err));
    LK_RETURN_IF(lk_device_comm_end(r->device_comm, err));
    return lk_reduce_finish(r, b, err);
}

lk_status lk_reduce_on_device(lk_reducer *r, lk_error *err) {
    for (; r->turn >= 0 && r->buckets[r->turn].stage == SCATTER; r->turn--) {
        bucket *b = &r->buckets[r->turn];
        LK_RETURN_IF(lk_device_comm_follow(r->device_comm, r->after, err));
        if (r->ring && all_present(r)) {
            LK_RETURN_IF(sum_ring(r, b, err));
            continue;
        }
        while (b->stage != DONE) LK_RETURN_IF(run_stage(r, b, err));
    }
    return LK_OK;
}
