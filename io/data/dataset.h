/* Packed data sets: one HDF5 file (docs/formats.md). HDF5 is touched by one thread at open; samples are then read with
 * pread from byte ranges by any number of threads, and no lock on the file is needed (P17). */
#ifndef LK_IO_DATA_DATASET_H
#define LK_IO_DATA_DATASET_H

#include "io/image/image.h"

typedef enum lk_split { LK_SPLIT_TRAIN, LK_SPLIT_VALIDATION, LK_SPLIT_TEST, LK_SPLIT_PREDICT, LK_SPLIT_COUNT } lk_split;
const char *lk_split_name(lk_split split); /* "train", "validation", "test", "predict" */
/* Also accepts "val", "valid", "training", "testing". Errors: LK_ERR_DATA with the names that are known. */
LK_MUST_CHECK lk_status lk_split_parse(lk_split *out, const char *text, lk_error *err);

typedef struct lk_sample_info {
    int64_t offset;        /* absolute byte offset in the file */
    int64_t length;        /* bytes */
    uint64_t hash[2];      /* XXH3-128 of the bytes */
    int32_t width, height; /* as displayed */
    int32_t label;         /* -1: none */
    int32_t group;         /* -1: none */
    uint8_t encoding;      /* lk_encoding */
    uint8_t channels;
    uint8_t split; /* lk_split */
} lk_sample_info;

typedef struct lk_dataset {
    char *path;
    int64_t count;
    lk_sample_info *samples; /* count */
    int class_count;
    char **class_names; /* order frozen (P4) */
    char **sources;     /* count: path of each sample when it was packed, relative to the source folder */
    int group_count;
    char **group_names; /* what a sample's group stands for, e.g. a person; samples of one group share a split (P18) */
    int64_t split_count[LK_SPLIT_COUNT];
    uint64_t hash[2];  /* of the index: identifies the data set in checkpoints */
    char *stored_rule; /* JSON of what packing did to the pixels, "" when the bytes are untouched */
    int fd;
    char *text; /* owner of what class_names, group_names and sources point into */
} lk_dataset;

/* Not Collective: every rank opens for itself. Owner: the caller, with lk_dataset_free.
 * Errors: LK_ERR_IO; LK_ERR_DATA for a file that is not a data set, is truncated, has a newer format, or an index that
 * points outside the file. */
LK_MUST_CHECK lk_status lk_dataset_open(lk_dataset **out, const char *path, lk_error *err);
void lk_dataset_free(lk_dataset *dataset);

/* Reads sample i into buffer (at least samples[i].length bytes) and checks its hash. Any thread.
 * Errors: LK_ERR_IO; LK_ERR_DATA naming the sample's source path when the hash differs. */
LK_MUST_CHECK lk_status lk_dataset_read(const lk_dataset *dataset, int64_t i, uint8_t *buffer, lk_error *err);

/* Indices of a split's samples in file order. Owner of *indices: the caller, with lk_free. */
LK_MUST_CHECK lk_status lk_dataset_split(const lk_dataset *dataset, lk_split split, int64_t **indices, int64_t *count,
                                         lk_error *err);

#endif
