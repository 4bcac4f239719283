#include "io/data/divide.h"

#include <stdlib.h>

#include "core/memory.h"
#include "core/random.h"

/* Samples that share a part: a group, or one sample without a group. */
typedef struct unit {
    int64_t first, count; /* in `order` */
    uint64_t draw;        /* decides among equals */
} unit;

typedef struct division {
    const lk_divide_spec *spec;
    lk_divide_sample *samples;
    int64_t *order; /* indices of the samples, those of a unit side by side */
    int64_t count;
    unit *units;
    int64_t unit_count;
    int64_t *class_total;    /* classes */
    int64_t *class_assigned; /* parts x classes */
    int64_t *assigned;       /* parts */
} division;

static int compare_samples(const void *a, const void *b, void *context) {
    const lk_divide_sample *samples = context;
    const lk_divide_sample *x = &samples[*(const int64_t *)a], *y = &samples[*(const int64_t *)b];
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int32_t label_at(const division *d, int64_t i) { return d->samples[d->order[i]].label; }

/* Large units first, since only small ones can even out what they leave; single samples class by class. */
static int compare_units(const void *a, const void *b, void *context) {
    const unit *x = a, *y = b;
    const division *d = context;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    int32_t label_x = label_at(d, x->first), label_y = label_at(d, y->first);
    if (x->count == 1 && label_x != label_y) return label_x < label_y ? -1 : 1;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void make_units(division *d) {
    const lk_random_key key = {d->spec->seed, 0, LK_RANDOM_SPLIT};
    qsort_r(d->order, (size_t)d->count, sizeof *d->order, compare_samples, d->samples);
    for (int64_t i = 0; i < d->count; i++) {
        const lk_divide_sample *sample = &d->samples[d->order[i]];
        if (i > 0 && sample->group >= 0 && sample->group == d->samples[d->order[i - 1]].group) {
            d->units[d->unit_count - 1].count++;
            continue;
        }
        uint32_t words[4];
        lk_random_words(&key, (uint64_t)sample->id, 0, words);
        d->units[d->unit_count++] = (unit){i, 1, (uint64_t)words[0] << 32 | words[1]};
    }
    qsort_r(d->units, (size_t)d->unit_count, sizeof *d->units, compare_units, d);
}

/* How much closer to its wanted counts part s comes by taking the unit: the fall of the chi-square sum over classes,
 * (wanted - assigned)^2 / wanted. */
static double gain(const division *d, const unit *unit, int s) {
    double sum = 0;
    for (int64_t i = 0; i < unit->count;) {
        int32_t label = label_at(d, unit->first + i);
        int64_t same = 0;
        for (; i < unit->count && label_at(d, unit->first + i) == label; i++) same++;
        double wanted = d->spec->parts[s] * (double)d->class_total[label];
        double missing = wanted - (double)d->class_assigned[(int64_t)s * d->spec->classes + label];
        sum += (double)same * (2 * missing - (double)same) / wanted;
    }
    return sum;
}

/* Single samples come class by class: each goes to the part that lags most behind its share of all so far. */
static double lag(const division *d, int64_t position, int s) {
    return d->spec->parts[s] * (double)(position + 1) - (double)d->assigned[s];
}

static int choose(const division *d, const unit *unit, bool single, int64_t position) {
    int best = -1;
    double most = 0;
    for (int s = 0; s < d->spec->part_count; s++) {
        if (d->spec->parts[s] <= 0) continue;
        double value = single ? lag(d, position, s) : gain(d, unit, s);
        if (best < 0 || value > most) {
            best = s;
            most = value;
        }
    }
    return best;
}

static void assign(division *d, const unit *unit, int s) {
    for (int64_t i = unit->first; i < unit->first + unit->count; i++) {
        d->samples[d->order[i]].part = s;
        d->class_assigned[(int64_t)s * d->spec->classes + label_at(d, i)]++;
        d->assigned[s]++;
    }
}

static void keep_first_part(division *d) {
    for (int64_t u = 0; u < d->unit_count; u++) {
        const unit *unit = &d->units[u];
        int32_t part = d->samples[d->order[unit->first]].part;
        if (d->spec->parts[0] <= 0 || part == 0 || d->class_assigned[label_at(d, unit->first)] > 0) continue;
        for (int64_t i = unit->first; i < unit->first + unit->count; i++) {
            d->class_assigned[(int64_t)part * d->spec->classes + label_at(d, i)]--;
            d->assigned[part]--;
        }
        assign(d, unit, 0);
    }
}

lk_status lk_divide(lk_divide_sample *samples, int64_t count, const lk_divide_spec *spec, lk_error *err) {
    lk_status status = LK_OK;
    division d = {.spec = spec, .samples = samples, .count = count};
    LK_TRY(LK_NEW(&d.order, count, "the division of samples", err));
    LK_TRY(LK_NEW(&d.units, count, "the division of samples", err));
    LK_TRY(LK_NEW(&d.class_total, spec->classes, "the division of samples", err));
    LK_TRY(LK_NEW(&d.class_assigned, spec->part_count * (int64_t)spec->classes, "the division of samples", err));
    LK_TRY(LK_NEW(&d.assigned, spec->part_count, "the division of samples", err));
    for (int64_t i = 0; i < count; i++) {
        d.order[i] = i;
        d.class_total[samples[i].label]++;
    }
    make_units(&d);
    int64_t position = 0;
    for (int64_t u = 0; u < d.unit_count; u++) {
        const unit *unit = &d.units[u];
        /* Units are sorted by size: the first is single when all are. */
        assign(&d, unit, choose(&d, unit, d.units[0].count == 1, position));
        position += unit->count;
    }
    if (spec->keep_first) keep_first_part(&d);
out:
    lk_free(d.order);
    lk_free(d.units);
    lk_free(d.class_total);
    lk_free(d.class_assigned);
    lk_free(d.assigned);
    return status;
}
