#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/process.h"
#include "train/confusion_image.h"
#include "train/trainer_internal.h"

/* What the weights of `init` made of the job's input.* keys. */
static void report_notes(const lk_trainer *t) {
    const lk_job_notes *notes = t->options->notes;
    if (notes == NULL || t->options->resuming) return;
    if (notes->preprocess != NULL) printf("from the weights: %s\n", notes->preprocess);
    if (notes->warning != NULL) lk_log_write(&t->log, LK_LOG_WARNING, "%s; the job's values are used", notes->warning);
}

/* How an update is cut and shared. */
static void report_batch(const lk_trainer *t) {
    int leaves = lk_job_leaves(t->job), chain = lk_job_chain(t->job), slabs = lk_window_slabs(t->window);
    char chains[48] = "";
    if (chain > 1) snprintf(chains, sizeof chains, " in chains of %d", chain);
    printf("batch %" PRId64 " = %d x %" PRId64
           ": %d rank%s x %d accumulated%s, %d at a time on %d core%s; %d gradient slab%s\n",
           t->job->batch, leaves, t->job->microbatch, t->comm->size, t->comm->size == 1 ? "" : "s",
           leaves / t->comm->size, chains, t->lanes->count, t->cores, t->cores == 1 ? "" : "s", slabs,
           slabs == 1 ? "" : "s");
}

void lk_report_start(const lk_trainer *t) {
    if (t->comm->rank != 0) return;
    const lk_plan_totals *totals = &t->network->totals;
    int leaves = lk_job_leaves(t->job);
    printf("%s, %.2f M parameters, %s on %s\n", t->job->model, (double)totals->params / 1e6,
           t->device->master == LK_F64 ? "float64" : lk_dtype_name(lk_job_compute(t->job)),
           t->device->identity(t->device));
    printf("%s: %" PRId64 " training, %" PRId64 " validation, %" PRId64 " test images, %d classes\n", t->job->data,
           t->samples.train_count, t->samples.validation_count, t->test_count, t->dataset->class_count);
    report_batch(t);
    if (t->network->trained < totals->params)
        printf("frozen by freeze.names: %.2f M parameters; %.4g M are trained%s\n",
               (double)(totals->params - t->network->trained) / 1e6, (double)t->network->trained / 1e6,
               t->job->freeze.batchnorm ? "; frozen BatchNorm layers keep their statistics" : "");
    if (t->network->trained < totals->params && t->job->init == NULL && t->counters.update == 0)
        lk_log_write(&t->log, LK_LOG_WARNING,
                     "freeze.names without init: the frozen layers keep random weights for the whole run");
    if (t->init_summary != NULL) printf("init %s; init.txt lists them\n", t->init_summary);
    report_notes(t);
    char loss[4096];
    if (!lk_loss_is_plain(&t->loss))
        printf("loss: %s\n", lk_loss_print(&t->loss, (const char *const *)t->dataset->class_names, loss, sizeof loss));
    if (lk_job_scales_loss(t->job))
        printf("loss scale %g: halved where gradients overflow, doubled after %" PRId64 " updates without\n",
               t->counters.scaling.scale, t->job->loss_scale.growth_interval);
    if (t->job->ema.decay > 0)
        printf(
            "evaluated, chosen as best and saved as the model: the moving average of the weights (EMA, decay %g%s)\n",
            t->job->ema.decay, t->job->ema.warmup ? " after a warm-up" : "");
    if (t->counters.update > 0)
        printf("going on after update %" PRId64 " (epoch %" PRId64 ")\n", t->counters.update, t->counters.epoch + 1);
    if (t->comm->size > 1) lk_topology_print(t->options->topology, stdout);
    if (t->gpus.choices != NULL) lk_gpu_binding_print(&t->gpus, stdout);
    if (t->near_cores > 0) printf("threads of rank 0 keep to the %d cores beside its GPU\n", t->near_cores);
    if (t->device_comm != NULL)
        printf("gradients travel over %s%s and are summed %s\n", t->device_comm->transport->name,
               t->device_comm->areas > 0 ? ", which knows their memory," : "",
               t->job->reduce == LK_REDUCE_RING
                   ? "in its own order (reduce: ring): another number of ranks gives other bits"
                   : "in the tree's order");
    char counts[256];
    int busy = t->lanes->count * (int)t->job->threads_per_microbatch;
    int idle = lk_topology_idle_cores(t->options->topology, t->comm->node, busy);
    if (idle > 0 && t->device->host_memory) /* a GPU wants no more lanes */
        lk_log_write(
            &t->log, LK_LOG_INFO,
            "%d core%s of this node stay idle: a rank runs %d of its %d microbatches at a time; rank counts that work: "
            "%s (mpirun -n N, or --bind-to none where a rank is bound to too few cores)",
            idle, idle == 1 ? "" : "s", t->lanes->count, leaves / t->comm->size,
            lk_exchange_ranks_print(leaves, lk_job_chain(t->job), (int)t->job->sync_batchnorm, counts, sizeof counts));
    if (t->cores < t->job->threads_per_microbatch)
        lk_log_write(&t->log, LK_LOG_WARNING,
                     "threads_per_microbatch is %" PRId64
                     " but a rank has %d core%s: it will be slow; give it more "
                     "(mpirun --bind-to none, srun --cpus-per-task)",
                     t->job->threads_per_microbatch, t->cores, t->cores == 1 ? "" : "s");
    fflush(stdout);
}

