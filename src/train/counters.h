/* Where a run stands: all that a resumed run must know beside tensors. */
#ifndef LK_TRAIN_COUNTERS_H
#define LK_TRAIN_COUNTERS_H

#include <stdint.h>

#include "core/error.h"
#include "optim/plateau.h"
#include "train/loss_scale.h"

typedef struct lk_best {
    int64_t epoch; /* 1 for the first; 0: none yet */
    double value;
} lk_best;

typedef struct lk_counters {
    int64_t epoch;             /* complete epochs */
    int64_t update_in_epoch;   /* windows of the epoch under way that are done: updates, and those skipped */
    int64_t update;            /* updates done in all */
    int64_t microbatches;      /* run in all: BatchNorm's num_batches_tracked */
    lk_best loss, f1;          /* on the validation split */
    int64_t epochs_since_best; /* of the monitored figure */
    lk_plateau_state plateau;  /* of schedule.kind=plateau (P9) */
    lk_loss_scale scaling;     /* scale 0: the loss is not scaled */
    bool finished;             /* the run came to its end (epochs or early stopping) */
    /* Sums and ledger of the epoch that is under way (P26). */
    double loss_sum;
    int64_t samples, correct, reductions;
    int64_t skipped_samples, skips; /* of updates that were skipped; those are no part of loss_sum and correct */
    uint64_t sample_sum;
    double seconds, wait_seconds;
} lk_counters;

/* JSON object; owner of *json: the caller, with lk_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_counters_write(char **json, const lk_counters *counters, lk_error *err);
/* Errors: LK_ERR_DATA naming the field that is missing or out of range; where: for messages. */
LK_MUST_CHECK lk_status lk_counters_parse(lk_counters *out, const char *json, const char *where, lk_error *err);

/* Forgets the sums of an epoch. */
void lk_counters_start_epoch(lk_counters *counters);

#endif
