#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "train/decision_internal.h"

enum { MOST_ROUNDS = 50 };
#define BETTER 1e-12 /* by how much a mean of F1 must be larger */

/* A sample predicts the class from where the class's offset passes this point. */
typedef struct point {
    double at;
    int64_t sample;
} point;

typedef struct search {
    const float *logits;
    const int32_t *labels;
    int64_t n;
    int classes;
    double scale;                           /* 1 / temperature */
    double *offsets;                        /* classes */
    int32_t *best, *second;                 /* n: the classes of the largest and second largest value */
    int64_t *support, *correct, *predicted; /* classes */
    point *points;                          /* n */
} search;

static double value(const search *s, int64_t i, int k) {
    return (double)s->logits[i * s->classes + k] * s->scale + s->offsets[k];
}

/* Equal values: the first class, as argmax. */
static void rank_row(search *s, int64_t i) {
    int best = 0, second = -1;
    double top = value(s, i, 0), next = -INFINITY;
    for (int k = 1; k < s->classes; k++) {
        double v = value(s, i, k);
        if (v > top) {
            second = best;
            next = top;
            best = k;
            top = v;
        } else if (second < 0 || v > next) {
            second = k;
            next = v;
        }
    }
    s->best[i] = best;
    s->second[i] = second;
}

static double f1(const search *s, int k) {
    int64_t all = s->support[k] + s->predicted[k];
    return all == 0 ? 0 : 2.0 * (double)s->correct[k] / (double)all;
}

static void count(search *s, int64_t i, int k, int by) {
    s->predicted[k] += by;
    if (s->labels[i] == k) s->correct[k] += by;
}

static double sum_of_f1(const search *s) {
    double sum = 0;
    for (int k = 0; k < s->classes; k++) sum += f1(s, k);
    return sum;
}

static int compare_points(const void *a, const void *b) {
    const point *p = a, *q = b;
    if (p->at != q->at) return p->at < q->at ? -1 : 1;
    return (p->sample > q->sample) - (p->sample < q->sample);
}

/* The points of class k in order; counts become those of an offset below all of them. */
static void set_points(search *s, int k) {
    memset(s->correct, 0, (size_t)s->classes * sizeof *s->correct);
    memset(s->predicted, 0, (size_t)s->classes * sizeof *s->predicted);
    for (int64_t i = 0; i < s->n; i++) {
        int other = s->best[i] == k ? s->second[i] : s->best[i];
        s->points[i] = (point){value(s, i, other) - (double)s->logits[i * s->classes + k] * s->scale, i};
        count(s, i, other, 1);
    }
    qsort(s->points, (size_t)s->n, sizeof *s->points, compare_points);
}

typedef struct choice {
    double offset, sum, width; /* width of the interval that the offset is in the middle of */
} choice;

/* Keeps what is better; of equals the wider interval, so that the choice depends least on single samples. */
static void offer(choice *chosen, double low, double high, double sum) {
    if (sum < chosen->sum - BETTER) return;
    double width = high - low;
    if (sum <= chosen->sum + BETTER && width <= chosen->width) return;
    *chosen = (choice){isinf(low)    ? high - 1
                       : isinf(high) ? low + 1
                                     : 0.5 * (low + high),
                       sum, isinf(width) ? 2 : width};
}

/* Moves the samples up to the next point over to class k; returns where the samples behind begin. */
static int64_t pass_points(search *s, int k, int64_t at, double *sum) {
    double here = s->points[at].at;
    for (; at < s->n && s->points[at].at == here; at++) {
        int64_t i = s->points[at].sample;
        int other = s->best[i] == k ? s->second[i] : s->best[i];
        *sum -= f1(s, k) + f1(s, other);
        count(s, i, other, -1);
        count(s, i, k, 1);
        *sum += f1(s, k) + f1(s, other);
    }
    return at;
}

/* Exact line search along one offset. Returns whether it moved. */
static bool search_class(search *s, int k, double *score) {
    double before = s->offsets[k], low = -INFINITY;
    choice chosen = {before, *score, INFINITY}; /* staying is best of equals */
    set_points(s, k);
    double sum = sum_of_f1(s);
    for (int64_t at = 0;;) {
        double high = at < s->n ? s->points[at].at : INFINITY;
        offer(&chosen, low, high, sum);
        if (at == s->n) break;
        low = high;
        at = pass_points(s, k, at, &sum);
    }
    if (chosen.offset == before) return false;
    s->offsets[k] = chosen.offset;
    *score = chosen.sum;
    for (int64_t i = 0; i < s->n; i++)
        if (s->best[i] == k || s->second[i] == k || value(s, i, k) >= value(s, i, s->second[i])) rank_row(s, i);
    return true;
}

/* From the offsets as they are. Returns the sum of F1 over the classes. */
static double climb(search *s) {
    memset(s->correct, 0, (size_t)s->classes * sizeof *s->correct);
    memset(s->predicted, 0, (size_t)s->classes * sizeof *s->predicted);
    for (int64_t i = 0; i < s->n; i++) {
        rank_row(s, i);
        count(s, i, s->best[i], 1);
    }
    double score = sum_of_f1(s);
    bool moved = true;
    for (int round = 0; moved && round < MOST_ROUNDS; round++) {
        moved = false;
        for (int k = 0; k < s->classes; k++)
            if (s->support[k] > 0 && search_class(s, k, &score)) moved = true;
    }
    return score;
}

/* Part of the way from no offsets to those that undo the classes' frequencies. */
static void set_start(search *s, double part) {
    for (int k = 0; k < s->classes; k++)
        s->offsets[k] = part == 0 || s->support[k] == 0 ? 0 : -part * log((double)s->support[k] / (double)s->n);
}

static lk_status allocate(search *s, lk_error *err) {
    LK_RETURN_IF(LK_NEW(&s->offsets, s->classes, "offsets", err));
    LK_RETURN_IF(LK_NEW(&s->best, s->n, "predicted classes", err));
    LK_RETURN_IF(LK_NEW(&s->second, s->n, "predicted classes", err));
    LK_RETURN_IF(LK_NEW(&s->support, s->classes, "class counts", err));
    LK_RETURN_IF(LK_NEW(&s->correct, s->classes, "class counts", err));
    LK_RETURN_IF(LK_NEW(&s->predicted, s->classes, "class counts", err));
    return LK_NEW(&s->points, s->n, "break points", err);
}

lk_status lk_decision_find_offsets(double *offsets, double temperature, const float *logits, const int32_t *labels,
                                   int64_t n, int classes, lk_error *err) {
    static const double starts[] = {0, 0.5, 1};
    lk_status status;
    search s = {.logits = logits, .labels = labels, .n = n, .classes = classes, .scale = 1 / temperature};
    double most = -1, mean = 0;
    LK_TRY(allocate(&s, err));
    for (int64_t i = 0; i < n; i++) s.support[labels[i]]++;
    for (size_t t = 0; t < sizeof starts / sizeof *starts; t++) {
        set_start(&s, starts[t]);
        double score = climb(&s);
        if (score <= most + BETTER) continue;
        most = score;
        memcpy(offsets, s.offsets, (size_t)classes * sizeof *offsets);
    }
    for (int k = 0; k < classes; k++) mean += offsets[k] / classes;
    for (int k = 0; k < classes; k++) offsets[k] -= mean;
out:
    lk_free(s.offsets);
    lk_free(s.best);
    lk_free(s.second);
    lk_free(s.support);
    lk_free(s.correct);
    lk_free(s.predicted);
    lk_free(s.points);
    return status;
}
