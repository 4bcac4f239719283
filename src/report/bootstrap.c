#include "report/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/pool.h"
#include "core/random.h"

/* One thread's counts. */
typedef struct counts {
    int32_t *weight;                /* n: how often each sample was drawn */
    int64_t *support, *hit, *guess; /* classes */
} counts;

typedef struct work {
    lk_bootstrap *bootstrap;
    const int32_t *labels;
    const int32_t *const *predictions;
    int64_t n;
    int classes;
    counts *scratch; /* one per worker */
} work;

/* From counts of one run; support is shared by all runs of a resample. */
static double macro_f1(const counts *c, int classes) {
    double sum = 0;
    int present = 0;
    for (int k = 0; k < classes; k++) {
        int64_t both = c->support[k] + c->guess[k];
        if (both == 0) continue;
        present++;
        sum += 2.0 * (double)c->hit[k] / (double)both;
    }
    return present == 0 ? 0 : sum / present;
}

/* weight NULL: every sample once. */
static double score_run(const work *w, counts *c, const int32_t *prediction, const int32_t *weight) {
    memset(c->hit, 0, (size_t)w->classes * sizeof *c->hit);
    memset(c->guess, 0, (size_t)w->classes * sizeof *c->guess);
    for (int64_t i = 0; i < w->n; i++) {
        int32_t times = weight == NULL ? 1 : weight[i];
        c->guess[prediction[i]] += times;
        c->hit[prediction[i]] += prediction[i] == w->labels[i] ? times : 0;
    }
    return macro_f1(c, w->classes);
}

static void count_support(const work *w, counts *c, const int32_t *weight) {
    memset(c->support, 0, (size_t)w->classes * sizeof *c->support);
    for (int64_t i = 0; i < w->n; i++) c->support[w->labels[i]] += weight == NULL ? 1 : weight[i];
}

static void run_resample(void *context, int index, int worker) {
    work *w = context;
    lk_bootstrap *bootstrap = w->bootstrap;
    counts *c = &w->scratch[worker];
    lk_random_key key = {bootstrap->seed, (uint32_t)index, LK_RANDOM_RESAMPLE};
    memset(c->weight, 0, (size_t)w->n * sizeof *c->weight);
    for (int64_t i = 0; i < w->n; i++) c->weight[lk_random_below(&key, (uint64_t)i, 0, (uint64_t)w->n)]++;
    count_support(w, c, c->weight);
    for (int r = 0; r < bootstrap->runs; r++)
        bootstrap->draws[(int64_t)index * bootstrap->runs + r] = score_run(w, c, w->predictions[r], c->weight);
}

static void free_scratch(counts *scratch, int threads) {
    for (int t = 0; scratch != NULL && t < threads; t++) {
        lk_free(scratch[t].weight);
        lk_free(scratch[t].support);
        lk_free(scratch[t].hit);
        lk_free(scratch[t].guess);
    }
    lk_free(scratch);
}

static lk_status make_scratch(counts **out, int threads, int64_t n, int classes, lk_error *err) {
    LK_RETURN_IF(LK_NEW(out, threads, "the bootstrap", err));
    for (int t = 0; t < threads; t++) {
        counts *c = &(*out)[t];
        LK_RETURN_IF(LK_NEW(&c->weight, n, "the bootstrap", err));
        LK_RETURN_IF(LK_NEW(&c->support, classes, "the bootstrap", err));
        LK_RETURN_IF(LK_NEW(&c->hit, classes, "the bootstrap", err));
        LK_RETURN_IF(LK_NEW(&c->guess, classes, "the bootstrap", err));
    }
    return LK_OK;
}

lk_status lk_bootstrap_create(lk_bootstrap **out, const int32_t *labels, int64_t n, int classes,
                              const int32_t *const *predictions, int runs, int resamples, uint64_t seed,
                              lk_error *err) {
    lk_status status = LK_OK;
    lk_bootstrap *bootstrap = NULL;
    lk_pool *pool = NULL;
    work w = {.labels = labels, .predictions = predictions, .n = n, .classes = classes};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = cores < 1 ? 1 : cores > 16 ? 16 : (int)cores;
    *out = NULL;
    if (n < 1 || runs < 1 || classes < 1 || resamples < 1)
        return lk_fail(err, LK_ERR_CONFIG, "there is nothing to resample: no samples, runs or resamples");
    LK_TRY(LK_NEW(&bootstrap, 1, "the bootstrap", err));
    bootstrap->resamples = resamples;
    bootstrap->runs = runs;
    bootstrap->seed = seed;
    LK_TRY(LK_NEW(&bootstrap->score, runs, "the bootstrap", err));
    LK_TRY(LK_NEW(&bootstrap->draws, (int64_t)resamples * runs, "the bootstrap", err));
    LK_TRY(make_scratch(&w.scratch, threads, n, classes, err));
    LK_TRY(lk_pool_create(&pool, threads, err));
    w.bootstrap = bootstrap;
    count_support(&w, &w.scratch[0], NULL);
    for (int r = 0; r < runs; r++) bootstrap->score[r] = score_run(&w, &w.scratch[0], predictions[r], NULL);
    lk_pool_run(pool, run_resample, &w, resamples);
    *out = bootstrap;
    bootstrap = NULL;
out:
    lk_pool_free(pool);
    free_scratch(w.scratch, threads);
    lk_bootstrap_free(bootstrap);
    return status;
}

