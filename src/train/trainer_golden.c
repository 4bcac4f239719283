#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "train/float32_logits.h"
#include "train/trainer_internal.h"

lk_status lk_trainer_take_golden(lk_trainer *t, lk_error *err) {
    lk_golden_set *golden = &t->golden;
    lk_preprocess preprocess;
    lk_microbatch batch;
    lk_job_preprocess(t->job, &preprocess);
    int64_t bytes = (int64_t)preprocess.height * preprocess.width * preprocess.channels;
    int64_t count = t->job->checkpoint.golden;
    if (count > t->samples.validation_count) count = t->samples.validation_count;
    if (count > t->job->evaluate.batch) count = t->job->evaluate.batch;
    LK_RETURN_IF(LK_NEW(&golden->samples, count, "golden samples", err));
    LK_RETURN_IF(LK_NEW(&golden->images, count * bytes, "golden images", err));
    LK_RETURN_IF(LK_NEW(&golden->logits, count * t->network->graph->classes, "golden logits", err));
    /* Spread over the split, so that a file sorted by class still shows several. */
    for (int64_t i = 0; i < count; i++)
        golden->samples[i] = t->samples.validation[i * t->samples.validation_count / count];
    lk_load_request request = {.rows = count, .samples = golden->samples};
    LK_RETURN_IF(lk_loader_submit(t->loader, &request, 1, NULL, 0, err));
    LK_RETURN_IF(lk_loader_next(t->loader, &batch, err));
    memcpy(golden->images, batch.images, (size_t)(count * bytes));
    lk_loader_release(t->loader, &batch);
    golden->count = count;
    t->snapshot.golden_count = count;
    t->snapshot.golden_samples = golden->samples;
    t->snapshot.golden_images = golden->images;
    t->snapshot.golden_logits = golden->logits;
    return LK_OK;
}

/* Logits of the golden samples from the current parameters, in float32 as `verify` recomputes them (P25): by the
 * evaluation plan where that computes in it. */
static lk_status run_golden(void *context, int index, int worker, lk_lane_slot *slot, lk_error *err) {
    (void)index, (void)worker;
    lk_status status;
    lk_trainer *t = context;
    lk_network *network = t->network;
    lk_golden_set *golden = &t->golden;
    if (lk_job_compute(t->job) != LK_F32)
        return lk_float32_logits(network, slot->stream, golden->images, golden->count, golden->logits, err);
    lk_lane *lane = slot->lanes[LK_NETWORK_EVALUATE];
    uint8_t *images = NULL;
    int32_t *labels = NULL;
    double *logits = NULL;
    int64_t batch = t->job->evaluate.batch, classes = network->graph->classes;
    int64_t bytes = network->graph->in_h * network->graph->in_w * network->graph->in_channels;
    LK_TRY(LK_NEW(&images, batch * bytes, "golden images", err));
    LK_TRY(LK_NEW(&labels, batch, "golden labels", err));
    LK_TRY(LK_NEW(&logits, batch * classes, "golden logits", err));
    memcpy(images, golden->images, (size_t)(golden->count * bytes));
    LK_TRY(lk_network_refresh(network, LK_NETWORK_EVALUATE, slot->stream, err));
    lk_run run = {.params = network->eval_params,
                  .derived = network->derived[LK_NETWORK_EVALUATE],
                  .stats = network->eval_stats,
                  .images = images,
                  .labels = labels,
                  .rows = golden->count,
                  .loss_scale = 1.0};
    LK_TRY(lk_lane_forward(lane, &run, NULL, NULL, err));
    LK_TRY(lk_lane_read_logits(lane, logits, err));
    for (int64_t i = 0; i < golden->count * classes; i++) golden->logits[i] = (float)logits[i];
out:
    lk_free(images);
    lk_free(labels);
    lk_free(logits);
    return status;
}

lk_status lk_trainer_save(lk_trainer *t, bool new_loss, bool new_f1, bool must, bool *saved, lk_error *err) {
    *saved = true;
    if (t->comm->rank != 0) return LK_OK;
    lk_error problem = {0};
    lk_status status = lk_lanes_run(t->lanes, run_golden, t, 1, &problem);
    if (status == LK_OK && t->folder.metrics != NULL) fflush(t->folder.metrics);
    if (status == LK_OK)
        status =
            lk_checkpoints_save(&t->snapshot, t->checkpoints, new_loss, new_f1, t->job->checkpoint.keep_best, &problem);
    if (status == LK_OK) {
        t->last_saved = lk_clock_seconds();
        return LK_OK;
    }
    *saved = false;
    if (must || status != LK_ERR_IO) return lk_fail(err, status, "%s", problem.message);
    lk_progress_clear(&t->progress);
    lk_log_write(&t->log, LK_LOG_WARNING,
                 "CHECKPOINT NOT WRITTEN: %s; earlier checkpoints are intact, the run goes on and tries again",
                 problem.message);
    return LK_OK;
}
