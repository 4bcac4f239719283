/* Buckets of a gradient slab: runs of whole parameters, cut from the end because backward finishes there first. */
#ifndef LK_TRAIN_BUCKETS_H
#define LK_TRAIN_BUCKETS_H

#include "nn/plan.h"

/* Least elements of a bucket: large enough for full bandwidth, small enough to overlap. Part of no bits. */
#define LK_BUCKET_ELEMENTS (1 << 20)        /* 4 MiB of float32 */
#define LK_DEVICE_BUCKET_ELEMENTS (1 << 22) /* between GPUs, where a message costs more and a byte less */

typedef struct lk_buckets {
    int64_t *begins, *ends; /* ascending element offsets: bucket b is [begins[b], ends[b]) */
    int *params_in;         /* trained parameters of each bucket */
    int *of_param;          /* bucket of each parameter; -1: frozen */
    int count, param_count;
} lk_buckets;

/* Every trained parameter lies in a bucket; runs of `least` elements or more that are frozen lie in none. least:
 * elements of a bucket, but for the first of a run. Owner: the caller, with lk_buckets_free (the content). Errors:
 * LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_buckets_create(lk_buckets *out, const lk_param *params, int param_count, int64_t slab_count,
                                          int64_t least, lk_error *err);
void lk_buckets_free(lk_buckets *buckets);

#endif