void lk_bootstrap_free(lk_bootstrap *bootstrap) {
    if (bootstrap == NULL) return;
    lk_free(bootstrap->score);
    lk_free(bootstrap->draws);
    lk_free(bootstrap);
}

/* Mean of the members on resample b. A recipe of several seeds draws its seeds too: draw s of member list `list` is
 * element s of (seed, epoch b, purpose RESAMPLE, sub 1 + list). */
static double mean_of(const lk_bootstrap *bootstrap, int b, const int *members, int count, uint32_t list) {
    const double *row = bootstrap->draws + (int64_t)b * bootstrap->runs;
    lk_random_key key = {bootstrap->seed, (uint32_t)b, LK_RANDOM_RESAMPLE};
    double sum = 0;
    for (int s = 0; s < count; s++) {
        uint64_t drawn = count == 1 ? 0 : lk_random_below(&key, (uint64_t)s, 1 + list, (uint64_t)count);
        sum += row[members[drawn]];
    }
    return sum / count;
}

static double mean_score(const lk_bootstrap *bootstrap, const int *members, int count) {
    double sum = 0;
    for (int s = 0; s < count; s++) sum += bootstrap->score[members[s]];
    return sum / count;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void lk_sort_doubles(double *values, size_t count) { qsort(values, count, sizeof *values, compare_doubles); }

/* Linear interpolation between order statistics: numpy.quantile's default. */
static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int below = (int)floor(at);
    return below + 1 >= n ? sorted[n - 1] : sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

static void fill_interval(lk_interval *out, double *values, int n, double level) {
    int low = 0, high = 0;
    for (int b = 0; b < n; b++) {
        low += values[b] <= 0;
        high += values[b] >= 0;
    }
    out->p = fmin(1.0, 2.0 * (1 + (low < high ? low : high)) / (n + 1.0));
    lk_sort_doubles(values, (size_t)n);
    out->low = quantile(values, n, (1 - level) / 2);
    out->high = quantile(values, n, (1 + level) / 2);
}

lk_status lk_bootstrap_mean(const lk_bootstrap *bootstrap, const int *members, int count, double level,
                            lk_interval *out, lk_error *err) {
    return lk_bootstrap_difference(bootstrap, members, count, NULL, 0, level, out, err);
}

lk_status lk_bootstrap_difference(const lk_bootstrap *bootstrap, const int *a, int a_count, const int *b, int b_count,
                                  double level, lk_interval *out, lk_error *err) {
    double *values = NULL;
    LK_RETURN_IF(LK_NEW(&values, bootstrap->resamples, "the bootstrap", err));
    for (int i = 0; i < bootstrap->resamples; i++)
        values[i] = mean_of(bootstrap, i, a, a_count, 0) - (b_count > 0 ? mean_of(bootstrap, i, b, b_count, 1) : 0);
    out->estimate = mean_score(bootstrap, a, a_count) - (b_count > 0 ? mean_score(bootstrap, b, b_count) : 0);
    fill_interval(out, values, bootstrap->resamples, level);
    lk_free(values);
    return LK_OK;
}

lk_status lk_holm(double *p, int count, lk_error *err) {
    int *order = NULL;
    LK_RETURN_IF(LK_NEW(&order, count, "the correction", err));
    for (int i = 0; i < count; i++) { /* insertion sort: comparisons are few */
        int at = i;
        for (; at > 0 && p[order[at - 1]] > p[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    double most = 0;
    for (int i = 0; i < count; i++) {
        most = fmax(most, fmin(1.0, p[order[i]] * (count - i)));
        p[order[i]] = most;
    }
    lk_free(order);
    return LK_OK;
}
