/* The decision layer as JSON. */
#ifndef LK_TRAIN_META_DECISION_H
#define LK_TRAIN_META_DECISION_H

#include <jansson.h>

#include "train/decision.h"

/* Owner: the caller. NULL where memory is short. */
json_t *lk_meta_describe_decision(const lk_decision *decision);
/* *reason becomes a text where a field is not valid ("has offsets that ..."), and *out NULL. Owner of *out: the caller.
 * Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_meta_read_decision(lk_decision **out, const char **reason, const json_t *json, int classes,
                                              lk_error *err);

#endif
