#include "report/run_record.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

enum { MAX_LINE = 4 << 20, MAX_JOB = 1 << 20 }; /* bytes */

const char *lk_best_name(lk_best best) { return best == LK_BEST_F1 ? "best_f1" : "best_loss"; }

const char *lk_final_split_name(lk_final_split split) { return split == LK_FINAL_TEST ? "test" : "validation"; }

/* A number, or NaN for null and for what is missing. */
static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t integer(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static lk_status take_update(lk_run_record *r, const json_t *line, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&r->updates, &r->update_capacity, r->update_count + 1, sizeof *r->updates,
                         "updates of a run", err));
    r->updates[r->update_count++] =
        (lk_run_record_update){integer(line, "update"), number(line, "lr"), number(line, "loss")};
    return LK_OK;
}

static lk_status take_epoch(lk_run_record *r, const json_t *line, lk_error *err) {
    const json_t *train = json_object_get(line, "train"), *validation = json_object_get(line, "validation");
    LK_RETURN_IF(lk_grow((void **)&r->epochs, &r->epoch_capacity, r->epoch_count + 1, sizeof *r->epochs,
                         "epochs of a run", err));
    r->epochs[r->epoch_count++] = (lk_run_record_epoch){
        .epoch = integer(line, "epoch"),
        .update = integer(line, "update"),
        .train_loss = number(train, "loss"),
        .loss = number(validation, "loss"),
        .macro_f1 = number(validation, "macro_f1"),
        .accuracy = number(validation, "accuracy"),
        .lr = number(line, "lr"),
        .seconds = number(line, "seconds"),
        .images_per_second = number(line, "images_per_second"),
        .peak_memory_mib = number(line, "peak_memory_mib"),
        .data_wait = number(line, "data_wait"),
    };
    const json_t *best = json_object_get(line, "best");
    r->best_epochs[LK_BEST_F1] = integer(best, "f1_epoch");
    r->best_epochs[LK_BEST_LOSS] = integer(best, "loss_epoch");
    return LK_OK;
}

/* A launch: the first, or one that went on. */
static lk_status take_launch(lk_run_record *r, const json_t *line, lk_error *err) {
    const char *arithmetic = json_string_value(json_object_get(line, "arithmetic"));
    r->ranks = integer(line, "ranks");
    if (arithmetic == NULL) return LK_OK;
    lk_free(r->arithmetic);
    r->arithmetic = NULL;
    return lk_strdup(&r->arithmetic, arithmetic, err);
}

static void free_final(lk_run_record_final *final) {
    for (int k = 0; k < final->class_count; k++) lk_free(final->classes[k].name);
    lk_free(final->classes);
    memset(final, 0, sizeof *final);
}

static lk_status take_classes(lk_run_record_final *final, const json_t *classes, lk_error *err) {
    LK_RETURN_IF(LK_NEW(&final->classes, json_array_size(classes), "classes of a run", err));
    final->class_count = (int)json_array_size(classes);
    for (int k = 0; k < final->class_count; k++) {
        const json_t *item = json_array_get(classes, (size_t)k);
        const char *name = json_string_value(json_object_get(item, "name"));
        final->classes[k] = (lk_run_record_class){.support = integer(item, "support"), .f1 = number(item, "f1")};
        LK_RETURN_IF(lk_strdup(&final->classes[k].name, name == NULL ? "" : name, err));
    }
    return LK_OK;
}

static lk_status take_final(lk_run_record *r, const json_t *line, lk_error *err) {
    const char *checkpoint = json_string_value(json_object_get(line, "checkpoint"));
    const char *split = json_string_value(json_object_get(line, "split"));
    const json_t *metrics = json_object_get(line, "metrics");
    for (int b = 0; b < LK_BEST_COUNT; b++)
        for (int s = 0; s < LK_FINAL_SPLITS; s++) {
            if (checkpoint == NULL || split == NULL || strcmp(checkpoint, lk_best_name((lk_best)b)) != 0 ||
                strcmp(split, lk_final_split_name((lk_final_split)s)) != 0)
                continue;
            lk_run_record_final *final = &r->finals[b][s];
            free_final(final); /* a run that was resumed after its end says it again */
            final->present = r->finished = true;
            final->loss = number(metrics, "loss");
            final->accuracy = number(metrics, "accuracy");
            final->macro_f1 = number(metrics, "macro_f1");
            final->samples = integer(metrics, "samples");
            return take_classes(final, json_object_get(metrics, "classes"), err);
        }
    return LK_OK;
}

static lk_status take_line(lk_run_record *r, const json_t *line, lk_error *err) {
    const char *type = json_string_value(json_object_get(line, "type"));
    if (type == NULL) return LK_OK;
    if (strcmp(type, "run") == 0 || strcmp(type, "resume") == 0) return take_launch(r, line, err);
    if (strcmp(type, "update") == 0) return take_update(r, line, err);
    if (strcmp(type, "epoch") == 0) return take_epoch(r, line, err);
    return strcmp(type, "final") == 0 ? take_final(r, line, err) : LK_OK;
}

