/* The folder of a run: job.yaml, metrics.jsonl, TensorBoard events, predictions.h5, checkpoints/. Rank 0 alone touches
 * it. */
#ifndef LK_TRAIN_RUN_FOLDER_H
#define LK_TRAIN_RUN_FOLDER_H

#include <jansson.h>
#include <stdio.h>

#include "core/log.h"
#include "io/log/events.h"

typedef enum lk_run_mode {
    LK_RUN_NEW,       /* refuses a folder that holds a run */
    LK_RUN_OVERWRITE, /* removes what a run wrote there */
    LK_RUN_RESUME     /* goes on where last.h5 stands; starts anew where there is none */
} lk_run_mode;

typedef struct lk_run_folder {
    char *path;
    FILE *metrics;
    lk_events *events;
    bool resuming; /* there is a last.h5 to go on from */
} lk_run_folder;

/* Makes or checks the folder; opens nothing else yet. Owner: the caller, with lk_run_folder_close (the content).
 * Errors: LK_ERR_CONFIG for a folder that holds a run, or files that are none; LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_run_folder_open(lk_run_folder *out, const char *path, lk_run_mode mode, lk_error *err);
/* Does the folder hold a checkpoint that LK_RUN_RESUME goes on from? Not Collective; any rank. */
LK_MUST_CHECK lk_status lk_run_folder_can_resume(bool *out, const char *path, lk_run_mode mode, lk_error *err);
void lk_run_folder_close(lk_run_folder *folder);

/* Writes job.yaml and opens metrics.jsonl and the event file; drops the lines after `update`, and of updates that were
 * skipped those after the first `skipped`. */
LK_MUST_CHECK lk_status lk_run_folder_start(lk_run_folder *folder, const char *job, int64_t update, int64_t skipped,
                                            lk_error *err);

/* "PATH/name"; owner of *out: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_run_folder_join(const lk_run_folder *folder, char **out, const char *name, lk_error *err);

/* Appends one line to metrics.jsonl; takes the reference to `line`. flush: to the disk's cache now.
 * Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_run_folder_record(lk_run_folder *folder, json_t *line, bool flush, lk_error *err);

#endif
