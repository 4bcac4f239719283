/* The payload of a data set: arrays /data/00000, /data/00001, ... and where in the file they lie. */
#ifndef LK_IO_DATA_SEGMENTS_H
#define LK_IO_DATA_SEGMENTS_H

#include "io/data/hdf5_file.h"

typedef struct lk_segment_table {
    lk_hdf5_range *ranges; /* count */
    size_t capacity;
    int32_t count;
} lk_segment_table;

/* Locates all segments. Owner: the caller, with lk_segment_table_free, also after an error. Errors: LK_ERR_DATA. */
LK_MUST_CHECK lk_status lk_segment_table_read(lk_segment_table *table, hid_t file, int64_t file_bytes, const char *path,
                                              lk_error *err);
void lk_segment_table_free(lk_segment_table *table); /* frees the content, not the struct */

/* Turns info->offset from relative to segment into absolute. Returns what is wrong with the range, or NULL. */
const char *lk_segment_resolve(const lk_segment_table *table, int32_t segment, lk_sample_info *info);

#endif
