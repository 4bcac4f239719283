/* Images that look alike: zero-mean correlation of thumbnails, behind a sieve that finds every pair it should. */
#ifndef LK_IO_SCAN_SIMILAR_H
#define LK_IO_SCAN_SIMILAR_H

#include "core/pool.h"
#include "io/scan/fingerprint.h"
#include "io/scan/sets.h"

typedef struct lk_similar_counts {
    int64_t compared;   /* pairs that met in the sieve's window */
    int64_t correlated; /* pairs whose whole thumbnails were compared */
} lk_similar_counts;

/* Joins the sets of all pairs of images whose thumbnails correlate by at least `similarity` (0.9 to 1) and whose 8 x 8
 * means do so by at least 1 - 2 (1 - similarity). Unreadable and blank images are left out. thumbnails: count x
 * LK_SCAN_PIXELS. The sets do not depend on the number of threads.
 * The 8 x 8 means, centred and of length 1, are rotated by a discrete cosine transform; correlation c is distance
 * sqrt(2 - 2c), and no coordinate differs by more. So the images are sorted by the coordinate that varies most, and
 * each is compared only within a window of it, by 8 coordinates, then all 63, then the thumbnail.
 * Time: n log n + n w, w the mean number of images in a window (n / 2 where all look alike).
 * Memory: 320 bytes an image. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_similar_join(lk_sets *sets, const lk_fingerprint *prints, const uint8_t *thumbnails,
                                        int32_t count, double similarity, lk_pool *pool, lk_similar_counts *counts,
                                        lk_error *err);

/* Zero-mean correlation of two thumbnails; 0 where one is constant. Pure. */
double lk_similar_correlation(const uint8_t *a, const uint8_t *b);

#endif
