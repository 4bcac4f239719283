#include "train/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "train/job_internal.h"
#include "train/loss.h"
#include "train/loss_scale.h"

static const char *const DEVICES[] = {"auto", "cpu", "cuda", "reference", NULL};

static lk_status check_input(lk_job *job, lk_error *err) {
    int channels = job->input.channels == 0 ? 3 : 1;
    if (job->input.mean_count == 3 && channels == 1) job->input.mean_count = 1;
    if (job->input.std_count == 3 && channels == 1) job->input.std_count = 1;
    if (job->input.mean_count != channels || job->input.std_count != channels)
        return lk_fail(err, LK_ERR_CONFIG,
                       "input.mean has %d and input.std has %d values, but input.color needs %d of each",
                       job->input.mean_count, job->input.std_count, channels);
    if (job->input.resize_size == 0)
        job->input.resize_size = (int64_t)floor((double)job->input.size * 256.0 / 224.0 + 0.5);
    LK_RETURN_IF(lk_job_check_sampler(job, err));
    return lk_job_check_augment(job, err);
}

static lk_status check_loss_scale(const lk_job *job, lk_error *err) {
    if (lk_loss_scale_valid(job->loss_scale.initial)) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG,
                   "loss_scale.initial is %.17g and must be a power of two from 1 to 2^126, such as 65536",
                   job->loss_scale.initial);
}

static lk_status check_network(const lk_job *job, lk_error *err) {
    const struct {
        const char *key;
        double rate;
    } rates[] = {{"network.dropout", job->network.dropout}, {"network.drop_path", job->network.drop_path}};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (rates[i].rate < 0 && rates[i].rate != -1)
            return lk_fail(err, LK_ERR_CONFIG, "%s is %g: give a rate in [0, 1), or -1 for the model's own",
                           rates[i].key, rates[i].rate);
    return LK_OK;
}

/* How an update is cut. */
static lk_status check_batch(lk_job *job, lk_error *err) {
    if (job->microbatch == 0) job->microbatch = job->batch % 4 == 0 ? job->batch / 4 : job->batch;
    if (job->batch % job->microbatch != 0)
        return lk_fail(err, LK_ERR_CONFIG, "batch %lld is not a multiple of microbatch %lld", (long long)job->batch,
                       (long long)job->microbatch);
    long long leaves = (long long)(job->batch / job->microbatch);
    if (leaves > 1024)
        return lk_fail(err, LK_ERR_CONFIG, "batch / microbatch is %lld; at most 1024 microbatches per update", leaves);
    if (job->max_ranks > 0 && leaves % job->max_ranks != 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "max_ranks is %lld, which does not divide the %lld microbatches of an update (batch / "
                       "microbatch): give a divisor of %lld, or 0",
                       (long long)job->max_ranks, leaves, leaves);
    if (job->sync_batchnorm > 1 && leaves % job->sync_batchnorm != 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "sync_batchnorm is %lld, which does not divide the %lld microbatches of an update",
                       (long long)job->sync_batchnorm, leaves);
    return LK_OK;
}

static lk_status check_job(lk_job *job, lk_error *err) {
    if (job->version > LK_JOB_VERSION)
        return lk_fail(err, LK_ERR_CONFIG,
                       "the job file has version %lld and this program reads up to %d: use a newer lockstep",
                       (long long)job->version, LK_JOB_VERSION);
    bool known = false;
    for (int i = 0; DEVICES[i] != NULL; i++) known = known || strcmp(DEVICES[i], job->device) == 0;
    if (!known)
        return lk_fail(err, LK_ERR_CONFIG, "device '%s' is unknown; there are auto, cpu, cuda and reference",
                       job->device);
    LK_RETURN_IF(check_batch(job, err));
    if (job->evaluate.batch == 0) job->evaluate.batch = job->microbatch;
    LK_RETURN_IF(lk_job_check_optimizer(job, err));
    LK_RETURN_IF(check_network(job, err));
    LK_RETURN_IF(lk_loss_check(job, err));
    LK_RETURN_IF(check_loss_scale(job, err));
    LK_RETURN_IF(lk_job_check_schedule(job, err));
    return check_input(job, err);
}

lk_status lk_job_parse(lk_job *job, const char *text, const char *where, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    memset(job, 0, sizeof *job);
    lk_status status = lk_options_defaults(table, count, job, err);
    if (status == LK_OK) status = lk_options_parse_yaml(table, count, job, text, strlen(text), where, NULL, err);
    if (status == LK_OK && job->base != NULL)
        status = lk_fail(err, LK_ERR_CONFIG, "%s: a stored job has no 'base'", where);
    if (status == LK_OK) status = check_job(job, err);
    if (status != LK_OK) lk_job_free(job);
    return status;
}

