#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/process.h"
#include "train/trainer_internal.h"

static bool updates_left(const lk_trainer *t) {
    return t->job->max_updates == 0 || t->counters.update < t->job->max_updates;
}

/* Queues the updates of the epoch that are left, so that decoding runs ahead of the lanes. */
static lk_status prefetch_epoch(lk_trainer *t, lk_error *err) {
    int64_t end = t->updates_per_epoch;
    if (t->job->max_updates > 0 && t->job->max_updates - t->counters.update < end - t->counters.update_in_epoch)
        end = t->counters.update_in_epoch + t->job->max_updates - t->counters.update;
    for (int64_t update = t->counters.update_in_epoch; update < end; update++)
        LK_RETURN_IF(lk_window_prefetch(t->window, t->sampler, update, &t->augment, err));
    t->prefetched = end;
    return LK_OK;
}

/* One more window, where max_updates left some of the epoch out. */
static lk_status prefetch_instead(lk_trainer *t, lk_error *err) {
    if (t->prefetched == t->updates_per_epoch) return LK_OK;
    return lk_window_prefetch(t->window, t->sampler, t->prefetched++, &t->augment, err);
}

/* Learning rate of an update; what a plateau schedule learned from the epochs before is in the counters. */
static double rate_of(const lk_trainer *t, int64_t update) {
    bool plateau = t->schedule.kind == LK_SCHEDULE_PLATEAU && update >= lk_schedule_warmup_updates(&t->schedule);
    return plateau ? t->counters.plateau.lr : lk_schedule_lr(&t->schedule, update);
}

/* The figure is the same on all ranks, so the rate is (P9). An evaluation inside the warm-up does not count. */
static void step_plateau(lk_trainer *t, const lk_metrics *metrics) {
    if (t->schedule.kind != LK_SCHEDULE_PLATEAU) return;
    if (t->counters.update <= lk_schedule_warmup_updates(&t->schedule) && t->schedule.warmup > 0) return;
    double before = t->counters.plateau.lr;
    double figure = t->plateau.larger_is_better ? metrics->macro_f1 : metrics->loss;
    if (lk_plateau_step(&t->plateau, &t->counters.plateau, figure)) lk_report_plateau(t, before);
}

static lk_status check_finite(lk_trainer *t, const lk_window_result *result, double *norm, lk_error *err) {
    lk_status status = lk_gradient_norm(norm, t->lanes, lk_window_gradients(t->window), err);
    if (status == LK_OK && !isfinite(result->loss_sum)) return lk_fail(err, LK_ERR_NUMERIC, "the loss is not finite");
    return status;
}

static lk_status refuse_update(const lk_trainer *t, lk_status status, const lk_error *problem, lk_error *err) {
    return lk_fail(err, status,
                   "update %" PRId64 " of epoch %" PRId64
                   " was not applied: %s; lower optimizer.lr or look at the data, then go on with --resume",
                   t->counters.update + 1, t->counters.epoch + 1, problem->message);
}

/* What a window adds to the epoch's ledger (P26), whatever becomes of its update. */
static void count_window(lk_counters *c, const lk_window_result *result) {
    c->update_in_epoch++;
    c->samples += result->samples;
    c->sample_sum += result->sample_sum;
    c->reductions++;
}

/* Weights, statistics, update number and so the learning rate stay as they are, on all ranks alike: the gradients are
 * the same on all (P13). A window that is spent this way was prefetched in place of one more. */
static lk_status skip_update(lk_trainer *t, const lk_window_result *result, const lk_error *problem, lk_error *err) {
    lk_counters *c = &t->counters;
    double scale = c->scaling.scale;
    if (!lk_loss_scale_back_off(&c->scaling)) {
        lk_status status =
            lk_fail(err, LK_ERR_NUMERIC,
                    "update %" PRId64 " of epoch %" PRId64
                    " was skipped %d times in a row, the last at loss scale %g: %s; lower optimizer.lr, compute in "
                    "bfloat16 or float32, or look at the data, then go on with --resume",
                    c->update + 1, c->epoch + 1, LK_LOSS_SCALE_SKIPS, scale, problem->message);
        return lk_comm_agree(t->comm, status, err);
    }
    c->skipped_samples += result->samples;
    c->skips++;
    count_window(c, result);
    t->last_update = lk_clock_seconds();
    LK_RETURN_IF(prefetch_instead(t, err));
    return lk_report_skip(t, scale, problem->message, err);
}

