/* State that loader.c (the caller's side) and loader_worker.c (the threads' side) share. Everything is guarded by the
 * mutex, except the rows of a load that a worker has been given. */
#ifndef LK_IO_DATA_LOADER_INTERNAL_H
#define LK_IO_DATA_LOADER_INTERNAL_H

#include <pthread.h>

#include "io/data/loader.h"

/* A request that has no buffers yet. */
typedef struct lk_queued {
    lk_load_request request;
    lk_augment augment;
    bool augmented;
    uint64_t seed;
} lk_queued;

/* A request with buffers: decoded ahead, or being decoded. */
typedef struct lk_load {
    lk_load_request request;
    lk_augment augment;
    bool augmented, taken, cancelled;
    uint64_t seed;
    int64_t next_row;   /* first that no worker was given */
    int running;        /* parts that workers hold */
    int64_t failed_row; /* least row that failed, so that the error is the same for any number of workers; -1: none */
    lk_error error;
    lk_mix_choice mix;
    uint8_t *images;                  /* microbatch x H x W x C */
    int32_t *labels, *partner;        /* microbatch */
    float *pixel_share, *label_share; /* microbatch */
    struct lk_load *next;
} lk_load;

typedef struct lk_worker {
    lk_loader *loader;
    pthread_t thread;
    lk_transformer *transformer;
    uint8_t *buffer; /* encoded bytes of one sample */
    size_t capacity;
    uint8_t *box; /* one image: what cutmix needs to keep */
} lk_worker;

struct lk_loader {
    const lk_dataset *dataset;
    lk_loader_config config;
    size_t image_bytes;
    pthread_mutex_t mutex;
    pthread_cond_t work; /* rows to decode, or stopping */
    pthread_cond_t done; /* a load is complete, or a worker let go of a cancelled one */
    lk_queued *queue;    /* queue_count from queue_first */
    size_t queue_capacity;
    int64_t queue_first, queue_count;
    lk_load *first, *last; /* in order of submission */
    lk_load *spare;        /* buffers to use again */
    int ahead;             /* loads that nobody has claimed; at most config.prefetch */
    lk_error activation;   /* why a queued request could not be given buffers */
    double wait_seconds;
    lk_worker *workers; /* config.workers */
    int started;
    bool stopping;
};

/* The thread function: argument lk_worker. */
void *lk_loader_work(void *worker);

/* Frees a load's buffers and the load. NULL is accepted. */
void lk_load_free(const lk_loader *loader, lk_load *load);

/* With the mutex held: */
void lk_load_activate(lk_loader *loader); /* gives buffers to queued requests, up to prefetch ahead */
void lk_load_unlink(lk_loader *loader, lk_load *load);
void lk_load_recycle(lk_loader *loader, lk_load *load); /* to the spares */
bool lk_load_is_done(const lk_load *load);

#endif
