/* Divides samples into parts: stratified by class, whole groups at a time (P18). */
#ifndef LK_IO_DATA_DIVIDE_H
#define LK_IO_DATA_DIVIDE_H

#include <stdint.h>

#include "core/error.h"

typedef struct lk_divide_sample {
    int64_t id;    /* of the sample in its source: what its draw is keyed by */
    int32_t label; /* 0 .. classes - 1 */
    int32_t group; /* samples of one group share a part; -1: none */
    int32_t part;  /* the answer */
} lk_divide_sample;

typedef struct lk_divide_spec {
    int classes;
    const double *parts; /* part_count shares, sum 1; 0: the part stays empty */
    int part_count;
    uint64_t seed;
    bool keep_first; /* a class that would have no sample in part 0 gets one back from the others */
} lk_divide_spec;

/* Fills `part` of each sample, a function of (samples, spec) alone. Without groups every class is within two samples of
 * its share of a part (one where the parts are equal), and the totals within one. With groups, large ones first, each
 * goes where it lowers the chi-square sum of wanted and given counts most. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_divide(lk_divide_sample *samples, int64_t count, const lk_divide_spec *spec, lk_error *err);

#endif
