#include <string.h>

#include "core/memory.h"
#include "train/job_internal.h"

#define MAX_DEPTH 8 /* files, of which each is the base of the one before */

lk_status lk_job_resolve(char **out, const char *file, const char *base, lk_error *err) {
    const char *slash = strrchr(file, '/');
    if (base[0] == '/' || slash == NULL) return lk_strdup(out, base, err);
    return lk_format(out, err, "%.*s/%s", (int)(slash - file), file, base);
}

/* The path of a file's base, or NULL. Reads the whole file, since a base must be applied before what changes it. */
static lk_status find_base(char **out, const char *path, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    lk_job probe = {0};
    lk_status status;
    *out = NULL;
    LK_TRY(lk_options_defaults(table, count, &probe, err));
    LK_TRY(lk_options_read_yaml(table, count, &probe, path, NULL, err));
    if (probe.base != NULL) LK_TRY(lk_job_resolve(out, path, probe.base, err));
out:
    lk_job_free(&probe);
    return status;
}

/* Recursion: MAX_DEPTH levels. */
static lk_status read_level(lk_job *job, bool *seen, const char *path, int depth, lk_error *err) {
    int count;
    const lk_option *table = lk_job_options(&count);
    char *base = NULL;
    lk_status status;
    LK_TRY(find_base(&base, path, err));
    if (base != NULL && depth == MAX_DEPTH) {
        status = lk_fail(err, LK_ERR_CONFIG, "%s: 'base' leads through more than %d files: is one its own base?", path,
                         MAX_DEPTH);
        goto out;
    }
    if (base != NULL) LK_TRY(read_level(job, seen, base, depth + 1, err));
    LK_TRY(lk_options_read_yaml(table, count, job, path, seen, err));
out:
    lk_free(base);
    return status;
}

lk_status lk_job_read_files(lk_job *job, bool *seen, const char *path, lk_error *err) {
    lk_status status = read_level(job, seen, path, 1, err);
    lk_free(job->base);
    job->base = NULL;
    return status;
}
