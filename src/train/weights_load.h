/* Weights into the network of a run. */
#ifndef LK_TRAIN_WEIGHTS_LOAD_H
#define LK_TRAIN_WEIGHTS_LOAD_H

#include "train/network.h"
#include "train/weights.h"

/* Overwrites the initialisation by what was loaded; the rest keeps it. Not Collective: every rank reads for itself.
 * Errors: those of lk_weights_read. */
LK_MUST_CHECK lk_status lk_weights_load(const lk_weights *weights, lk_network *network, lk_error *err);

#endif
