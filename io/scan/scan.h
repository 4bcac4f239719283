/* A scan: what is wrong, or looks odd, in a set of images before anything is trained on it. */
#ifndef LK_IO_SCAN_SCAN_H
#define LK_IO_SCAN_SCAN_H

#include "io/scan/fingerprint.h"

typedef struct lk_scan_config {
    double similarity;     /* correlation of thumbnails from which two images are near duplicates: 0.99 */
    int workers;           /* threads, at least 1 */
    lk_progress *progress; /* NULL: silent */
} lk_scan_config;

/* What connects an image with an earlier one of its group, the loosest last. */
typedef enum lk_scan_match { LK_MATCH_FIRST, LK_MATCH_BYTES, LK_MATCH_PIXELS, LK_MATCH_NEAR } lk_scan_match;
const char *lk_scan_match_name(lk_scan_match match); /* "first", "same bytes", "same pixels", "near"; static */

/* An image of a group of duplicates. */
typedef struct lk_scan_member {
    int32_t image;
    lk_scan_match match;
    double similarity; /* correlation with the first member's thumbnail */
} lk_scan_member;

/* Images that are connected by equality or likeness, by rising number. */
typedef struct lk_scan_group {
    int32_t first, count; /* of lk_scan.members */
    lk_scan_match match;  /* the loosest in the group */
    bool across_splits;   /* in two of train, validation and test (P18) */
    bool labels_differ;
} lk_scan_group;

typedef struct lk_scan_problem {
    int32_t image;
    char *reason;
} lk_scan_problem;

/* An image whose size, or aspect, is far from what the others have. */
typedef struct lk_scan_outlier {
    int32_t image;
    double value;      /* size: geometric mean of the sides, in pixels; aspect: long side / short side */
    double deviations; /* from the median, in robust standard deviations of the logarithm; signed */
} lk_scan_outlier;

typedef struct lk_scan_class {
    int64_t counts[LK_SPLIT_COUNT]; /* readable or not */
    bool absent[LK_SPLIT_COUNT];    /* no image in a split that has labelled ones */
} lk_scan_class;

typedef struct lk_scan {
    const lk_scan_source *source; /* borrowed */
    lk_fingerprint *prints;       /* source->count */
    lk_scan_problem *unreadable;
    lk_scan_member *members;
    lk_scan_group *groups;
    int32_t *blank, *grey; /* grey: only where most images are coloured */
    lk_scan_outlier *sizes, *aspects;
    lk_scan_class *classes; /* source->class_count */
    size_t unreadable_count, member_count, group_count, blank_count, grey_count, size_count, aspect_count;
    size_t capacity[7];             /* of those seven, in the same order */
    int64_t splits[LK_SPLIT_COUNT]; /* images */
    double median_size, median_aspect;
    int32_t largest, smallest;    /* classes of the training split (of all where it is empty); -1 without labels */
    double imbalance;             /* images of the largest / of the smallest; infinite where the smallest has none */
    double effective_classes;     /* exp of the entropy of the labels: equal to the classes where all are as frequent */
    int64_t compared, correlated; /* lk_similar_counts */
    double seconds;
} lk_scan;

/* Reads every image once, to its end. The result does not depend on the number of threads.
 * Memory: about 1.5 KB an image, and for each thread one image's bytes and pixels.
 * Owner of *out: the caller, with lk_scan_free. Errors: LK_ERR_MEMORY; an unreadable image is a finding, not an error.
 */
LK_MUST_CHECK lk_status lk_scan_run(lk_scan **out, const lk_scan_source *source, const lk_scan_config *config,
                                    lk_error *err);
void lk_scan_free(lk_scan *scan);

/* Is the largest class more than LK_SCAN_IMBALANCE times the smallest? */
#define LK_SCAN_IMBALANCE 10.0
bool lk_scan_is_imbalanced(const lk_scan *scan);

#endif
