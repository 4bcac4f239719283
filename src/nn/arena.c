#include "nn/arena.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"

#define MAX_ARENA (INT64_C(1) << 62)

static int64_t padded(int64_t bytes) { return (bytes + LK_ALIGNMENT - 1) / LK_ALIGNMENT * LK_ALIGNMENT; }

static bool live_together(const lk_live *a, const lk_live *b) { return a->first <= b->last && b->first <= a->last; }

static int by_place(const lk_live *a, const lk_live *b) { return a < b ? -1 : a > b; }

/* Larger first, among equals the one that lives longer. */
static int larger_longer(const void *left, const void *right) {
    const lk_live *a = *(const lk_live *const *)left, *b = *(const lk_live *const *)right;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    int length_a = a->last - a->first, length_b = b->last - b->first;
    if (length_a != length_b) return length_a > length_b ? -1 : 1;
    return by_place(a, b);
}

/* Larger first, among equals the one that starts first: ranges of one size then need no more than is alive at once. */
static int larger_earlier(const void *left, const void *right) {
    const lk_live *a = *(const lk_live *const *)left, *b = *(const lk_live *const *)right;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return by_place(a, b);
}

typedef int (*placing_order)(const void *left, const void *right);

static const placing_order ORDERS[] = {larger_longer, larger_earlier};

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

/* Room for the layout's lists, `count` entries each. */
typedef struct scratch {
    lk_live **order, **placed;
    const lk_live **neighbours;
} scratch;

/* Places the ranges in the order given; returns the size of the arena. */
static int64_t place(lk_live *ranges, int count, placing_order compare, const scratch *s) {
    int64_t bytes = 0;
    for (int i = 0; i < count; i++) s->order[i] = &ranges[i];
    if (count > 0) qsort(s->order, (size_t)count, sizeof *s->order, compare);
    for (int i = 0; i < count; i++) {
        lk_live *range = s->order[i];
        int found = 0;
        for (int j = 0; j < i; j++)
            if (live_together(s->placed[j], range)) s->neighbours[found++] = s->placed[j];
        range->offset = best_gap(s->neighbours, found, padded(range->bytes));
        insert_sorted(s->placed, i, range);
        int64_t end = range->offset + padded(range->bytes);
        if (end > bytes) bytes = end;
    }
    return bytes;
}

static lk_status check_sum(const lk_live *ranges, int count, lk_error *err) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) {
        if (ranges[i].bytes > MAX_ARENA - sum)
            return lk_fail(err, LK_ERR_CONFIG, "the arena would be larger than 2^62 bytes: use a smaller microbatch");
        sum += padded(ranges[i].bytes);
    }
    return LK_OK;
}

lk_status lk_arena_assign(lk_live *ranges, int count, int64_t *bytes, lk_error *err) {
    *bytes = 0;
    scratch s = {0};
    lk_status status = LK_OK;
    LK_TRY(check_sum(ranges, count, err));
    LK_TRY(LK_NEW(&s.order, count, "the arena's layout", err));
    LK_TRY(LK_NEW(&s.placed, count, "the arena's layout", err));
    LK_TRY(LK_NEW(&s.neighbours, count, "the arena's layout", err));
    int best = 0, orders = (int)(sizeof ORDERS / sizeof ORDERS[0]);
    *bytes = INT64_MAX;
    for (int i = 0; i < orders; i++) {
        int64_t size = place(ranges, count, ORDERS[i], &s);
        if (size < *bytes) {
            *bytes = size;
            best = i;
        }
    }
    if (best != orders - 1) place(ranges, count, ORDERS[best], &s);
    assert(lk_arena_is_sound(ranges, count, *bytes, NULL, NULL));
out:
    lk_free(s.order);
    lk_free(s.placed);
    lk_free(s.neighbours);
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
