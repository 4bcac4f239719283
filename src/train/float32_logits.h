/* Logits in float32 of a network that trains in another type. */
#ifndef LK_TRAIN_FLOAT32_LOGITS_H
#define LK_TRAIN_FLOAT32_LOGITS_H

#include "train/network.h"

/* Compiles the network's graph for evaluation in float32, with weight layouts of its own, runs it with the current
 * parameters and statistics, and drops it: for what is computed once per checkpoint.
 * images: count x H x W x C uint8, preprocessed. logits: count x classes. stream: of the calling thread.
 * Errors: those of lk_plan_create; LK_ERR_MEMORY, LK_ERR_DEVICE. Not Collective. */
LK_MUST_CHECK lk_status lk_float32_logits(const lk_network *network, lk_stream *stream, const uint8_t *images,
                                          int64_t count, float *logits, lk_error *err);

#endif
