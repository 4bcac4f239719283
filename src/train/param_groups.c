#include "train/param_groups.h"

#include <math.h>
#include <stdio.h>

#include "core/memory.h"
#include "core/patterns.h"
#include "nn/depth.h"

lk_status lk_param_groups(lk_param_range **out, int *count, const lk_job *job, const lk_network *network,
                          lk_error *err) {
    lk_status status;
    lk_param_range *ranges = NULL;
    lk_patterns no_decay;
    int *depths = NULL, groups, params;
    char what[96];
    const lk_param *list = lk_plan_get_params(network->plans[LK_NETWORK_TRAIN], &params);
    *out = NULL;
    *count = 0;
    LK_TRY(lk_patterns_parse(&no_decay, job->optimizer.no_decay, "optimizer.no_decay", err));
    LK_TRY(LK_NEW(&depths, network->graph->count, "the depths of the layers", err));
    LK_TRY(LK_NEW(&ranges, params, "parameter ranges", err));
    lk_graph_depths(network->graph, depths, &groups);
    for (int i = 0; i < params; i++) {
        if (list[i].frozen) continue;
        bool excepted = lk_patterns_match(&no_decay, list[i].name);
        bool decays = job->optimizer.decay_norm_and_bias || list[i].role == LK_PARAM_WEIGHT;
        ranges[(*count)++] = (lk_param_range){
            .offset = list[i].offset,
            .count = list[i].stored_count,
            .decay = decays && !excepted,
            .lr_scale = pow(job->optimizer.layer_decay, (double)(groups - 1 - depths[list[i].node])),
        };
    }
    snprintf(what, sizeof what, "parameter of %s", job->model);
    LK_TRY(lk_patterns_check(&no_decay, "optimizer.no_decay", what, err));
    *out = ranges;
    ranges = NULL;
out:
    lk_free(ranges);
    lk_free(depths);
    return status;
}