lk_status lk_report_run(lk_trainer *t, lk_error *err) {
    char time[32], loss[4096];
    lk_loss_print(&t->loss, (const char *const *)t->dataset->class_names, loss, sizeof loss);
    json_t *line = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:I, s:s}", "type", t->folder.resuming ? "resume" : "run",
                             "time", lk_clock_wall_text(time, sizeof time), "program", "lockstep " LK_VERSION, "ranks",
                             t->comm->size, "lanes", t->lanes->count, "arithmetic", t->device->identity(t->device),
                             "update", (json_int_t)t->counters.update, "loss", loss);
    return lk_run_folder_record(&t->folder, line, true, err);
}

/* A failed write of the log is said, and the run goes on (P12). */
static lk_status tolerate(const lk_trainer *t, lk_status status, lk_error *problem, lk_error *err) {
    if (status == LK_OK) return LK_OK;
    if (status != LK_ERR_IO) return lk_fail(err, status, "%s", problem->message);
    lk_log_write(&t->log, LK_LOG_WARNING, "%s; the run goes on", problem->message);
    return LK_OK;
}

lk_status lk_report_update(lk_trainer *t, const lk_step *step, double loss_scale, double loss, double norm,
                           double seconds, lk_error *err) {
    if (t->comm->rank != 0) return LK_OK;
    lk_error problem = {0};
    int64_t update = t->counters.update;
    json_t *line = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f}", "type", "update", "epoch",
                             (json_int_t)t->counters.epoch + 1, "update", (json_int_t)update, "lr", step->lr, "loss",
                             loss, "gradient_norm", norm, "seconds", seconds);
    if (loss_scale > 0) json_object_set_new(line, "loss_scale", json_real(loss_scale));
    bool moves = step->momentum >= 0;
    if (moves) json_object_set_new(line, "momentum", json_real(step->momentum));
    lk_status status = lk_run_folder_record(&t->folder, line, false, &problem);
    if (status == LK_OK) status = lk_events_scalar(t->folder.events, "train/lr", update, step->lr, &problem);
    if (status == LK_OK && moves)
        status = lk_events_scalar(t->folder.events, "train/momentum", update, step->momentum, &problem);
    if (status == LK_OK) status = lk_events_scalar(t->folder.events, "train/loss", update, loss, &problem);
    return tolerate(t, status, &problem, err);
}

lk_status lk_report_skip(lk_trainer *t, double scale, const char *why, lk_error *err) {
    if (t->comm->rank != 0) return LK_OK;
    const lk_counters *c = &t->counters;
    lk_error problem = {0};
    lk_log_write(&t->log, LK_LOG_INFO,
                 "update %" PRId64 " of epoch %" PRId64 " is skipped: %s at loss scale %g; it is %g from now on",
                 c->update + 1, c->epoch + 1, why, scale, c->scaling.scale);
    json_t *line = json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:s}", "type", "skip", "epoch", (json_int_t)c->epoch + 1,
                             "update", (json_int_t)c->update, "skipped", (json_int_t)c->scaling.skipped, "loss_scale",
                             scale, "next_loss_scale", c->scaling.scale, "reason", why);
    return tolerate(t, lk_run_folder_record(&t->folder, line, true, &problem), &problem, err);
}

