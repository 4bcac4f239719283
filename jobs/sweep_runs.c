#include <math.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/dataset.h"
#include "io/model/checkpoint.h"
#include "jobs/sweep.h"
#include "jobs/train_job.h"
#include "report/comparison.h"
#include "train/meta.h"

static lk_status create_run(lk_sweep_run *run, const lk_sweep_runs *runs, char *const *overrides, int count,
                            lk_error *err) {
    const lk_sweep_variant *variant = run->variant;
    run->best_f1 = NAN;
    LK_RETURN_IF(lk_format(&run->folder, err, "%s/%s-seed-%lld", runs->folder, variant->name, (long long)run->seed));
    LK_RETURN_IF(LK_NEW(&run->overrides, variant->override_count + count + 1, "the overrides", err));
    for (int i = 0; i < variant->override_count; i++) run->overrides[run->override_count++] = variant->overrides[i];
    for (int i = 0; i < count; i++) run->overrides[run->override_count++] = overrides[i];
    snprintf(run->seed_text, sizeof run->seed_text, "seed=%lld", (long long)run->seed);
    run->overrides[run->override_count++] = run->seed_text;
    return LK_OK;
}

lk_status lk_sweep_runs_create(lk_sweep_runs *out, const char *path, const char *folder, char *const *overrides,
                               int override_count, lk_error *err) {
    lk_status status = LK_OK;
    memset(out, 0, sizeof *out);
    out->path = path;
    for (int i = 0; i < override_count; i++)
        if (strncmp(overrides[i], "seed=", 5) == 0)
            return lk_fail(err, LK_ERR_USAGE, "the sweep sets the seed itself: list it under 'seeds' in %s", path);
    LK_TRY(lk_sweep_read(&out->sweep, path, err));
    if (folder != NULL)
        LK_TRY(lk_strdup(&out->folder, folder, err));
    else
        LK_TRY(lk_train_default_folder(&out->folder, path, "", err));
    LK_TRY(LK_NEW(&out->runs, out->sweep.variant_count * out->sweep.seed_count, "runs", err));
    for (int s = 0; s < out->sweep.seed_count; s++)
        for (int v = 0; v < out->sweep.variant_count; v++) {
            lk_sweep_run *run = &out->runs[out->count++];
            run->variant = &out->sweep.variants[v];
            run->seed = out->sweep.seeds[s];
            LK_TRY(create_run(run, out, overrides, override_count, err));
        }
out:
    if (status != LK_OK) lk_sweep_runs_free(out);
    return status;
}

void lk_sweep_runs_free(lk_sweep_runs *runs) {
    for (int i = 0; i < runs->count; i++) {
        lk_free(runs->runs[i].folder);
        lk_free(runs->runs[i].overrides);
    }
    lk_free(runs->runs);
    lk_free(runs->folder);
    lk_sweep_free(&runs->sweep);
    memset(runs, 0, sizeof *runs);
}

/* The job of a run; what is wrong with it is said with the variant's name. */
static lk_status read_job(lk_job *job, const lk_sweep_runs *runs, const lk_sweep_run *run, bool resuming,
                          lk_error *err) {
    lk_error problem = {0};
    char *stored = NULL;
    if (resuming) LK_RETURN_IF(lk_format(&stored, err, "%s/job.yaml", run->folder));
    lk_status status =
        lk_job_read_run(job, NULL, run->variant->job, run->overrides, run->override_count, stored, &problem);
    lk_free(stored);
    if (status == LK_OK) return LK_OK;
    return lk_fail(err, status, "%s, variant '%s': %s", runs->path, run->variant->name, problem.message);
}

/* Was the checkpoint trained on the data set that the job names? One that is not there cannot be asked. */
static lk_status check_data(lk_sweep_run *run, const lk_job *job, const lk_dataset *dataset, lk_error *err) {
    lk_status status = LK_OK;
    char *path = NULL;
    lk_checkpoint *checkpoint = NULL;
    lk_meta meta = {0};
    if (dataset == NULL) return LK_OK;
    LK_TRY(lk_format(&path, err, "%s/checkpoints/last.h5", run->folder));
    LK_TRY(lk_checkpoint_open(&checkpoint, path, err));
    const char *text = lk_checkpoint_text(checkpoint, "meta");
    if (text == NULL) {
        status = lk_fail(err, LK_ERR_DATA, "%s lacks the text meta", path);
        goto out;
    }
    LK_TRY(lk_meta_parse(&meta, text, path, err));
    if (memcmp(meta.dataset_hash, dataset->hash, sizeof meta.dataset_hash) != 0) {
        run->state = LK_SWEEP_REFUSED;
        snprintf(run->reason, sizeof run->reason, "it was trained on another data set than %.300s", job->data);
    }
out:
    lk_meta_free(&meta);
    lk_checkpoint_free(checkpoint);
    lk_free(path);
    return status;
}