/* Source: torch.nn.utils.clip_grad_norm_. */
static double clip_factor(double norm, double most) {
    double factor = most / (norm + 1e-6);
    return factor < 1 ? factor : 1;
}

/* The factor of the gradient: unscaled, then clipped by the norm of what is unscaled (P8). */
static double gradient_factor(const lk_trainer *t, double norm, double scale) {
    double most = t->job->optimizer.clip_norm;
    return (most > 0 ? clip_factor(norm, most) : 1) / scale;
}

/* Running statistics, parameters, averages, and the copies of the parameters that the next window begins with. */
static lk_status take_step(lk_trainer *t, const lk_step *step, double average_share, lk_error *err) {
    lk_device *device = t->device;
    lk_stream *stream;
    LK_RETURN_IF(lk_lanes_main_stream(t->lanes, &stream, err));
    device->sequence_open(device, stream, t->lanes->graphs);
    LK_RETURN_IF(lk_window_apply_statistics(t->window, err));
    LK_RETURN_IF(lk_update_apply(t->lanes, t->optimizer, lk_window_gradients(t->window), step, average_share, err));
    LK_RETURN_IF(lk_network_refresh(t->network, LK_NETWORK_TRAIN, stream, err));
    return device->sequence_close(device, stream, err);
}

/* *applied: the update was made, not skipped. */
static lk_status apply_update(lk_trainer *t, const lk_window_result *result, bool *applied, lk_error *err) {
    double norm, scale = lk_job_scales_loss(t->job) ? t->counters.scaling.scale : 1;
    lk_ema ema;
    lk_error problem = {0};
    lk_job_ema(t->job, &ema);
    lk_step step = {.lr = rate_of(t, t->counters.update), .momentum = -1, .update = t->counters.update};
    lk_schedule_momentum(&t->schedule, step.update, &step.momentum);
    lk_status status = check_finite(t, result, &norm, &problem);
    *applied = status == LK_OK;
    if (status == LK_ERR_NUMERIC && lk_job_scales_loss(t->job)) return skip_update(t, result, &problem, err);
    /* sums are equal on all ranks: so are failures */
    if (status != LK_OK) return lk_comm_agree(t->comm, refuse_update(t, status, &problem, err), err);
    norm /= scale;
    step.grad_scale = gradient_factor(t, norm, scale);
    LK_RETURN_IF(take_step(t, &step, 1 - lk_ema_decay(&ema, t->counters.update), err));
    lk_counters *c = &t->counters;
    c->microbatches += lk_sampler_window_leaves(t->sampler, c->update_in_epoch);
    c->update++;
    c->correct += result->correct;
    c->loss_sum += result->loss_sum;
    count_window(c, result);
    if (lk_job_scales_loss(t->job)) lk_loss_scale_grow(&c->scaling, t->job->loss_scale.growth_interval);
    double now = lk_clock_seconds(), seconds = now - t->last_update;
    t->last_update = now;
    return lk_report_update(t, &step, lk_job_scales_loss(t->job) ? scale : 0,
                            result->loss_sum / (double)result->samples, norm, seconds, err);
}

static bool save_is_due(const lk_trainer *t) {
    if (t->job->checkpoint.every > 0 && t->counters.update % t->job->checkpoint.every == 0) return true;
    return t->job->checkpoint.minutes > 0 && lk_clock_seconds() - t->last_saved >= 60.0 * t->job->checkpoint.minutes;
}

/* Saves and turns the status into LK_STOPPED; rank 0's failure to save reaches all. */
static lk_status stop_run(lk_trainer *t, lk_error *err) {
    bool saved;
    lk_loader_cancel(t->loader);
    LK_RETURN_IF(lk_comm_agree(t->comm, lk_trainer_save(t, false, false, true, &saved, err), err));
    if (t->comm->rank != 0) return lk_fail(err, LK_STOPPED, "%s", ""); /* one rank says it */
    return lk_fail(err, LK_STOPPED, "stopped after update %" PRId64 " (epoch %" PRId64 "); go on with --resume",
                   t->counters.update, t->counters.epoch + 1);
}

/* Is the last microbatch of the next update smaller than the others? */
static bool has_tail(const lk_trainer *t) {
    return lk_sampler_window_samples(t->sampler, t->counters.update_in_epoch) % t->job->microbatch != 0;
}