lk_status lk_report_startup(lk_trainer *t, lk_error *err) {
    if (t->comm->rank != 0) return LK_OK;
    lk_error problem = {0};
    double first = lk_window_first_forward(t->window);
    json_t *line =
        json_pack("{s:s, s:f, s:f, s:I}", "type", "startup", "seconds", first - t->options->started, "unix",
                  lk_clock_unix_seconds() - (lk_clock_seconds() - first), "update", (json_int_t)t->counters.update);
    return tolerate(t, lk_run_folder_record(&t->folder, line, true, &problem), &problem, err);
}

static json_t *number_or_null(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *metrics_json(const lk_trainer *t, const lk_metrics *m) {
    json_t *classes = json_array();
    for (int i = 0; i < m->classes; i++)
        json_array_append_new(
            classes, json_pack("{s:s, s:I, s:f, s:f, s:f}", "name", t->dataset->class_names[i], "support",
                               (json_int_t)m->per_class[i].support, "precision", m->per_class[i].precision, "recall",
                               m->per_class[i].recall, "f1", m->per_class[i].f1));
    json_t *json =
        json_pack("{s:o, s:f, s:f, s:f, s:f, s:I, s:o}", "loss", number_or_null(m->loss), "accuracy", m->accuracy,
                  "macro_f1", m->macro_f1, "macro_f1_all_classes", m->macro_f1_all, "balanced_accuracy",
                  m->balanced_accuracy, "samples", (json_int_t)m->samples, "classes", classes);
    /* The figures of a moving average say so. */
    if (lk_network_averages(t->network)) json_object_set_new(json, "ema", json_true());
    return json;
}

/* Mean over the samples of the updates that were made; NaN where none was. */
static double mean_of(const lk_counters *c, double sum) {
    int64_t samples = c->samples - c->skipped_samples;
    return samples > 0 ? sum / (double)samples : NAN;
}

static lk_status record_epoch(lk_trainer *t, const lk_counters *c, const lk_metrics *m, double lr, const char *weights,
                              double rate, double wait, lk_error *err) {
    double loss = mean_of(c, c->loss_sum), accuracy = mean_of(c, (double)c->correct);
    json_t *line = json_pack(
        "{s:s, s:I, s:I, s:f, s:{s:o, s:o}, s:o, s:f, s:f, s:f, s:f, s:{s:I, s:I, s:I, s:I}, s:{s:f, s:I, s:f, s:I}, "
        "s:s}",
        "type", "epoch", "epoch", (json_int_t)c->epoch, "update", (json_int_t)c->update, "lr", lr, "train", "loss",
        number_or_null(loss), "accuracy", number_or_null(accuracy), "validation", metrics_json(t, m), "seconds",
        c->seconds, "images_per_second", rate, "data_wait", wait, "peak_memory_mib", lk_process_memory_read().peak,
        "ledger", "samples", (json_int_t)c->samples, "unique", (json_int_t)t->unique, "skipped", (json_int_t)0,
        "reductions", (json_int_t)c->reductions, "best", "loss", c->loss.value, "loss_epoch", (json_int_t)c->loss.epoch,
        "f1", c->f1.value, "f1_epoch", (json_int_t)c->f1.epoch, "weights", weights);
    if (line != NULL && lk_job_scales_loss(t->job))
        json_object_set_new(line, "skipped_updates", json_integer((json_int_t)c->skips));
    LK_RETURN_IF(lk_run_folder_record(&t->folder, line, true, err));
    const struct {
        const char *tag;
        double value;
    } scalars[] = {{"train/epoch_loss", loss},
                   {"train/accuracy", accuracy},
                   {"validation/loss", m->loss},
                   {"validation/accuracy", m->accuracy},
                   {"validation/macro_f1", m->macro_f1},
                   {"speed/images_per_second", rate},
                   {"speed/data_wait", wait}};
    for (size_t i = 0; i < sizeof scalars / sizeof scalars[0]; i++)
        LK_RETURN_IF(lk_events_scalar(t->folder.events, scalars[i].tag, c->update, scalars[i].value, err));
    return lk_events_flush(t->folder.events, err);
}

/* Errors: as `tolerate` takes them. */
static lk_status record_confusion(lk_trainer *t, const char *tag, const int64_t *confusion, lk_error *err) {
    lk_status status = LK_OK;
    lk_image image = {0};
    uint8_t *png = NULL;
    size_t size;
    int classes = t->dataset->class_count;
    if (classes > LK_CONFUSION_CLASSES) return LK_OK;
    LK_TRY(lk_confusion_draw(&image, confusion, (const char *const *)t->dataset->class_names, classes, err));
    LK_TRY(lk_image_encode_png(&png, &size, &image, err));
    LK_TRY(lk_events_image(t->folder.events, tag, t->counters.update, png, size, image.width, image.height, err));
    LK_TRY(lk_events_flush(t->folder.events, err));
out:
    lk_free(png);
    lk_image_free(&image);
    return status;
}

lk_status lk_report_epoch(lk_trainer *t, const lk_counters *c, const lk_evaluation *evaluation, double lr,
                          const uint64_t hash[2], bool new_loss, bool new_f1, lk_error *err) {
    if (t->comm->rank != 0) return LK_OK;
    const lk_metrics *m = &evaluation->metrics;
    char weights[40], duration[32];
    double rate = (double)c->samples / c->seconds, wait = c->wait_seconds / c->seconds;
    snprintf(weights, sizeof weights, "%016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
    printf("epoch %*" PRId64 "/%" PRId64
           "  lr %-8.4g  train loss %.4f  val%s loss %.4f%s accuracy %.4f macro-F1 %.4f%s  "
           "%.0f images/s  data wait %.1f%%  %s  weights %s\n",
           t->job->epochs > 99 ? 4 : 2, c->epoch, t->job->epochs, lr, mean_of(c, c->loss_sum),
           lk_network_averages(t->network) ? " EMA" : "", m->loss, new_loss ? "*" : " ", m->accuracy, m->macro_f1,
           new_f1 ? "*" : " ", rate, 100.0 * wait, lk_clock_duration_text(c->seconds, duration, sizeof duration),
           weights);
    fflush(stdout);
    lk_error problem = {0};
    lk_status status = record_epoch(t, c, m, lr, weights, rate, wait, &problem);
    if (status == LK_OK && (new_loss || new_f1))
        status = record_confusion(t, "validation/confusion", evaluation->confusion, &problem);
    return tolerate(t, status, &problem, err);
}

void lk_report_plateau(const lk_trainer *t, double before) {
    if (t->comm->rank != 0) return;
    printf("lr %.4g -> %.4g: no better validation %s than %.4f for %" PRId64 " epochs\n", before,
           t->counters.plateau.lr, t->plateau.larger_is_better ? "macro-F1" : "loss", t->counters.plateau.best,
           t->plateau.patience + 1);
    fflush(stdout);
}

void lk_report_updates_done(const lk_trainer *t, const uint64_t hash[2]) {
    if (t->comm->rank != 0) return;
    printf("update %" PRId64 "  train loss %.4f  weights %016" PRIx64 "%016" PRIx64 "\n", t->counters.update,
           t->counters.samples > t->counters.skipped_samples ? mean_of(&t->counters, t->counters.loss_sum) : 0.0,
           hash[0], hash[1]);
    fflush(stdout);
}

lk_status lk_report_final(lk_trainer *t, const char *best, const char *split, const lk_evaluation *evaluation,
                          lk_error *err) {
    if (t->comm->rank != 0) return LK_OK;
    const lk_metrics *m = &evaluation->metrics;
    printf("%-9s %-10s  loss %.4f  accuracy %.4f  macro-F1 %.4f  (%" PRId64 " images)\n", best, split, m->loss,
           m->accuracy, m->macro_f1, m->samples);
    fflush(stdout);
    lk_error problem = {0};
    json_t *line = json_pack("{s:s, s:s, s:s, s:o}", "type", "final", "checkpoint", best, "split", split, "metrics",
                             metrics_json(t, m));
    char tag[64];
    snprintf(tag, sizeof tag, "%s/%s/confusion", best, split);
    lk_status status = lk_run_folder_record(&t->folder, line, true, &problem);
    if (status == LK_OK) status = record_confusion(t, tag, evaluation->confusion, &problem);
    return tolerate(t, status, &problem, err);
}
