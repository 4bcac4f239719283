#include "io/scan/similar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum {
    GRID = 8,
    CELL = LK_SCAN_SIDE / GRID,
    COORDINATES = GRID * GRID, /* the first, the mean, is 0 */
    HEAD = 8,                  /* coordinates of the first test, those of the lowest frequencies */
    BLOCK = 64,                /* images that are tested at once */
    ROWS = 256                 /* images a work item looks after */
};

/* One image in the order of the sweep. */
typedef struct place {
    float key; /* its coordinate on the axis of the sweep */
    int32_t image;
} place;

typedef struct sweep {
    const uint8_t *thumbnails;
    lk_sets *sets;
    place *places; /* count, by rising key */
    float *head;   /* HEAD x padded: coordinates in the order of the sweep */
    float *all;    /* count x COORDINATES */
    int32_t count, padded;
    float reach, reach_squared; /* how far two images may lie apart; squared */
    double similarity;
    atomic_llong compared, correlated;
} sweep;

/* Cosines of an orthonormal DCT-II of 8 values, and the order of its products by frequency. */
typedef struct transform {
    float cosine[GRID][GRID];
    int order[COORDINATES];
} transform;

static void init_transform(transform *t) {
    int used = 0;
    for (int k = 0; k < GRID; k++)
        for (int x = 0; x < GRID; x++)
            t->cosine[k][x] = (float)(sqrt((k == 0 ? 1.0 : 2.0) / GRID) * cos(M_PI * k * (x + 0.5) / GRID));
    for (int sum = 0; sum <= 2 * (GRID - 1); sum++)
        for (int u = 0; u < GRID; u++)
            if (sum - u >= 0 && sum - u < GRID) t->order[used++] = u * GRID + sum - u;
}

/* out: COORDINATES of the 8 x 8 means, centred and of length 1, by rising frequency; all 0 where they are constant. */
static void make_coordinates(const transform *t, const uint8_t *thumbnail, float *out) {
    float cells[GRID][GRID] = {{0}}, rows[GRID][GRID], mean = 0, norm = 0;
    for (int y = 0; y < LK_SCAN_SIDE; y++)
        for (int x = 0; x < LK_SCAN_SIDE; x++) cells[y / CELL][x / CELL] += thumbnail[y * LK_SCAN_SIDE + x];
    for (int i = 0; i < COORDINATES; i++) mean += cells[i / GRID][i % GRID] / COORDINATES;
    for (int i = 0; i < COORDINATES; i++) {
        float *cell = &cells[i / GRID][i % GRID];
        *cell -= mean;
        norm += *cell * *cell;
    }
    float scale = norm > 0 ? 1.0f / sqrtf(norm) : 0;
    for (int y = 0; y < GRID; y++)
        for (int u = 0; u < GRID; u++) {
            float sum = 0;
            for (int x = 0; x < GRID; x++) sum += cells[y][x] * t->cosine[u][x];
            rows[y][u] = sum * scale;
        }
    for (int i = 0; i < COORDINATES; i++) {
        float sum = 0;
        for (int y = 0; y < GRID; y++) sum += rows[y][t->order[i] % GRID] * t->cosine[t->order[i] / GRID][y];
        out[i] = sum;
    }
}

double lk_similar_correlation(const uint8_t *a, const uint8_t *b) {
    int32_t sum_a = 0, sum_b = 0, ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < LK_SCAN_PIXELS; i++) {
        int32_t x = a[i], y = b[i];
        sum_a += x;
        sum_b += y;
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    /* Whole numbers to the end: exact, in any order. */
    int64_t n = LK_SCAN_PIXELS, covariance = n * ab - (int64_t)sum_a * sum_b;
    int64_t variance_a = n * aa - (int64_t)sum_a * sum_a, variance_b = n * bb - (int64_t)sum_b * sum_b;
    if (variance_a == 0 || variance_b == 0) return 0;
    return (double)covariance / (sqrt((double)variance_a) * sqrt((double)variance_b));
}

static void look_closer(sweep *s, int32_t i, int32_t j, long long *correlated) {
    const float *a = s->all + (size_t)i * COORDINATES, *b = s->all + (size_t)j * COORDINATES;
    float distance = 0;
    for (int k = 0; k < COORDINATES; k++) distance += (a[k] - b[k]) * (a[k] - b[k]);
    if (!(distance <= s->reach_squared)) return;
    int32_t first = s->places[i].image, second = s->places[j].image;
    if (lk_sets_find(s->sets, first) == lk_sets_find(s->sets, second)) return;
    ++*correlated;
    double correlation = lk_similar_correlation(s->thumbnails + (size_t)first * LK_SCAN_PIXELS,
                                                s->thumbnails + (size_t)second * LK_SCAN_PIXELS);
    if (correlation >= s->similarity) lk_sets_join(s->sets, first, second);
}

