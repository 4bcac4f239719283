/* The decision layer on predictions that are at hand, and what it reaches. */
#ifndef LK_REPORT_DECIDED_H
#define LK_REPORT_DECIDED_H

#include "report/run_record.h"
#include "train/decision.h"

/* Fits on the set (checked by lk_decision_check) and cross-fits for the figures. groups: as lk_decision_cross_fit.
 * Owner: the caller, with lk_decision_free. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_decided_fit(lk_decision *out, const lk_prediction_set *set, const int32_t *groups,
                                       const lk_decision_options *options, lk_error *err);

/* The run as a recipe with a decision layer: of both best checkpoints, the validation predictions become cross-fitted
 * ones and the test predictions those of the layer fitted on all of validation; the figures follow, and the name gets
 * LK_DECIDED_ENDING. Errors: LK_ERR_DATA where validation predictions are missing or cannot be fitted on;
 * LK_ERR_MEMORY. */
#define LK_DECIDED_ENDING " + decision"
LK_MUST_CHECK lk_status lk_run_record_decide(lk_run_record *record, lk_error *err);

#endif