static lk_status set_override(lk_job *job, bool *seen, const char *text, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    char name[128];
    const char *equals = strchr(text, '=');
    size_t length = equals == NULL ? 0 : (size_t)(equals - text);
    if (length == 0 || length >= sizeof name) return lk_fail(err, LK_ERR_USAGE, "'%s' is not KEY=VALUE", text);
    memcpy(name, text, length);
    name[length] = '\0';
    if (strcmp(name, "base") == 0)
        return lk_fail(err, LK_ERR_USAGE, "'base' belongs into a job file, not on the command line");
    LK_RETURN_IF(lk_options_set(table, count, job, name, equals + 1, "command line", err));
    seen[lk_options_find(table, count, name)] = true;
    return LK_OK;
}

lk_status lk_job_read_run(lk_job *job, lk_job_notes *notes, const char *path, char *const *overrides,
                          int override_count, const char *stored, lk_error *err) {
    lk_status status;
    int count;
    const lk_option *table = lk_job_options(&count);
    bool *seen = NULL; /* keys that somebody gave */
    memset(job, 0, sizeof *job);
    LK_TRY(LK_NEW(&seen, count, "the keys of a job", err));
    LK_TRY(lk_options_defaults(table, count, job, err));
    LK_TRY(lk_job_read_files(job, seen, path, err));
    for (int i = 0; i < override_count; i++) LK_TRY(set_override(job, seen, overrides[i], err));
    if (job->data == NULL || job->model == NULL) {
        status = lk_fail(err, LK_ERR_CONFIG, "%s: the key '%s' is missing", path, job->data == NULL ? "data" : "model");
        goto out;
    }
    if (job->init != NULL) LK_TRY(lk_job_take_init(job, notes, seen, stored, err));
    LK_TRY(check_job(job, err));
    /* Stored jobs stay readable: this is asked of new ones alone. */
    if (job->input.resize == LK_RESIZE_SHORT_SIDE && job->input.resize_size < job->input.size)
        LK_TRY(
            lk_fail(err, LK_ERR_CONFIG,
                    "input.resize_size %lld is smaller than the crop, input.size %lld: every image would get a black "
                    "border; make it at least as large, or set input.resize to stretch",
                    (long long)job->input.resize_size, (long long)job->input.size));
out:
    lk_free(seen);
    if (status != LK_OK) lk_job_free(job);
    return status;
}

lk_status lk_job_read(lk_job *job, const char *path, char *const *overrides, int count, lk_error *err) {
    return lk_job_read_run(job, NULL, path, overrides, count, NULL, err);
}

void lk_job_free(lk_job *job) {
    int count;
    const lk_option *table = lk_job_options(&count);
    if (job != NULL) lk_options_free(table, count, job);
}

lk_status lk_job_write(const lk_job *job, char **text, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    return lk_options_write_yaml(table, count, job, text, err);
}

/* Does this key leave the computed bits alone? */
static bool is_launch_key(const lk_job *stored, const lk_job *now, const char *name) {
    if (strcmp(name, "data") == 0 || strcmp(name, "max_updates") == 0 || strcmp(name, "recompute") == 0 ||
        strcmp(name, "cuda_graphs") == 0)
        return true;
    if (strncmp(name, "loader.", 7) == 0 || strncmp(name, "checkpoint.", 11) == 0) return true;
    return strcmp(name, "epochs") == 0 && now->epochs >= stored->epochs && !lk_job_schedule_has_end(now);
}

bool lk_job_changed(const lk_job *stored, const lk_job *now, char *text, size_t size) {
    int count;
    const lk_option *table = lk_job_options(&count);
    for (int i = 0; i < count; i++) {
        char before[LK_OPTION_TEXT_SIZE], after[LK_OPTION_TEXT_SIZE];
        lk_option_print(&table[i], stored, before, sizeof before);
        lk_option_print(&table[i], now, after, sizeof after);
        if (strcmp(before, after) == 0 || is_launch_key(stored, now, table[i].name)) continue;
        snprintf(text, size, "'%s' is %.300s in the job but %.300s in the run", table[i].name, after, before);
        return true;
    }
    return false;
}

lk_status lk_job_check_resume(const lk_job *stored, const lk_job *now, lk_error *err) {
    char change[LK_ERROR_SIZE - 128];
    if (!lk_job_changed(stored, now, change, sizeof change)) return LK_OK;
    return lk_fail(err, LK_ERR_CONFIG, "cannot resume: %s; change it back, or start a new run with --run", change);
}
