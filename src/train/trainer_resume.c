#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "train/trainer_internal.h"

/* The stored job, arithmetic and data set must be those of this run. */
static lk_status check_stored(const lk_trainer *t, const lk_checkpoint *checkpoint, const char *path, lk_error *err) {
    lk_status status;
    lk_job stored = {0};
    lk_meta meta = {0};
    const char *job = lk_checkpoint_text(checkpoint, "job");
    const char *text = lk_checkpoint_text(checkpoint, "meta");
    const char *arithmetic = lk_checkpoint_text(checkpoint, "arithmetic");
    if (job == NULL || text == NULL || arithmetic == NULL)
        return lk_fail(err, LK_ERR_DATA, "%s lacks the texts job, meta and arithmetic that resuming needs", path);
    LK_TRY(lk_job_parse(&stored, job, path, err));
    LK_TRY(lk_job_check_resume(&stored, t->job, err));
    LK_TRY(lk_meta_parse(&meta, text, path, err));
    if (memcmp(meta.dataset_hash, t->dataset->hash, sizeof meta.dataset_hash) != 0) {
        status = lk_fail(err, LK_ERR_CONFIG, "cannot resume: %s is not the data set that %s was trained on",
                         t->job->data, path);
        goto out;
    }
    if (t->comm->rank == 0 && strcmp(arithmetic, t->device->identity(t->device)) != 0)
        lk_log_write(&t->log, LK_LOG_WARNING,
                     "the run goes on with other arithmetic, so its bits are no longer those of an uninterrupted run: "
                     "%s before, %s now",
                     arithmetic, t->device->identity(t->device));
    if (t->comm->rank == 0 && lk_network_declined(t->network)[0] != '\0')
        lk_log_write(&t->log, LK_LOG_WARNING,
                     "the run goes on with other engines, so its bits are no longer those of an uninterrupted run: %s",
                     lk_network_declined(t->network));
out:
    lk_job_free(&stored);
    lk_meta_free(&meta);
    return status;
}

static lk_status restore(lk_trainer *t, lk_error *err) {
    lk_status status;
    char *path = NULL;
    lk_checkpoint *checkpoint = NULL;
    LK_TRY(lk_format(&path, err, "%s/last.h5", t->checkpoints));
    LK_TRY(lk_checkpoint_open(&checkpoint, path, err));
    LK_TRY(check_stored(t, checkpoint, path, err));
    LK_TRY(lk_snapshot_restore(&t->snapshot, checkpoint, path, err));
    if (t->counters.update_in_epoch >= t->updates_per_epoch)
        status = lk_fail(err, LK_ERR_DATA, "%s stands at update %lld of an epoch of %lld", path,
                         (long long)t->counters.update_in_epoch, (long long)t->updates_per_epoch);
out:
    lk_checkpoint_free(checkpoint);
    lk_free(path);
    return status;
}

/* Did the stored run end before this job's end? Then it goes on. */
static void reopen_if_longer(lk_trainer *t) {
    bool epochs_left = t->counters.epoch < t->job->epochs;
    bool updates_left = t->job->max_updates == 0 || t->counters.update < t->job->max_updates;
    bool patient = t->job->early_stop.patience == 0 || t->counters.epochs_since_best < t->job->early_stop.patience;
    t->counters.finished = !(epochs_left && updates_left && patient);
}

lk_status lk_trainer_open_run(lk_trainer *t, lk_error *err) {
    lk_status status = LK_OK;
    if (t->comm->rank == 0) status = lk_run_folder_open(&t->folder, t->options->run, t->options->mode, err);
    LK_RETURN_IF(lk_comm_agree(t->comm, status, err));
    int64_t resuming = t->folder.resuming;
    LK_RETURN_IF(lk_comm_broadcast(t->comm, &resuming, sizeof resuming, 0, err));
    status = lk_format(&t->checkpoints, err, "%s/checkpoints", t->options->run);
    if (status == LK_OK && resuming) status = restore(t, err);
    LK_RETURN_IF(lk_comm_agree(t->comm, status, err));
    if (resuming) reopen_if_longer(t);
    if (t->comm->rank == 0) {
        t->last_saved = lk_clock_seconds();
        status = lk_run_folder_start(&t->folder, t->job_text, t->counters.update, t->counters.scaling.skipped, err);
        if (status == LK_OK) status = lk_trainer_write_init(t, err);
        if (status == LK_OK) status = lk_trainer_take_golden(t, err);
        if (status == LK_OK) status = lk_report_run(t, err);
    }
    return lk_comm_agree(t->comm, status, err);
}
