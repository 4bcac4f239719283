#include <stdlib.h>

#include "core/memory.h"
#include "core/random.h"
#include "io/data/pack_items.h"

enum { SPLITS = 3 }; /* train, validation, test */

/* Samples that share a split: a group, or one sample without a group. */
typedef struct unit {
    int64_t first, count; /* in `order` */
    uint64_t draw;        /* decides among equals */
} unit;

typedef struct division {
    lk_pack_items *items;
    double part[SPLITS]; /* of the samples that are divided; sums to 1 */
    int64_t *order;      /* indices of the samples that are divided, those of a unit side by side */
    int64_t order_count;
    unit *units;
    int64_t unit_count;
    int classes;
    int64_t *class_total;    /* classes */
    int64_t *class_assigned; /* SPLITS x classes */
    int64_t assigned[SPLITS];
} division;

static int compare_samples(const void *a, const void *b, void *context) {
    const lk_pack_item *items = context;
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    if (items[x].group != items[y].group) return items[x].group < items[y].group ? -1 : 1;
    if (items[x].label != items[y].label) return items[x].label < items[y].label ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Large units first, since only small ones can even out what they leave; single samples class by class. */
static int compare_units(const void *a, const void *b, void *context) {
    const unit *x = a, *y = b;
    const division *d = context;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    int32_t label_x = d->items->items[d->order[x->first]].label, label_y = d->items->items[d->order[y->first]].label;
    if (x->count == 1 && label_x != label_y) return label_x < label_y ? -1 : 1;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void make_units(division *d, uint64_t seed) {
    const lk_pack_item *items = d->items->items;
    const lk_random_key key = {seed, 0, LK_RANDOM_SPLIT};
    qsort_r(d->order, (size_t)d->order_count, sizeof *d->order, compare_samples, d->items->items);
    for (int64_t i = 0; i < d->order_count; i++) {
        int32_t group = items[d->order[i]].group;
        if (i > 0 && group >= 0 && group == items[d->order[i - 1]].group) {
            d->units[d->unit_count - 1].count++;
            continue;
        }
        uint32_t words[4];
        lk_random_words(&key, (uint64_t)d->order[i], 0, words);
        d->units[d->unit_count++] = (unit){i, 1, (uint64_t)words[0] << 32 | words[1]};
    }
    qsort_r(d->units, (size_t)d->unit_count, sizeof *d->units, compare_units, d);
}

/* How much closer to its wanted counts split s comes by taking the unit: the fall of the chi-square sum over classes,
 * (wanted - assigned)^2 / wanted. */
static double gain(const division *d, const unit *unit, int s) {
    double sum = 0;
    for (int64_t i = 0; i < unit->count;) {
        int32_t label = d->items->items[d->order[unit->first + i]].label;
        int64_t same = 0;
        for (; i < unit->count && d->items->items[d->order[unit->first + i]].label == label; i++) same++;
        double wanted = d->part[s] * (double)d->class_total[label];
        double missing = wanted - (double)d->class_assigned[(int64_t)s * d->classes + label];
        sum += (double)same * (2 * missing - (double)same) / wanted;
    }
    return sum;
}

/* Single samples come class by class: each goes to the split that lags most behind its share of all so far. So every
 * class is within two samples of its share, and the totals within one, however small the classes are. */
static int choose_for_sample(const division *d, int64_t position) {
    int best = -1;
    double most = 0;
    for (int s = 0; s < SPLITS; s++) {
        if (d->part[s] <= 0) continue;
        double missing = d->part[s] * (double)(position + 1) - (double)d->assigned[s];
        if (best < 0 || missing > most) {
            best = s;
            most = missing;
        }
    }
    return best;
}

static int choose_for_group(const division *d, const unit *unit) {
    int best = -1;
    double most = 0;
    for (int s = 0; s < SPLITS; s++) {
        if (d->part[s] <= 0) continue;
        double value = gain(d, unit, s);
        if (best < 0 || value > most) {
            best = s;
            most = value;
        }
    }
    return best;
}

static void assign(division *d, const unit *unit, int s) {
    for (int64_t i = unit->first; i < unit->first + unit->count; i++) {
        lk_pack_item *item = &d->items->items[d->order[i]];
        item->split = (lk_split)s;
        d->class_assigned[(int64_t)s * d->classes + item->label]++;
        d->assigned[s]++;
    }
}

/* A class that rounding left without a training sample gets one back: nothing could be learned about it. */
static void keep_training(division *d) {
    for (int64_t u = 0; u < d->unit_count; u++) {
        const unit *unit = &d->units[u];
        const lk_pack_item *item = &d->items->items[d->order[unit->first]];
        if (d->part[0] <= 0 || item->split == LK_SPLIT_TRAIN || d->class_assigned[item->label] > 0) continue;
        for (int64_t i = unit->first; i < unit->first + unit->count; i++) {
            const lk_pack_item *moved = &d->items->items[d->order[i]];
            d->class_assigned[(int64_t)moved->split * d->classes + moved->label]--;
            d->assigned[moved->split]--;
        }
        assign(d, unit, LK_SPLIT_TRAIN);
    }
}

static lk_status set_parts(division *d, const lk_pack_options *options, lk_error *err) {
    double sum = 0;
    for (int s = 0; s < SPLITS; s++) d->part[s] = s < options->fraction_count ? options->fractions[s] : 0;
    if (options->fraction_count == 0) {
        double part = options->validation < 1 ? options->validation : options->validation / (double)d->order_count;
        if (!(part < 1))
            return lk_fail(err, LK_ERR_CONFIG,
                           "the validation part of %.0f would take all %lld training samples: ask for fewer",
                           options->validation, (long long)d->order_count);
        d->part[LK_SPLIT_VALIDATION] = part;
        d->part[LK_SPLIT_TRAIN] = 1 - part;
    }
    for (int s = 0; s < SPLITS; s++) {
        if (!(d->part[s] >= 0))
            return lk_fail(err, LK_ERR_CONFIG, "a part of the split is negative: give three parts that sum to 1");
        sum += d->part[s];
    }
    if (!(sum > 0.999 && sum < 1.001))
        return lk_fail(err, LK_ERR_CONFIG, "the parts of the split sum to %g: give parts that sum to 1, as 0.8,0.1,0.1",
                       sum);
    return LK_OK;
}

static void divide(division *d) {
    int64_t position = 0;
    for (int64_t u = 0; u < d->unit_count; u++) {
        const unit *unit = &d->units[u];
        /* Units are sorted by size: the first is single when all are. */
        bool single = d->units[0].count == 1;
        assign(d, unit, single ? choose_for_sample(d, position) : choose_for_group(d, unit));
        position += unit->count;
    }
    keep_training(d);
}

lk_status lk_pack_items_split(lk_pack_items *items, const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    division d = {.items = items, .classes = items->classes.count};
    if (options->fraction_count == 0 && options->validation <= 0) return LK_OK;
    LK_TRY(LK_NEW(&d.order, items->count, "the split", err));
    LK_TRY(LK_NEW(&d.units, items->count, "the split", err));
    LK_TRY(LK_NEW(&d.class_total, d.classes, "the split", err));
    LK_TRY(LK_NEW(&d.class_assigned, SPLITS * (int64_t)d.classes, "the split", err));
    for (int64_t i = 0; i < items->count; i++) {
        const lk_pack_item *item = &items->items[i];
        bool divided = options->fraction_count > 0 || item->split == LK_SPLIT_TRAIN;
        if (item->label < 0 || item->split == LK_SPLIT_PREDICT || !divided) continue;
        d.order[d.order_count++] = i;
        d.class_total[item->label]++;
    }
    if (d.order_count == 0)
        LK_TRY(lk_fail(err, LK_ERR_CONFIG, "there is no labelled training sample to divide into splits"));
    LK_TRY(set_parts(&d, options, err));
    make_units(&d, options->seed);
    divide(&d);
out:
    lk_free(d.order);
    lk_free(d.units);
    lk_free(d.class_total);
    lk_free(d.class_assigned);
    return status;
}