/* Squared distances of image i to those from `start`, over the first coordinates. */
static void measure_block(const sweep *s, int32_t i, int32_t start, float *restrict distance) {
    memset(distance, 0, BLOCK * sizeof *distance);
    for (int k = 0; k < HEAD; k++) {
        const float *row = s->head + (size_t)k * (size_t)s->padded;
        float own = row[i];
        for (int j = 0; j < BLOCK; j++) {
            float difference = row[start + j] - own;
            distance[j] += difference * difference;
        }
    }
}

static void sweep_rows(void *context, int item, int worker) {
    (void)worker;
    sweep *s = context;
    long long compared = 0, correlated = 0;
    float distance[BLOCK];
    int32_t end = (item + 1) * ROWS < s->count ? (item + 1) * ROWS : s->count;
    for (int32_t i = item * ROWS; i < end; i++) {
        float limit = s->places[i].key + s->reach;
        for (int32_t start = i + 1; start < s->count && s->places[start].key <= limit; start += BLOCK) {
            int32_t size = s->count - start < BLOCK ? s->count - start : BLOCK;
            measure_block(s, i, start, distance);
            compared += size;
            for (int32_t j = 0; j < size; j++)
                if (distance[j] <= s->reach_squared) look_closer(s, i, start + j, &correlated);
        }
    }
    atomic_fetch_add(&s->compared, compared);
    atomic_fetch_add(&s->correlated, correlated);
}

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->image < y->image ? -1 : 1;
}

/* Which of the first coordinates varies most? heads: count x HEAD. */
static int find_axis(const float *heads, int32_t count) {
    int best = 0;
    double most = -1;
    for (int k = 0; k < HEAD; k++) {
        double sum = 0, squares = 0;
        for (int32_t i = 0; i < count; i++) {
            double x = (double)heads[(size_t)i * HEAD + (size_t)k];
            sum += x;
            squares += x * x;
        }
        double variance = squares - sum * sum / (count > 0 ? count : 1);
        if (variance > most) {
            most = variance;
            best = k;
        }
    }
    return best;
}

/* Fills places: the images that take part, sorted along one coordinate. */
static lk_status sort_places(sweep *s, const transform *t, const lk_fingerprint *prints, int32_t images,
                             lk_error *err) {
    lk_status status = LK_OK;
    float *heads = NULL, all[COORDINATES];
    LK_TRY(LK_NEW(&s->places, images, "the images of a scan", err));
    LK_TRY(LK_NEW(&heads, (size_t)images * HEAD, "the images of a scan", err));
    for (int32_t i = 0; i < images; i++) {
        if (!prints[i].readable || lk_fingerprint_is_blank(&prints[i])) continue;
        make_coordinates(t, s->thumbnails + (size_t)i * LK_SCAN_PIXELS, all);
        memcpy(heads + (size_t)s->count * HEAD, all + 1, HEAD * sizeof *all);
        s->places[s->count++].image = i;
    }
    int axis = find_axis(heads, s->count);
    for (int32_t p = 0; p < s->count; p++) s->places[p].key = heads[(size_t)p * HEAD + (size_t)axis];
    qsort(s->places, (size_t)s->count, sizeof *s->places, compare_places);
out:
    lk_free(heads);
    return status;
}

static lk_status arrange(sweep *s, const lk_fingerprint *prints, int32_t images, lk_error *err) {
    transform t;
    init_transform(&t);
    LK_RETURN_IF(sort_places(s, &t, prints, images, err));
    s->padded = s->count + BLOCK;
    LK_RETURN_IF(LK_NEW(&s->head, (size_t)s->padded * HEAD, "the images of a scan", err));
    LK_RETURN_IF(LK_NEW(&s->all, (size_t)s->count * COORDINATES, "the images of a scan", err));
    for (int32_t p = 0; p < s->count; p++) {
        float *all = s->all + (size_t)p * COORDINATES;
        make_coordinates(&t, s->thumbnails + (size_t)s->places[p].image * LK_SCAN_PIXELS, all);
        for (int k = 0; k < HEAD; k++) s->head[(size_t)k * (size_t)s->padded + (size_t)p] = all[k + 1];
    }
    return LK_OK;
}

lk_status lk_similar_join(lk_sets *sets, const lk_fingerprint *prints, const uint8_t *thumbnails, int32_t count,
                          double similarity, lk_pool *pool, lk_similar_counts *counts, lk_error *err) {
    lk_status status = LK_OK;
    double least = 1 - 2 * (1 - similarity);
    sweep s = {.thumbnails = thumbnails, .sets = sets, .similarity = similarity};
    /* Rounding of the coordinates must not lose a pair. */
    s.reach_squared = (float)(2 - 2 * least + 1e-5);
    s.reach = sqrtf(s.reach_squared);
    LK_TRY(arrange(&s, prints, count, err));
    lk_pool_run(pool, sweep_rows, &s, (s.count + ROWS - 1) / ROWS);
    if (counts != NULL) *counts = (lk_similar_counts){atomic_load(&s.compared), atomic_load(&s.correlated)};
out:
    lk_free(s.places);
    lk_free(s.head);
    lk_free(s.all);
    return status;
}
