/* The data set format's names and limits in one place; docs/formats.md describes it for users of h5py. */
#ifndef LK_IO_DATA_FORMAT_H
#define LK_IO_DATA_FORMAT_H

#include "io/data/dataset.h"

#define LK_FORMAT_NAME "lockstep-dataset"
#define LK_FORMAT_VERSION 1

#define LK_FORMAT_SEGMENT_BYTES (INT64_C(64) << 20)   /* a segment is closed before it would grow beyond this */
#define LK_FORMAT_SAMPLE_BYTES_MAX (INT64_C(1) << 30) /* one sample; a larger one would be one segment of its own */
#define LK_FORMAT_SEGMENTS_MAX 100000                 /* five digits */
#define LK_FORMAT_CLASSES_MAX 65536
#define LK_FORMAT_GROUPS_MAX INT32_MAX
#define LK_FORMAT_NAME_BYTES_MAX 255    /* class and group names */
#define LK_FORMAT_SOURCE_BYTES_MAX 4095 /* source paths */
#define LK_FORMAT_RULE_BYTES_MAX 4096   /* stored_rule */
#define LK_FORMAT_HASH_BYTES 16

/* The arrays of /index, in the order in which the index hash covers them. */
typedef enum lk_index_field {
    LK_INDEX_SEGMENT,
    LK_INDEX_OFFSET,
    LK_INDEX_LENGTH,
    LK_INDEX_LABEL,
    LK_INDEX_SPLIT,
    LK_INDEX_GROUP,
    LK_INDEX_WIDTH,
    LK_INDEX_HEIGHT,
    LK_INDEX_CHANNELS,
    LK_INDEX_ENCODING,
    LK_INDEX_HASH,
    LK_INDEX_SOURCE,
    LK_INDEX_FIELD_COUNT
} lk_index_field;

typedef enum lk_index_type { LK_INDEX_U8, LK_INDEX_I32, LK_INDEX_I64, LK_INDEX_BYTES16, LK_INDEX_TEXT } lk_index_type;

typedef struct lk_index_column {
    const char *path; /* "/index/offset" */
    lk_index_type type;
} lk_index_column;

/* Static. */
const lk_index_column *lk_index_get_column(lk_index_field field);
/* Bytes of one element; 0 for TEXT, whose width each file chooses. Pure. */
size_t lk_index_type_size(lk_index_type type);

#endif
