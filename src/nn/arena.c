#include "nn/arena.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"

#define MAX_ARENA (INT64_C(1) << 62)

static int64_t padded(int64_t bytes) { return (bytes + LK_ALIGNMENT - 1) / LK_ALIGNMENT * LK_ALIGNMENT; }

static bool live_together(const lk_live *a, const lk_live *b) { return a->first <= b->last && b->first <= a->last; }

/* Larger first; ties by lifetime, then by place in the list, so that the order is total. */
static int compare_size(const void *left, const void *right) {
    const lk_live *a = *(const lk_live *const *)left, *b = *(const lk_live *const *)right;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    int length_a = a->last - a->first, length_b = b->last - b->first;
    if (length_a != length_b) return length_a > length_b ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Smallest gap of at least `bytes` between the `count` neighbours, which are sorted by offset; behind all of them when
 * there is none. */
static int64_t best_gap(const lk_live *const *neighbours, int count, int64_t bytes) {
    int64_t best = -1, best_size = INT64_MAX, end = 0;
    for (int i = 0; i < count; i++) {
        int64_t gap = neighbours[i]->offset - end;
        if (gap >= bytes && gap < best_size) {
            best = end;
            best_size = gap;
        }
        int64_t after = neighbours[i]->offset + padded(neighbours[i]->bytes);
        if (after > end) end = after;
    }
    return best >= 0 ? best : end;
}

/* Puts `range` into the list of placed ranges, which is sorted by offset. */
static void insert_sorted(lk_live **placed, int count, lk_live *range) {
    int at = count;
    while (at > 0 && placed[at - 1]->offset > range->offset) {
        placed[at] = placed[at - 1];
        at--;
    }
    placed[at] = range;
}

lk_status lk_arena_assign(lk_live *ranges, int count, int64_t *bytes, lk_error *err) {
    *bytes = 0;
    lk_live **order = NULL, **placed = NULL;
    const lk_live **neighbours = NULL;
    int64_t sum = 0;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&order, count, "the arena's layout", err));
    LK_TRY(LK_NEW(&placed, count, "the arena's layout", err));
    LK_TRY(LK_NEW(&neighbours, count, "the arena's layout", err));
    for (int i = 0; i < count; i++) {
        if (ranges[i].bytes > MAX_ARENA - sum) {
            status = lk_fail(err, LK_ERR_CONFIG, "the arena would be larger than 2^62 bytes: use a smaller microbatch");
            goto out;
        }
        sum += padded(ranges[i].bytes);
        order[i] = &ranges[i];
    }
    qsort(order, (size_t)count, sizeof *order, compare_size);
    for (int i = 0; i < count; i++) {
        int found = 0;
        for (int j = 0; j < i; j++)
            if (live_together(placed[j], order[i])) neighbours[found++] = placed[j];
        order[i]->offset = best_gap(neighbours, found, padded(order[i]->bytes));
        insert_sorted(placed, i, order[i]);
        int64_t end = order[i]->offset + padded(order[i]->bytes);
        if (end > *bytes) *bytes = end;
    }
    assert(lk_arena_is_sound(ranges, count, *bytes, NULL, NULL));
out:
    lk_free(order);
    lk_free(placed);
    lk_free(neighbours);
    return status;
}

bool lk_arena_is_sound(const lk_live *ranges, int count, int64_t bytes, int *a, int *b) {
    int i = 0, j = 0;
    bool sound = true;
    for (i = 0; i < count && sound; i++) {
        const lk_live *x = &ranges[i];
        j = i;
        sound = x->offset >= 0 && x->offset % LK_ALIGNMENT == 0 && x->bytes >= 0 && x->offset <= bytes - x->bytes;
        for (int k = i + 1; k < count && sound; k++) {
            const lk_live *y = &ranges[k];
            j = k;
            sound = !live_together(x, y) || x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset;
        }
    }
    if (!sound && a != NULL) *a = i - 1;
    if (!sound && b != NULL) *b = j;
    return sound;
}

int64_t lk_arena_lower_bound(const lk_live *ranges, int count) {
    int64_t most = 0;
    for (int i = 0; i < count; i++) {
        /* The maximum is reached where some buffer begins. */
        int64_t alive = 0;
        for (int k = 0; k < count; k++)
            if (ranges[k].first <= ranges[i].first && ranges[i].first <= ranges[k].last)
                alive += padded(ranges[k].bytes);
        if (alive > most) most = alive;
    }
    return most;
}
