#include "io/data/sampler_order.h"

#include <stdlib.h>
#include <string.h>

static lk_random_key sample_key(const lk_sampler *sampler) {
    return (lk_random_key){sampler->seed, sampler->epoch, LK_RANDOM_SAMPLE};
}

static void draw_shuffled(lk_sampler *sampler) {
    int64_t count = sampler->pool_count, *out = sampler->draws;
    if (sampler->config.fixed_order) {
        memcpy(out, sampler->pool, (size_t)count * sizeof *out);
        return;
    }
    lk_random_key key = {sampler->seed, sampler->epoch, LK_RANDOM_SHUFFLE};
    lk_random_permutation(&key, count, out);
    for (int64_t i = 0; i < count; i++) out[i] = sampler->pool[out[i]];
}

/* The first class whose sum lies above `at`; the last with any mass where rounding put `at` at the end. */
static int find_class(const double *mass, int classes, double at) {
    int low = 0, high = classes; /* mass[low] <= at */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (mass[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    while (mass[low + 1] == mass[low]) low--;
    return low;
}

static void draw_weighted(lk_sampler *sampler) {
    int classes = sampler->config.classes;
    lk_random_key key = sample_key(sampler);
    for (int64_t i = 0; i < sampler->draw_count; i++) {
        double u = lk_random_uniform_double(&key, (uint64_t)i, LK_DRAW_SAMPLE_CLASS);
        int k = find_class(sampler->mass, classes, sampler->mass[classes] * u);
        int64_t first = sampler->class_first[k], count = sampler->class_first[k + 1] - first;
        int64_t within = (int64_t)lk_random_below(&key, (uint64_t)i, LK_DRAW_SAMPLE, (uint64_t)count);
        sampler->draws[i] = sampler->pool[first + within];
    }
}

static int compare_ranks(const void *a, const void *b) {
    const struct lk_sampler_rank *x = a, *y = b;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

/* Orders the items [from, to) by chance. */
static void rank_items(lk_sampler *sampler, uint32_t sub, int64_t from, int64_t to) {
    const lk_random_key key = sample_key(sampler);
    for (int64_t i = from; i < to; i++) {
        uint32_t words[4];
        lk_random_words(&key, (uint64_t)i, sub, words);
        sampler->ranks[i - from] = (struct lk_sampler_rank){(uint64_t)words[0] << 32 | words[1], i};
    }
    qsort(sampler->ranks, (size_t)(to - from), sizeof *sampler->ranks, compare_ranks);
}

static int64_t class_size(const lk_sampler *sampler, int64_t k) {
    return sampler->class_first[k + 1] - sampler->class_first[k];
}

/* The draws of each class: equal for all that have a sample; what is left goes to some of them by chance. */
static void share_out(lk_sampler *sampler) {
    int classes = sampler->config.classes;
    int64_t present = 0, given = 0;
    for (int k = 0; k < classes; k++) present += class_size(sampler, k) > 0;
    rank_items(sampler, LK_DRAW_SAMPLE_EXTRA, 0, classes);
    for (int i = 0; i < classes; i++) {
        int64_t k = sampler->ranks[i].item;
        sampler->quota[k] = 0;
        if (class_size(sampler, k) == 0) continue;
        sampler->quota[k] = sampler->draw_count / present + (given++ < sampler->draw_count % present);
    }
}

static void draw_balanced(lk_sampler *sampler) {
    int64_t filled = 0;
    share_out(sampler);
    for (int k = 0; k < sampler->config.classes; k++) {
        int64_t first = sampler->class_first[k], count = class_size(sampler, k);
        rank_items(sampler, LK_DRAW_SAMPLE_PICK, first, first + count);
        for (int64_t i = 0; i < sampler->quota[k]; i++)
            sampler->draws[filled++] = sampler->pool[sampler->ranks[i % count].item];
    }
    const lk_random_key key = {sampler->seed, sampler->epoch, LK_RANDOM_SHUFFLE};
    for (int64_t i = sampler->draw_count - 1; i > 0; i--) {
        int64_t j = (int64_t)lk_random_below(&key, (uint64_t)i, 0, (uint64_t)i + 1), t = sampler->draws[i];
        sampler->draws[i] = sampler->draws[j];
        sampler->draws[j] = t;
    }
}

/* Position i of the epoch belongs to draw i / repeats; within a window, first copies come before second ones. */
static void repeat(lk_sampler *sampler) {
    int64_t repeats = sampler->config.repeats, batch = sampler->config.batch, next = 0;
    for (int64_t first = 0; first < sampler->count; first += batch) {
        int64_t end = first + batch < sampler->count ? first + batch : sampler->count;
        for (int64_t copy = 0; copy < repeats; copy++)
            for (int64_t i = first + (copy - first % repeats + repeats) % repeats; i < end; i += repeats)
                sampler->order[next++] = sampler->draws[i / repeats];
    }
}

void lk_sampler_set_epoch(lk_sampler *sampler, uint32_t epoch) {
    sampler->epoch = epoch;
    switch (sampler->config.kind) {
        case LK_SAMPLER_WEIGHTED: draw_weighted(sampler); break;
        case LK_SAMPLER_BALANCED: draw_balanced(sampler); break;
        default: draw_shuffled(sampler); break;
    }
    repeat(sampler);
}
