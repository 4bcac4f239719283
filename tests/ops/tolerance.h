/* How far a result may be from the float64 reference, given inputs that are exact in the compute type. */
#ifndef LK_TESTS_OPS_TOLERANCE_H
#define LK_TESTS_OPS_TOLERANCE_H

#include "lane.h"

/* Allowed |error| / (|reference| + root mean square of the reference). */
double op_tolerance(const op_plan *plan, op_result_kind kind);

/* Compares all results. NaN must meet NaN. Errors: LK_ERR_NUMERIC with the worst element of the first bad result. */
LK_MUST_CHECK lk_status op_results_close(const op_plan *plan, const op_results *seen, const op_results *reference,
                                         lk_error *err);

#endif
