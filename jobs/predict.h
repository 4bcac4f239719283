/* Parts of `lockstep predict`; shared by jobs/predict*.c only. */
#ifndef LK_JOBS_PREDICT_H
#define LK_JOBS_PREDICT_H

#include <stdio.h>

#include "io/data/dataset.h"
#include "train/meta.h"

/* Inputs. */

typedef struct lk_predict_item {
    const char *name; /* column "path" */
    char *owned_name; /* where `name` is not borrowed from a data set */
    char *file;       /* to open; NULL for a sample of a data set */
    const lk_dataset *dataset;
    int64_t sample;
} lk_predict_item;

typedef struct lk_predict_inputs {
    lk_predict_item *items; /* in the order of the command line; folders sorted bytewise */
    int64_t count;
    size_t capacity;
    lk_dataset **datasets; /* owned */
    int dataset_count;
    size_t dataset_capacity;
    int64_t ignored; /* files of folders whose names are not those of images */
} lk_predict_inputs;

typedef struct lk_predict_rules {
    const char *path_column; /* CSV */
    const char *images;      /* CSV: folder that relative paths start from; NULL: that of the CSV file */
    int split;               /* data sets: lk_split, or -1 for all samples */
} lk_predict_rules;

/* Adds an image, a folder (recursively), a CSV list or a data set. Errors: LK_ERR_IO, LK_ERR_DATA (a folder or a split
 * without images among them), LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_predict_inputs_add(lk_predict_inputs *inputs, const char *path,
                                              const lk_predict_rules *rules, lk_error *err);
void lk_predict_inputs_free(lk_predict_inputs *inputs); /* the content, not the struct */

/* Decoding, one batch ahead of the arithmetic. */

typedef struct lk_predict_batch {
    int64_t first, rows; /* items */
    uint8_t *images;     /* rows x H x W x C; zeros where the status is not LK_OK */
    lk_error *errors;    /* rows */
} lk_predict_batch;

typedef struct lk_predict_reader lk_predict_reader;

/* inputs and preprocess are borrowed. threads >= 1. Owner: the caller, with lk_predict_reader_free. */
LK_MUST_CHECK lk_status lk_predict_reader_create(lk_predict_reader **out, const lk_predict_inputs *inputs,
                                                 const lk_preprocess *preprocess, int64_t batch, int threads,
                                                 lk_error *err);
void lk_predict_reader_free(lk_predict_reader *reader);
/* Waits for the next batch; valid until the call after the next one. rows 0: no more. Errors: LK_ERR_MEMORY; those of
 * samples are in the batch. */
LK_MUST_CHECK lk_status lk_predict_reader_next(lk_predict_reader *reader, lk_predict_batch *out, lk_error *err);

/* Columns. */

typedef enum lk_predict_column_kind {
    LK_COLUMN_PATH,
    LK_COLUMN_LABEL,         /* class name that the data set holds; empty where there is none */
    LK_COLUMN_CLASS,         /* name of the rank-th class */
    LK_COLUMN_PROBABILITY,   /* of the rank-th class */
    LK_COLUMN_INDEX,         /* of the rank-th class in the model's order */
    LK_COLUMN_PROBABILITIES, /* one column a class */
    LK_COLUMN_KIND_COUNT
} lk_predict_column_kind;

enum { LK_PREDICT_MAX_COLUMNS = 256 };

typedef struct lk_predict_column {
    lk_predict_column_kind kind;
    int rank; /* from 1 */
    char heading[128];
} lk_predict_column;

typedef struct lk_predict_columns {
    lk_predict_column columns[LK_PREDICT_MAX_COLUMNS];
    int count;
    int best; /* largest rank */
} lk_predict_columns;

/* text: "path=file,class,probability,class_2", or NULL for path, class, probability and those of ranks up to topk.
 * Errors: LK_ERR_USAGE: unknown column (nearest name), ranks above the number of classes, topk > 1 beside text. */
LK_MUST_CHECK lk_status lk_predict_columns_parse(lk_predict_columns *out, const char *text, int64_t topk, int classes,
                                                 lk_error *err);
void lk_predict_columns_print_heading(const lk_predict_columns *columns, const lk_meta *meta, FILE *out);
/* order: the classes by falling probability, columns->best of them; probabilities: class_count. */
void lk_predict_columns_print_row(const lk_predict_columns *columns, const lk_meta *meta, const lk_predict_item *item,
                                  const int *order, const double *probabilities, FILE *out);

#endif
