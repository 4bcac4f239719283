/* Turns lists of samples into microbatches of uint8 pixels: worker threads read, decode and augment, a bounded number
 * of microbatches ahead. What comes out is a function of the request alone, never of the number of workers. */
#ifndef LK_IO_DATA_LOADER_H
#define LK_IO_DATA_LOADER_H

#include "io/data/dataset.h"
#include "io/image/transform.h"

typedef struct lk_loader lk_loader;

/* Where the pixels of microbatches lie. alloc is called by the threads that submit and take, not by the workers. */
typedef struct lk_pixel_memory {
    void *context;
    lk_status (*alloc)(void *context, void **out, int64_t bytes, const char *what, lk_error *err); /* NULL: the heap */
    void (*release)(void *context, void *p);
} lk_pixel_memory;

typedef struct lk_loader_config {
    int workers;        /* threads, >= 1 */
    int prefetch;       /* microbatches decoded ahead, >= 1 */
    int64_t microbatch; /* most samples of one microbatch */
    lk_preprocess preprocess;
    lk_pixel_memory pixels; /* must outlive the loader */
} lk_loader_config;

/* One microbatch to make. */
typedef struct lk_load_request {
    int64_t tag;            /* given back with the microbatch */
    int64_t rows;           /* samples, 1..microbatch */
    const int64_t *samples; /* rows indices into the data set; borrowed until the microbatch came out */
    int64_t first_position; /* position in the epoch's order of the first; the others follow it */
    uint32_t epoch;
} lk_load_request;

/* rows x H x W x C pixels; rows up to `microbatch` are filled with zeros when fewer are asked for. */
typedef struct lk_microbatch {
    int64_t tag, rows;
    uint8_t *images;
    int32_t *labels;
    const int64_t *samples;
    /* How the rows are to be mixed, `microbatch` values each, or NULL: not at all. Row i's input is pixel_share[i] of
     * its normalised pixels and the rest of row partner[i]'s, its target label_share[i] of its label and the rest of
     * the partner's. Cutmix has changed the pixels already: pixel_share is 1. */
    const int32_t *partner;
    const float *pixel_share, *label_share;
    void *owner;
} lk_microbatch;

/* dataset is borrowed. Owner: the caller, with lk_loader_free (which stops the workers). Errors: LK_ERR_MEMORY,
 * LK_ERR_CONFIG. */
LK_MUST_CHECK lk_status lk_loader_create(lk_loader **out, const lk_dataset *dataset, const lk_loader_config *config,
                                         lk_error *err);
void lk_loader_free(lk_loader *loader);

/* Queues requests (copied; the sample lists are borrowed); they come out in this order. augment NULL: evaluation
 * (copied). seed: of the job. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_loader_submit(lk_loader *loader, const lk_load_request *requests, int64_t count,
                                         const lk_augment *augment, uint64_t seed, lk_error *err);
/* Takes the next microbatch in order of submission; waits for it. Any thread; concurrent callers get different ones.
 * Errors: LK_ERR_DATA naming the sample's source path and reason (P14); LK_ERR_INTERNAL when nothing is queued. */
LK_MUST_CHECK lk_status lk_loader_next(lk_loader *loader, lk_microbatch *out, lk_error *err);
/* The same without waiting: false where the next microbatch is not ready, or is an error that lk_loader_next shall
 * tell. */
bool lk_loader_try_next(lk_loader *loader, lk_microbatch *out);
/* Gives the buffers back; nobody may read them any more, no device either. Any thread. */
void lk_loader_release(lk_loader *loader, lk_microbatch *microbatch);
/* Drops what is queued or decoded and not taken. */
void lk_loader_cancel(lk_loader *loader);
/* Seconds that callers of lk_loader_next waited since the last call of this function. */
double lk_loader_take_wait_seconds(lk_loader *loader);

#endif
