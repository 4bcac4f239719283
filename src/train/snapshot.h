/* The whole state of a run as a checkpoint, and back (P10): /model (with a moving average: that, and the weights it is
 * of in /unaveraged), /optimizer, /golden, and the texts meta, job,
 * state, arithmetic, choices. */
#ifndef LK_TRAIN_SNAPSHOT_H
#define LK_TRAIN_SNAPSHOT_H

#include "io/model/checkpoint.h"
#include "optim/optimizer.h"
#include "train/counters.h"
#include "train/network.h"

/* What a snapshot is made of; all borrowed. */
typedef struct lk_snapshot {
    lk_network *network;
    lk_optimizer *optimizer;
    lk_counters *counters;
    const char *meta, *job; /* texts */
    const char *arithmetic; /* the device's identity */
    const char *choices;    /* lk_network_choices */
    int64_t golden_count;   /* 0: none */
    const int64_t *golden_samples;
    const uint8_t *golden_images; /* golden_count x H x W x C */
    const float *golden_logits;   /* golden_count x K */
} lk_snapshot;

/* Not Collective (rank 0 writes). Errors: those of lk_checkpoint_write. */
LK_MUST_CHECK lk_status lk_snapshot_write(const lk_snapshot *snapshot, const char *path, lk_error *err);

/* Reads the tensors into network, optimizer and counters; the texts stay with the checkpoint. Every rank reads for
 * itself. Errors: LK_ERR_DATA for a checkpoint of another model, other classes or other optimizer; LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_snapshot_restore(const lk_snapshot *snapshot, lk_checkpoint *checkpoint, const char *path,
                                            lk_error *err);
/* Only what is evaluated, into eval_params and eval_stats: for evaluating a best checkpoint. */
LK_MUST_CHECK lk_status lk_snapshot_restore_model(lk_network *network, lk_checkpoint *checkpoint, lk_error *err);

#endif