static void take_wait_seconds(lk_trainer *t) {
    t->counters.wait_seconds += lk_loader_take_wait_seconds(t->loader) / t->lanes->count;
}

/* The end of the progress line: the share of this epoch's time that was spent waiting for data, and memory. */
static void note_progress(void *context, char *text, size_t size) {
    lk_trainer *t = context;
    take_wait_seconds(t);
    double share = t->counters.seconds > 0 ? t->counters.wait_seconds / t->counters.seconds : 0;
    snprintf(text, size, "data wait %.1f%% %.0f MiB", 100 * share, lk_process_memory_read().resident);
}

/* Runs updates until the epoch or the job's updates end. */
static lk_status run_updates(lk_trainer *t, lk_error *err) {
    lk_status status = LK_OK;
    bool saved, applied;
    double before = t->counters.seconds, started = lk_clock_seconds();
    bool first = t->last_update == 0;
    t->last_update = started;
    lk_progress_start(&t->progress, t->comm->rank == 0 ? stderr : NULL, "train", "updates", t->updates_per_epoch);
    t->progress.note = note_progress;
    t->progress.note_context = t;
    while (status == LK_OK && t->counters.update_in_epoch < t->updates_per_epoch && updates_left(t)) {
        lk_window_result result;
        lk_stream *stream;
        lk_comm_set_phase(t->comm, "epoch %" PRId64 " update %" PRId64, t->counters.epoch + 1, t->counters.update + 1);
        if (lk_job_scales_loss(t->job)) lk_window_set_loss_scale(t->window, t->counters.scaling.scale);
        LK_TRY(lk_lanes_main_stream(t->lanes, &stream, err));
        LK_TRY(lk_network_refresh(t->network, LK_NETWORK_TRAIN, stream, err));
        if (has_tail(t)) LK_TRY(lk_network_refresh(t->network, LK_NETWORK_TAIL, stream, err));
        status = lk_window_run(t->window, t->sampler, t->counters.update_in_epoch, lk_signals_requested,
                               t->options->signals, &result, err);
        if (status == LK_STOPPED) return stop_run(t, err);
        if (status != LK_OK) break;
        if (first) LK_TRY(lk_report_startup(t, err));
        first = false;
        LK_TRY(apply_update(t, &result, &applied, err));
        t->counters.seconds = before + lk_clock_seconds() - started;
        bool complete = t->counters.update_in_epoch == t->updates_per_epoch;
        if (result.stop && !complete) return stop_run(t, err);
        if (applied && !complete && save_is_due(t)) LK_TRY(lk_trainer_save(t, false, false, false, &saved, err));
        lk_progress_update(&t->progress, t->counters.update_in_epoch);
    }
out:
    lk_progress_clear(&t->progress);
    t->counters.seconds = before + lk_clock_seconds() - started;
    take_wait_seconds(t);
    return status;
}

/* Every position of the epoch's order came once and each gradient was reduced once per update (P26, P7). */
static lk_status check_ledger(lk_trainer *t, lk_error *err) {
    const lk_counters *c = &t->counters;
    int64_t expected = 0;
    uint64_t sum = 0;
    for (int64_t u = 0; u < t->updates_per_epoch; u++) expected += lk_sampler_window_samples(t->sampler, u);
    for (int64_t i = 0; i < expected; i++) sum += lk_sample_hash(t->sampler->order[i]);
    LK_RETURN_IF(lk_sampler_unique(t->sampler, expected, &t->unique, err));
    lk_reducer_stats stats;
    lk_window_reductions(t->window, &stats);
    bool once = stats.bucket_sums == stats.updates * lk_window_buckets(t->window);
    if (c->samples == expected && c->sample_sum == sum && c->reductions == t->updates_per_epoch && once) return LK_OK;
    return lk_fail(err, LK_ERR_INTERNAL,
                   "the ledger of epoch %" PRId64 " does not add up: %" PRId64 " samples of %" PRId64 ", %" PRId64
                   " reductions of %" PRId64 "%s; this is a bug, please report it",
                   c->epoch + 1, c->samples, expected, c->reductions, t->updates_per_epoch,
                   c->sample_sum == sum ? "" : ", not the samples of the epoch's order");
}

