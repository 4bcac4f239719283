#include "train/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/model/checkpoint.h"

lk_status lk_run_folder_join(const lk_run_folder *folder, char **out, const char *name, lk_error *err) {
    return lk_format(out, err, "%s/%s", folder->path, name);
}

/* Makes a folder and those above it. */
static lk_status make_folders(const char *path, lk_error *err) {
    lk_status status;
    char *copy = NULL;
    LK_TRY(lk_strdup(&copy, path, err));
    for (char *at = copy + 1;; at++) {
        char c = *at;
        if (c != '/' && c != '\0') continue;
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            status = lk_fail_errno(err, "make the folder", copy);
            goto out;
        }
        *at = c;
        if (c == '\0') break;
    }
out:
    lk_free(copy);
    return status;
}

static bool has_prefix(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

/* Is this a name that a run writes? */
static bool is_run_file(const char *name) {
    return strcmp(name, "job.yaml") == 0 || strcmp(name, "metrics.jsonl") == 0 || strcmp(name, "predictions.h5") == 0 ||
           strcmp(name, "init.txt") == 0 || has_prefix(name, "events.out.tfevents.");
}

static bool has_suffix(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length > tail && strcmp(text + length - tail, suffix) == 0;
}

static bool is_checkpoint_file(const char *name) { return has_suffix(name, ".h5") || has_suffix(name, ".h5.json"); }

/* Removes a run's files from one folder. */
static lk_status remove_files(const char *path, bool (*chosen)(const char *name), lk_error *err) {
    lk_status status = LK_OK;
    DIR *folder = opendir(path);
    if (folder == NULL) return errno == ENOENT ? LK_OK : lk_fail_errno(err, "read the folder", path);
    for (struct dirent *entry; status == LK_OK && (entry = readdir(folder)) != NULL;) {
        if (!chosen(entry->d_name)) continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) != 0) status = lk_fail_errno(err, "remove a file of", path);
    }
    closedir(folder);
    return status;
}

lk_status lk_run_folder_open(lk_run_folder *out, const char *path, lk_run_mode mode, lk_error *err) {
    lk_status status;
    char *checkpoints = NULL, *last = NULL, *job = NULL;
    memset(out, 0, sizeof *out);
    LK_TRY(lk_strdup(&out->path, path, err));
    LK_TRY(lk_run_folder_join(out, &checkpoints, "checkpoints", err));
    LK_TRY(lk_run_folder_join(out, &last, "checkpoints/last.h5", err));
    LK_TRY(lk_run_folder_join(out, &job, "job.yaml", err));
    bool exists = access(job, F_OK) == 0 || access(last, F_OK) == 0;
    if (exists && mode == LK_RUN_NEW) {
        status = lk_fail(err, LK_ERR_CONFIG,
                         "%s holds a run already: go on with --resume, replace it with --overwrite, or name another "
                         "folder with --run",
                         path);
        goto out;
    }
    LK_TRY(make_folders(checkpoints, err));
    if (mode == LK_RUN_OVERWRITE) {
        LK_TRY(remove_files(path, is_run_file, err));
        LK_TRY(remove_files(checkpoints, is_checkpoint_file, err));
    }
    LK_TRY(lk_temporaries_remove(checkpoints, NULL, err));
    LK_TRY(lk_temporaries_remove(path, NULL, err));
    out->resuming = mode == LK_RUN_RESUME && access(last, F_OK) == 0;
out:
    lk_free(checkpoints);
    lk_free(last);
    lk_free(job);
    if (status != LK_OK) lk_run_folder_close(out);
    return status;
}

lk_status lk_run_folder_can_resume(bool *out, const char *path, lk_run_mode mode, lk_error *err) {
    char *last = NULL;
    *out = false;
    if (mode != LK_RUN_RESUME) return LK_OK;
    LK_RETURN_IF(lk_format(&last, err, "%s/checkpoints/last.h5", path));
    *out = access(last, F_OK) == 0;
    lk_free(last);
    return LK_OK;
}

void lk_run_folder_close(lk_run_folder *folder) {
    if (folder == NULL) return;
    if (folder->metrics != NULL) fclose(folder->metrics);
    lk_events_free(folder->events);
    lk_free(folder->path);
    memset(folder, 0, sizeof *folder);
}

/* Keeps the lines of metrics.jsonl that a resumed run will not write again. */
static lk_status truncate_metrics(const char *path, int64_t update, int64_t skipped, lk_error *err) {
    lk_status status = LK_OK;
    char *line = NULL, *kept = NULL;
    size_t capacity = 0, kept_size = 0;
    FILE *out = NULL, *in = fopen(path, "r");
    if (in == NULL) return errno == ENOENT ? LK_OK : lk_fail_errno(err, "read", path);
    out = open_memstream(&kept, &kept_size);
    if (out == NULL) {
        status = lk_fail(err, LK_ERR_MEMORY, "cannot allocate the lines of %s", path);
        goto out;
    }
    while (getline(&line, &capacity, in) > 0) {
        json_t *entry = json_loads(line, 0, NULL); /* the last line may be cut off */
        const json_t *at = json_object_get(entry, "update"), *skips = json_object_get(entry, "skipped");
        const char *type = json_string_value(json_object_get(entry, "type"));
        bool final = type != NULL && strcmp(type, "final") == 0;
        bool keep = entry != NULL && !final && (at == NULL || json_integer_value(at) <= update);
        keep = keep && json_integer_value(skips) <= skipped;
        json_decref(entry);
        if (keep) fputs(line, out);
    }
    fflush(out);
    LK_TRY(lk_text_write(path, kept, err));
out:
    if (out != NULL) fclose(out);
    free(kept);
    free(line);
    fclose(in);
    return status;
}

lk_status lk_run_folder_start(lk_run_folder *folder, const char *job, int64_t update, int64_t skipped, lk_error *err) {
    lk_status status;
    char *job_path = NULL, *metrics = NULL;
    LK_TRY(lk_run_folder_join(folder, &job_path, "job.yaml", err));
    LK_TRY(lk_run_folder_join(folder, &metrics, "metrics.jsonl", err));
    LK_TRY(lk_text_write(job_path, job, err));
    /* Also without a checkpoint to go on from: a run killed before its first one left lines behind. */
    LK_TRY(truncate_metrics(metrics, update, skipped, err));
    folder->metrics = fopen(metrics, "a");
    if (folder->metrics == NULL) {
        status = lk_fail_errno(err, "open", metrics);
        goto out;
    }
    LK_TRY(lk_events_create(&folder->events, folder->path, err));
out:
    lk_free(job_path);
    lk_free(metrics);
    return status;
}

lk_status lk_run_folder_record(lk_run_folder *folder, json_t *line, bool flush, lk_error *err) {
    if (line == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot build a line of metrics.jsonl");
    int failed = json_dumpf(line, folder->metrics, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(line);
    if (failed == 0) failed = fputc('\n', folder->metrics) == EOF;
    if (failed == 0 && flush) failed = fflush(folder->metrics);
    return failed == 0 ? LK_OK : lk_fail_errno(err, "write metrics.jsonl in", folder->path);
}
