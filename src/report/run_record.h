/* The record of a run: its folder read back, what its job said, how it went, what it predicted. */
#ifndef LK_REPORT_RUN_RECORD_H
#define LK_REPORT_RUN_RECORD_H

#include <stdint.h>

#include "core/error.h"
#include "io/log/predictions.h"
#include "train/job.h"

typedef struct lk_run_record_epoch {
    int64_t epoch, update;             /* 1 for the first; updates done at its end */
    double train_loss, loss, macro_f1; /* the last two on validation; a loss that was not finite is NaN */
    double accuracy, lr;               /* on validation; of the last update */
    double seconds, images_per_second, peak_memory_mib;
    double data_wait; /* share of the seconds */
} lk_run_record_epoch;

typedef struct lk_run_record_update {
    int64_t update; /* 1 for the first */
    double lr, loss;
} lk_run_record_update;

typedef struct lk_run_record_class {
    char *name;
    int64_t support;
    double f1;
} lk_run_record_class;

typedef enum lk_best { LK_BEST_F1, LK_BEST_LOSS, LK_BEST_COUNT } lk_best;
const char *lk_best_name(lk_best best); /* "best_f1", "best_loss": names of checkpoints */
typedef enum lk_final_split { LK_FINAL_VALIDATION, LK_FINAL_TEST, LK_FINAL_SPLITS } lk_final_split;
const char *lk_final_split_name(lk_final_split split); /* "validation", "test" */

/* One evaluation after training: of a best checkpoint on a split. */
typedef struct lk_run_record_final {
    bool present;
    double loss, accuracy, macro_f1;
    int64_t samples;
    lk_run_record_class *classes; /* class_count */
    int class_count;
} lk_run_record_final;

typedef struct lk_run_record {
    char *folder, *name; /* name: last part of the folder's path */
    char *job_text;      /* job.yaml as it stands */
    lk_job job;
    bool has_job;                       /* job is filled */
    bool decided;                       /* predictions and figures are those of a decision layer: report/decided.h */
    bool finished;                      /* the evaluations after training are there */
    char *arithmetic;                   /* what computed it; NULL: unknown */
    int64_t ranks;                      /* of the last launch; 0: unknown */
    double last_written;                /* when metrics.jsonl was. Unit: seconds since 1970 */
    int64_t best_epochs[LK_BEST_COUNT]; /* where the bests were found; 0: none yet */
    lk_run_record_epoch *epochs;
    size_t epoch_count, epoch_capacity;
    lk_run_record_update *updates;
    size_t update_count, update_capacity;
    lk_run_record_final finals[LK_BEST_COUNT][LK_FINAL_SPLITS];
    lk_prediction_set predictions[LK_BEST_COUNT][LK_FINAL_SPLITS]; /* count 0: none */
} lk_run_record;

/* Reads job.yaml, metrics.jsonl and, where there is one, predictions.h5. A last line that is still being written is
 * left out. Owner: the caller, with lk_run_record_free. Errors: LK_ERR_IO; LK_ERR_CONFIG for a folder that is not a
 * run; LK_ERR_DATA for a damaged file; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_run_record_read(lk_run_record **out, const char *folder, lk_error *err);
void lk_run_record_free(lk_run_record *record);

/* "finished", "stopped or still going". Static. */
const char *lk_run_record_state(const lk_run_record *record);
/* Sum over epochs. Unit: seconds. */
double lk_run_record_seconds(const lk_run_record *record);

#endif
