/* Evaluation, sharded: batch j is always the same samples, whole on one rank; every sample counts once (P1). */
#ifndef LK_TRAIN_EVALUATE_H
#define LK_TRAIN_EVALUATE_H

#include "dist/comm.h"
#include "io/data/loader.h"
#include "train/lanes.h"
#include "train/metrics.h"

typedef struct lk_evaluation {
    lk_metrics metrics; /* equal on all ranks */
    int64_t *confusion; /* K x K; equal on all ranks */
    float *logits;      /* rank 0, when asked for: samples x K in sample order; else NULL */
} lk_evaluation;

typedef struct lk_evaluation_config {
    const int64_t *samples; /* indices into the data set, in order; all with labels */
    int64_t count;
    int64_t batch; /* of the network's evaluation plan */
    bool keep_logits;
} lk_evaluation_config;

/* Evaluates the network's current parameters (their moving average where one is kept). The loss is the job's, without
 * mixing, and with what it takes from all samples taken from these: the sum of its class weights and the soft counts of
 * its F1 term. Collective; config equal on all ranks. Owner of *out: the caller, with lk_evaluation_free. Errors:
 * LK_ERR_DATA for a sample that cannot be read or decoded (none is skipped, P14); LK_ERR_INTERNAL when the samples
 * counted are not the samples asked for (P1).
 */
LK_MUST_CHECK lk_status lk_evaluate(lk_evaluation *out, lk_network *network, lk_lanes *lanes, lk_comm *comm,
                                    lk_loader *loader, const lk_evaluation_config *config, lk_error *err);
void lk_evaluation_free(lk_evaluation *evaluation); /* the content, not the struct */

#endif
