#include "train/update_rows.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "train/buckets.h"

const char *lk_update_stage_name(lk_update_stage stage) {
    static const char *const names[] = {"forward",   "backward", "gradient sum", "gradient norm",
                                        "optimizer", "average",  "refresh",      "statistics"};
    return names[stage];
}

static lk_status append(lk_update_rows *rows, const lk_update_config *config, lk_update_stage stage,
                        const lk_plan_call *call, int64_t times, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&rows->rows, &rows->capacity, (size_t)rows->count + 1, sizeof *rows->rows,
                         "the rows of an update", err));
    lk_update_row *row = &rows->rows[rows->count++];
    *row = (lk_update_row){.stage = stage, .call = *call, .times = times};
    if (config->cost != NULL)
        row->seconds = (double)times * lk_cost_seconds(config->cost, call->bytes, call->flops, call->launches);
    return LK_OK;
}

/* Work over whole slabs. */
static lk_status append_slabs(lk_update_rows *rows, const lk_update_config *config, lk_update_stage stage, double bytes,
                              double flops, int launches, int64_t times, lk_error *err) {
    lk_plan_totals totals;
    if (times == 0 || bytes == 0) return LK_OK;
    lk_plan_get_totals(config->plan, &totals);
    lk_plan_call call = {.op = lk_update_stage_name(stage),
                         .layer = "",
                         .bytes = bytes,
                         .operand_bytes = bytes,
                         .flops = flops,
                         .launches = totals.launches > 0 ? launches : 0}; /* the host launches nothing */
    snprintf(call.kind, sizeof call.kind, "%s", lk_update_stage_name(stage));
    return append(rows, config, stage, &call, times, err);
}

/* A row for each launch. */
static lk_status append_launches(lk_update_rows *rows, const lk_update_config *config, lk_update_stage stage,
                                 const lk_plan_call *call, int64_t times, lk_error *err) {
    if (call->parts == NULL) return append(rows, config, stage, call, times, err);
    for (int i = 0; i < call->launches; i++) {
        lk_plan_call one = *call;
        one.launch = call->parts[i].what;
        one.bytes = call->parts[i].bytes;
        one.flops = call->parts[i].flops;
        one.launches = 1;
        if (i > 0) one.operand_bytes = 0;
        LK_RETURN_IF(append(rows, config, stage, &one, times, err));
        rows->rows[rows->count - 1].continues = i > 0;
    }
    return LK_OK;
}

static lk_status append_calls(lk_update_rows *rows, const lk_update_config *config, int64_t times, lk_error *err) {
    for (int i = 0; i < lk_plan_call_numbers(config->plan); i++) {
        lk_plan_call call;
        if (!lk_plan_get_call(config->plan, i, &call)) continue;
        lk_update_stage stage = call.backward ? LK_STAGE_BACKWARD : LK_STAGE_FORWARD;
        LK_RETURN_IF(append_launches(rows, config, stage, &call, times, err));
    }
    return LK_OK;
}

static int64_t bucket_elements(const lk_update_config *config) {
    return config->ranks > 1 ? LK_DEVICE_BUCKET_ELEMENTS : LK_BUCKET_ELEMENTS;
}

/* What follows the microbatches: one launch for all parameters or layers, each. */
static lk_status append_update(lk_update_rows *rows, const lk_update_config *config, int64_t microbatches,
                               lk_error *err) {
    lk_plan_totals t;
    lk_optimizer_config optimizer;
    lk_plan_get_totals(config->plan, &t);
    lk_job_optimizer(config->job, &optimizer);
    double slab = (double)t.slab_count * sizeof(float), elements = (double)t.slab_count;
    int state = lk_optimizer_state_slabs(&optimizer), buckets = 1 + (int)(t.slab_count / bucket_elements(config));
    LK_RETURN_IF(append_slabs(rows, config, LK_STAGE_SUM, 3 * slab, elements, buckets, microbatches - 1, err));
    LK_RETURN_IF(append_slabs(rows, config, LK_STAGE_NORM, slab, 2 * elements, 1, 1, err));
    LK_RETURN_IF(
        append_slabs(rows, config, LK_STAGE_OPTIMIZER, (3 + 2 * state) * slab, (4 + 4 * state) * elements, 1, 1, err));
    if (config->job->ema.decay > 0)
        LK_RETURN_IF(append_slabs(rows, config, LK_STAGE_AVERAGE, 3 * slab, 3 * elements, 1, 1, err));
    LK_RETURN_IF(
        append_slabs(rows, config, LK_STAGE_REFRESH, slab + (double)t.derived_bytes, 0, t.refresh_launches, 1, err));
    return append_slabs(rows, config, LK_STAGE_STATISTICS, 3.0 * (double)t.stats_count * sizeof(float),
                        3.0 * (double)t.stats_count, 1, config->leaves, err);
}

lk_status lk_update_rows_create(lk_update_rows *rows, const lk_update_config *config, lk_error *err) {
    lk_status status = LK_OK;
    int64_t microbatches = config->leaves / config->ranks;
    memset(rows, 0, sizeof *rows);
    LK_TRY(append_calls(rows, config, microbatches, err));
    LK_TRY(append_update(rows, config, microbatches, err));
    return LK_OK;
out:
    lk_update_rows_free(rows);
    return status;
}

void lk_update_rows_free(lk_update_rows *rows) {
    lk_free(rows->rows);
    memset(rows, 0, sizeof *rows);
}

double lk_update_seconds(const lk_update_rows *rows, lk_update_stage stage) {
    double seconds = 0;
    for (int i = 0; i < rows->count; i++)
        if (stage == LK_STAGE_COUNT || rows->rows[i].stage == stage) seconds += rows->rows[i].seconds;
    return seconds;
}

lk_status lk_update_predict(double *seconds, const lk_update_config *config, lk_error *err) {
    lk_update_rows rows;
    lk_plan_totals t;
    lk_plan_get_totals(config->plan, &t);
    LK_RETURN_IF(lk_update_rows_create(&rows, config, err));
    int64_t microbatches = config->leaves / config->ranks;
    double backward = lk_update_seconds(&rows, LK_STAGE_BACKWARD) / (double)microbatches; /* of the last one */
    double slab = (double)t.slab_count * sizeof(float), bucket = (double)(bucket_elements(config) * sizeof(float));
    *seconds = lk_update_seconds(&rows, LK_STAGE_COUNT) +
               lk_cost_exchange_seconds(config->cost, config->ranks, slab, bucket < slab ? bucket : slab, backward);
    lk_update_rows_free(&rows);
    return LK_OK;
}