/* What the run's folder says of it; there is a checkpoint to go on from. */
static lk_status look_inside(lk_sweep_run *run, const lk_job *job, const lk_dataset *dataset, lk_error *err) {
    lk_status status;
    lk_run_record *record = NULL;
    LK_TRY(lk_run_record_read(&record, run->folder, err));
    run->epochs = (int64_t)record->epoch_count;
    for (size_t e = 0; e < record->epoch_count; e++) run->best_f1 = fmax(run->best_f1, record->epochs[e].macro_f1);
    bool predicted = record->predictions[LK_BEST_F1][LK_FINAL_VALIDATION].count > 0 ||
                     record->predictions[LK_BEST_F1][LK_FINAL_TEST].count > 0;
    bool same_end = record->job.epochs == job->epochs && record->job.max_updates == job->max_updates;
    run->state = record->finished && predicted && same_end ? LK_SWEEP_FINISHED : LK_SWEEP_UNFINISHED;
    if (lk_job_changed(&record->job, job, run->reason, sizeof run->reason))
        run->state = LK_SWEEP_REFUSED;
    else
        LK_TRY(check_data(run, job, dataset, err));
out:
    lk_run_record_free(record);
    return status;
}

/* Do two variants judge the same images, and are they two? */
static lk_status compare_jobs(const lk_sweep_runs *runs, const lk_job *jobs, int a, int b, lk_error *err) {
    static const char *const same[] = {"data", "folds", "fold", "fold_seed"};
    int count;
    const lk_option *table = lk_job_options(&count);
    const char *first = runs->runs[a].variant->name, *second = runs->runs[b].variant->name;
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        char one[512], two[512];
        const lk_option *option = &table[lk_options_find(table, count, same[k])];
        lk_option_print(option, &jobs[a], one, sizeof one);
        lk_option_print(option, &jobs[b], two, sizeof two);
        if (strcmp(one, two) != 0)
            return lk_fail(err, LK_ERR_CONFIG,
                           "%s: variants '%s' and '%s' differ in '%s' (%s, %s), so they judge different images and "
                           "cannot be compared: make two sweeps of it",
                           runs->path, first, second, same[k], one, two);
    }
    if (lk_comparison_same_recipe(&jobs[a], &jobs[b]))
        return lk_fail(err, LK_ERR_CONFIG, "%s: variants '%s' and '%s' are the same job", runs->path, first, second);
    return LK_OK;
}

static lk_status check_variants(const lk_sweep_runs *runs, const lk_job *jobs, lk_error *err) {
    for (int b = 1; b < runs->sweep.variant_count; b++)
        for (int a = 0; a < b; a++) LK_RETURN_IF(compare_jobs(runs, jobs, a, b, err));
    return LK_OK;
}

lk_status lk_sweep_runs_look(lk_sweep_runs *runs, lk_error *err) {
    lk_status status = LK_OK;
    lk_job *jobs = NULL;
    lk_dataset *dataset = NULL;
    int read = 0;
    LK_TRY(LK_NEW(&jobs, runs->count, "jobs", err));
    for (; read < runs->count; read++) {
        lk_sweep_run *run = &runs->runs[read];
        bool resuming;
        LK_TRY(lk_run_folder_can_resume(&resuming, run->folder, LK_RUN_RESUME, err));
        run->state = resuming ? LK_SWEEP_UNFINISHED : LK_SWEEP_NEW;
        LK_TRY(read_job(&jobs[read], runs, run, resuming, err));
    }
    LK_TRY(check_variants(runs, jobs, err));
    lk_error problem = {0};
    if (lk_dataset_open(&dataset, jobs[0].data, &problem) != LK_OK) dataset = NULL;
    for (int i = 0; i < runs->count; i++)
        if (runs->runs[i].state == LK_SWEEP_UNFINISHED) LK_TRY(look_inside(&runs->runs[i], &jobs[i], dataset, err));
out:
    for (int i = 0; i < read; i++) lk_job_free(&jobs[i]);
    lk_free(jobs);
    lk_dataset_free(dataset);
    return status;
}

lk_status lk_sweep_runs_check(const lk_sweep_runs *runs, int only, lk_error *err) {
    for (int i = 0; i < runs->count; i++) {
        const lk_sweep_run *run = &runs->runs[i];
        if (run->state == LK_SWEEP_REFUSED && (only == 0 || only == i + 1))
            return lk_fail(err, LK_ERR_CONFIG,
                           "%s holds another run: %s; change the sweep back, or give another folder with -o",
                           run->folder, run->reason);
    }
    return LK_OK;
}
