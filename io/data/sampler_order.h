/* Inside io/data: the draws of an epoch, before they are repeated. */
#ifndef LK_IO_DATA_SAMPLER_ORDER_H
#define LK_IO_DATA_SAMPLER_ORDER_H

#include "core/random.h"
#include "io/data/sampler.h"

/* An item and the draw that decides its place. */
struct lk_sampler_rank {
    uint64_t draw;
    int64_t item;
};

/* Number ("sub") of each draw under LK_RANDOM_SAMPLE. Values are part of a run's bits: append, never renumber. */
typedef enum lk_sampler_draws {
    LK_DRAW_SAMPLE_CLASS = 0, /* index: draw of the epoch; WEIGHTED */
    LK_DRAW_SAMPLE = 1,       /* index: draw of the epoch; WEIGHTED */
    LK_DRAW_SAMPLE_EXTRA = 2, /* index: class; BALANCED: which classes come once more */
    LK_DRAW_SAMPLE_PICK = 3   /* index: place in the pool; BALANCED: which samples come once more */
} lk_sampler_draws;

#endif