/* A figure that is NaN is never a best (P13). */
static bool improves(lk_best *best, double value, bool smaller, int64_t epoch) {
    bool better = best->epoch == 0 || (smaller ? value < best->value : value > best->value);
    if (!isfinite(value) || !better) return false;
    *best = (lk_best){epoch, value};
    return true;
}

static lk_status save_epoch(lk_trainer *t, bool new_loss, bool new_f1, const lk_counters *before, lk_error *err) {
    bool saved;
    lk_status status = lk_trainer_save(t, new_loss, new_f1, false, &saved, err);
    LK_RETURN_IF(lk_comm_agree(t->comm, status, err));
    int64_t kept = saved;
    LK_RETURN_IF(lk_comm_broadcast(t->comm, &kept, sizeof kept, 0, err));
    if (kept) return LK_OK;
    /* What is not on the disk is no best: the next one that can be written shall count. */
    t->counters.loss = before->loss;
    t->counters.f1 = before->f1;
    return LK_OK;
}

static lk_status end_epoch(lk_trainer *t, lk_error *err) {
    lk_status status;
    uint64_t hash[2];
    lk_evaluation evaluation = {0};
    double lr = rate_of(t, t->counters.update > 0 ? t->counters.update - 1 : 0);
    lk_evaluation_config config = {
        .samples = t->samples.validation, .count = t->samples.validation_count, .batch = t->job->evaluate.batch};
    LK_TRY(check_ledger(t, err));
    lk_comm_set_phase(t->comm, "epoch %" PRId64 " evaluation", t->counters.epoch + 1);
    LK_TRY(lk_network_hash(t->network, hash, err));
    LK_TRY(lk_comm_check_equal(t->comm, hash, sizeof hash, "weights", err));
    LK_TRY(lk_evaluate(&evaluation, t->network, t->lanes, t->comm, t->loader, &config, err));
    lk_counters before = t->counters;
    lk_counters *c = &t->counters;
    bool new_loss = improves(&c->loss, evaluation.metrics.loss, true, c->epoch + 1);
    bool new_f1 = improves(&c->f1, evaluation.metrics.macro_f1, false, c->epoch + 1);
    bool new_best = t->job->early_stop.monitor == LK_MONITOR_F1 ? new_f1 : new_loss;
    c->epochs_since_best = new_best ? 0 : c->epochs_since_best + 1;
    bool impatient = t->job->early_stop.patience > 0 && c->epochs_since_best >= t->job->early_stop.patience;
    c->epoch++;
    c->finished = c->epoch >= t->job->epochs || impatient || !updates_left(t);
    /* The line comes before the checkpoint: a run that is killed in between drops it and writes it again. */
    LK_TRY(lk_report_epoch(t, c, &evaluation, lr, hash, new_loss, new_f1, err));
    step_plateau(t, &evaluation.metrics);
    lk_counters_start_epoch(c);
    status = save_epoch(t, new_loss, new_f1, &before, err);
out:
    lk_evaluation_free(&evaluation);
    return status;
}

/* The job's updates ended inside an epoch. */
static lk_status end_at_max_updates(lk_trainer *t, lk_error *err) {
    uint64_t hash[2];
    bool saved;
    t->counters.finished = true;
    LK_RETURN_IF(lk_network_hash(t->network, hash, err));
    LK_RETURN_IF(lk_comm_check_equal(t->comm, hash, sizeof hash, "weights", err));
    LK_RETURN_IF(lk_comm_agree(t->comm, lk_trainer_save(t, false, false, false, &saved, err), err));
    lk_report_updates_done(t, hash);
    return LK_OK;
}

lk_status lk_trainer_run_epochs(lk_trainer *t, lk_error *err) {
    while (!t->counters.finished) {
        lk_sampler_set_epoch(t->sampler, (uint32_t)t->counters.epoch);
        LK_RETURN_IF(prefetch_epoch(t, err));
        LK_RETURN_IF(run_updates(t, err));
        if (t->counters.update_in_epoch < t->updates_per_epoch) return end_at_max_updates(t, err);
        LK_RETURN_IF(end_epoch(t, err));
        int64_t stop = lk_signals_requested(t->options->signals);
        LK_RETURN_IF(lk_comm_max(t->comm, &stop, err));
        if (stop && !t->counters.finished) return stop_run(t, err);
    }
    return LK_OK;
}
