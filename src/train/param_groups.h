/* Which parameters the optimizer steps, and with which settings. */
#ifndef LK_TRAIN_PARAM_GROUPS_H
#define LK_TRAIN_PARAM_GROUPS_H

#include "train/job.h"
#include "train/network.h"

/* One range for each parameter that is trained: weight decay by role and by optimizer.no_decay, learning rate by depth
 * (optimizer.layer_decay). Owner of *out: the caller, with lk_free. Errors: LK_ERR_CONFIG for a pattern that matches no
 * parameter; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_param_groups(lk_param_range **out, int *count, const lk_job *job, const lk_network *network,
                                        lk_error *err);

#endif
