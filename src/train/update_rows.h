/* The work of one update, row by row: every launch of the microbatches' calls and what follows them, with the time that
 * a GPU of a known kind is predicted to take. Predicted, never measured. */
#ifndef LK_TRAIN_UPDATE_ROWS_H
#define LK_TRAIN_UPDATE_ROWS_H

#include "nn/cost.h"
#include "nn/plan.h"
#include "train/job.h"

typedef enum lk_update_stage {
    LK_STAGE_FORWARD,
    LK_STAGE_BACKWARD,
    LK_STAGE_SUM,  /* of microbatches */
    LK_STAGE_NORM, /* of the gradient */
    LK_STAGE_OPTIMIZER,
    LK_STAGE_AVERAGE,    /* of the parameters */
    LK_STAGE_REFRESH,    /* of the copies of the parameters */
    LK_STAGE_STATISTICS, /* running, of BatchNorm */
    LK_STAGE_COUNT
} lk_update_stage;

/* "forward", "gradient sum", ...; static. */
const char *lk_update_stage_name(lk_update_stage stage);

/* Work that is done `times` times in an update. Unit of bytes, flops, launches: one time; of seconds: all times. */
typedef struct lk_update_row {
    lk_update_stage stage;
    lk_plan_call call; /* of forward and backward, of one of its launches where they are listed; else texts and counts
                          alone */
    bool continues;    /* a further launch of the call of the row before; its operand_bytes stand there */
    int64_t times;
    double seconds; /* 0 where the kind of GPU is not known */
} lk_update_row;

typedef struct lk_update_rows {
    lk_update_row *rows;
    int count;
    size_t capacity;
} lk_update_rows;

typedef struct lk_update_config {
    const lk_job *job;
    const lk_plan *plan; /* of a training microbatch; texts are borrowed from it */
    int leaves;          /* microbatches of an update */
    int ranks;           /* that share them evenly */
    const lk_cost *cost; /* NULL: no seconds */
} lk_update_config;

/* Owner: the caller, with lk_update_rows_free (the content, not the struct). Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_update_rows_create(lk_update_rows *rows, const lk_update_config *config, lk_error *err);
void lk_update_rows_free(lk_update_rows *rows);

/* Seconds of one stage, and of all with LK_STAGE_COUNT. Pure. */
double lk_update_seconds(const lk_update_rows *rows, lk_update_stage stage);

/* Seconds of an update on these ranks, the exchange between them included. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_update_predict(double *seconds, const lk_update_config *config, lk_error *err);

#endif