static lk_status read_metrics(lk_run_record *r, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    char *text = NULL;
    size_t capacity = 0;
    struct stat info;
    FILE *file = fopen(path, "re");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    if (fstat(fileno(file), &info) == 0) r->last_written = (double)info.st_mtim.tv_sec;
    for (int64_t number = 1; status == LK_OK; number++) {
        ssize_t length = getline(&text, &capacity, file);
        if (length < 0) break;
        bool whole = text[length - 1] == '\n';
        json_t *line = length > MAX_LINE ? NULL : json_loadb(text, (size_t)length, 0, NULL);
        if (line != NULL)
            status = take_line(r, line, err);
        else if (whole)
            status = lk_fail(err, LK_ERR_DATA, "%s is damaged: line %lld is not JSON", path, (long long)number);
        json_decref(line);
    }
    if (status == LK_OK && ferror(file)) status = lk_fail_errno(err, "read", path);
    free(text);
    fclose(file);
    return status;
}

static lk_status read_job(lk_run_record *r, const char *path, lk_error *err) {
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return lk_fail(err, LK_ERR_CONFIG,
                       "%s is not a run: it has no job.yaml; give folders that lockstep train wrote", r->folder);
    if (file == NULL) return lk_fail_errno(err, "open", path);
    lk_status status = LK_NEW(&r->job_text, MAX_JOB + 1, "a job file", err);
    size_t size = status == LK_OK ? fread(r->job_text, 1, MAX_JOB, file) : 0;
    fclose(file);
    LK_RETURN_IF(status);
    if (size == MAX_JOB) return lk_fail(err, LK_ERR_DATA, "%s is larger than any job file", path);
    LK_RETURN_IF(lk_job_parse(&r->job, r->job_text, path, err));
    r->has_job = true;
    return LK_OK;
}

static lk_status read_predictions(lk_run_record *r, const char *path, lk_error *err) {
    if (access(path, F_OK) != 0) return LK_OK;
    for (int b = 0; b < LK_BEST_COUNT; b++)
        for (int s = 0; s < LK_FINAL_SPLITS; s++) {
            char group[64];
            snprintf(group, sizeof group, "%s/%s", lk_best_name((lk_best)b), lk_final_split_name((lk_final_split)s));
            LK_RETURN_IF(lk_predictions_read(&r->predictions[b][s], path, group, err));
        }
    return LK_OK;
}

static lk_status read_part(lk_run_record *r, const char *name,
                           lk_status (*read)(lk_run_record *, const char *, lk_error *), lk_error *err) {
    char *path;
    LK_RETURN_IF(lk_format(&path, err, "%s/%s", r->folder, name));
    lk_status status = read(r, path, err);
    lk_free(path);
    return status;
}

/* The last part of the path: "runs/a/" and "runs/a" are both "a". */
static lk_status name_of(char **name, const char *folder, lk_error *err) {
    char *absolute = realpath(folder, NULL);
    if (absolute == NULL) return lk_fail_errno(err, "open", folder);
    const char *slash = strrchr(absolute, '/');
    lk_status status = lk_strdup(name, slash == NULL || slash[1] == '\0' ? absolute : slash + 1, err);
    free(absolute);
    return status;
}

lk_status lk_run_record_read(lk_run_record **out, const char *folder, lk_error *err) {
    lk_status status = LK_OK;
    lk_run_record *r = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&r, 1, "a run", err));
    LK_TRY(lk_strdup(&r->folder, folder, err));
    LK_TRY(name_of(&r->name, folder, err));
    LK_TRY(read_part(r, "job.yaml", read_job, err));
    LK_TRY(read_part(r, "metrics.jsonl", read_metrics, err));
    LK_TRY(read_part(r, "predictions.h5", read_predictions, err));
    *out = r;
    r = NULL;
out:
    lk_run_record_free(r);
    return status;
}

void lk_run_record_free(lk_run_record *r) {
    if (r == NULL) return;
    if (r->has_job) lk_job_free(&r->job);
    for (int b = 0; b < LK_BEST_COUNT; b++)
        for (int s = 0; s < LK_FINAL_SPLITS; s++) {
            free_final(&r->finals[b][s]);
            lk_prediction_set_free(&r->predictions[b][s]);
        }
    lk_free(r->folder);
    lk_free(r->name);
    lk_free(r->job_text);
    lk_free(r->arithmetic);
    lk_free(r->epochs);
    lk_free(r->updates);
    lk_free(r);
}

double lk_run_record_seconds(const lk_run_record *record) {
    double sum = 0;
    for (size_t i = 0; i < record->epoch_count; i++) sum += record->epochs[i].seconds;
    return sum;
}

const char *lk_run_record_state(const lk_run_record *record) {
    return record->finished ? "finished" : "stopped or still going";
}
