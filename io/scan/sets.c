#include "io/scan/sets.h"

#include "core/memory.h"

lk_status lk_sets_create(lk_sets *out, int32_t count, lk_error *err) {
    *out = (lk_sets){.count = count};
    pthread_mutex_init(&out->join, NULL);
    LK_RETURN_IF(LK_NEW(&out->parent, count, "the sets of duplicates", err));
    for (int32_t i = 0; i < count; i++) atomic_init(&out->parent[i], i);
    return LK_OK;
}

void lk_sets_free(lk_sets *sets) {
    lk_free((void *)sets->parent);
    pthread_mutex_destroy(&sets->join);
    sets->parent = NULL;
}

/* Halving writes ancestors only, so that a thread that reads in between still climbs towards the same root. */
int32_t lk_sets_find(lk_sets *sets, int32_t i) {
    for (;;) {
        int32_t parent = atomic_load_explicit(&sets->parent[i], memory_order_relaxed);
        if (parent == i) return i;
        int32_t above = atomic_load_explicit(&sets->parent[parent], memory_order_relaxed);
        if (above != parent) atomic_store_explicit(&sets->parent[i], above, memory_order_relaxed);
        i = above;
    }
}

void lk_sets_join(lk_sets *sets, int32_t a, int32_t b) {
    pthread_mutex_lock(&sets->join);
    a = lk_sets_find(sets, a);
    b = lk_sets_find(sets, b);
    if (a != b) atomic_store_explicit(&sets->parent[a > b ? a : b], a > b ? b : a, memory_order_relaxed);
    pthread_mutex_unlock(&sets->join);
}
