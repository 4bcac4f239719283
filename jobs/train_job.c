#include "jobs/train_job.h"

#include <string.h>

#include "core/memory.h"

lk_status lk_train_read_job(lk_job *job, lk_job_notes *notes, lk_train_options *options, lk_comm *comm,
                            const char *path, char *const *overrides, int count, lk_error *err) {
    char *stored = NULL;
    lk_status status = LK_OK;
    if (comm->rank == 0) status = lk_run_folder_can_resume(&options->resuming, options->run, options->mode, err);
    LK_RETURN_IF(lk_comm_agree(comm, status, err));
    int64_t resuming = options->resuming;
    LK_RETURN_IF(lk_comm_broadcast(comm, &resuming, sizeof resuming, 0, err));
    options->resuming = resuming != 0;
    if (options->resuming) status = lk_format(&stored, err, "%s/job.yaml", options->run);
    if (status == LK_OK) status = lk_job_read_run(job, notes, path, overrides, count, stored, err);
    lk_free(stored);
    return lk_comm_agree(comm, status, err);
}

lk_status lk_train_default_folder(char **out, const char *file, const char *ending, lk_error *err) {
    const char *slash = strrchr(file, '/');
    const char *name = slash == NULL ? file : slash + 1, *dot = strrchr(name, '.');
    int length = dot == NULL || dot == name ? (int)strlen(name) : (int)(dot - name);
    return lk_format(out, err, "runs/%.*s%s", length, name, ending);
}
