#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "io/scan/scan_internal.h"

/* Iglewicz and Hoaglin 1993: 3.5 robust deviations. Where nearly all images have one size the deviation is nearly 0, so
 * a factor that a person would notice is asked for too. */
#define DEVIATIONS 3.5
#define SIZE_FACTOR 2.0
#define ASPECT_FACTOR 1.5
/* Makes the median of |x - median| that of a normal distribution's standard deviation. */
#define MAD_SCALE 1.4826
/* Share of coloured images from which a grey one is odd. */
#define COLOURED_SHARE 0.8

static lk_status list_images(int32_t **list, size_t *capacity, size_t *count, int32_t image, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)list, capacity, *count + 1, sizeof **list, "the findings of a scan", err));
    (*list)[(*count)++] = image;
    return LK_OK;
}

static lk_status find_blank_and_grey(lk_scan *scan, lk_error *err) {
    int64_t readable = 0, coloured = 0;
    for (int64_t i = 0; i < scan->source->count; i++) {
        const lk_fingerprint *f = &scan->prints[i];
        if (lk_fingerprint_is_blank(f))
            LK_RETURN_IF(list_images(&scan->blank, &scan->capacity[LIST_BLANK], &scan->blank_count, (int32_t)i, err));
        readable += f->readable;
        coloured += f->readable && !lk_fingerprint_is_grey(f);
    }
    if ((double)coloured < COLOURED_SHARE * (double)readable) return LK_OK;
    for (int64_t i = 0; i < scan->source->count; i++) {
        const lk_fingerprint *f = &scan->prints[i];
        if (lk_fingerprint_is_grey(f) && !lk_fingerprint_is_blank(f))
            LK_RETURN_IF(list_images(&scan->grey, &scan->capacity[LIST_GREY], &scan->grey_count, (int32_t)i, err));
    }
    return LK_OK;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts values. */
static double median_of(double *values, size_t count) {
    if (count == 0) return 0;
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double size_of(const lk_fingerprint *f) { return sqrt((double)f->width * f->height); }

/* Upright and lying photographs are the same shape: else a set of both would have odd ones by the hundred. */
static double aspect_of(const lk_fingerprint *f) {
    return f->width > f->height ? (double)f->width / f->height : (double)f->height / f->width;
}

/* Images whose measure's logarithm lies far from the median. scratch: room for all images. */
static lk_status find_outliers(lk_scan *scan, double (*measure)(const lk_fingerprint *), double factor, double *scratch,
                               lk_scan_outlier **list, size_t *capacity, size_t *count, double *median, lk_error *err) {
    size_t used = 0;
    for (int64_t i = 0; i < scan->source->count; i++)
        if (scan->prints[i].readable) scratch[used++] = log(measure(&scan->prints[i]));
    double middle = median_of(scratch, used);
    for (size_t i = 0; i < used; i++) scratch[i] = fabs(scratch[i] - middle);
    double deviation = MAD_SCALE * median_of(scratch, used);
    if (deviation < log(factor) / DEVIATIONS) deviation = log(factor) / DEVIATIONS;
    *median = used == 0 ? 0 : exp(middle);
    for (int64_t i = 0; i < scan->source->count; i++) {
        const lk_fingerprint *f = &scan->prints[i];
        double away = f->readable ? (log(measure(f)) - middle) / deviation : 0;
        if (!(fabs(away) > DEVIATIONS)) continue;
        LK_RETURN_IF(lk_grow((void **)list, capacity, *count + 1, sizeof **list, "the findings of a scan", err));
        (*list)[(*count)++] = (lk_scan_outlier){(int32_t)i, measure(f), away};
    }
    return LK_OK;
}

lk_status lk_scan_find_oddities(lk_scan *scan, lk_error *err) {
    lk_status status = LK_OK;
    double *scratch = NULL;
    LK_TRY(find_blank_and_grey(scan, err));
    LK_TRY(LK_NEW(&scratch, scan->source->count, "the sizes of images", err));
    LK_TRY(find_outliers(scan, size_of, SIZE_FACTOR, scratch, &scan->sizes, &scan->capacity[LIST_SIZES],
                         &scan->size_count, &scan->median_size, err));
    LK_TRY(find_outliers(scan, aspect_of, ASPECT_FACTOR, scratch, &scan->aspects, &scan->capacity[LIST_ASPECTS],
                         &scan->aspect_count, &scan->median_aspect, err));
out:
    lk_free(scratch);
    return status;
}
