#include "io/data/segments.h"

#include <stdio.h>

#include "core/memory.h"

lk_status lk_segment_table_read(lk_segment_table *table, hid_t file, int64_t file_bytes, const char *path,
                                lk_error *err) {
    for (int32_t i = 0; i < LK_FORMAT_SEGMENTS_MAX; i++) {
        char name[32];
        lk_hdf5_range range;
        bool exists = true;
        snprintf(name, sizeof name, "/data/%05d", (int)i);
        /* The first must be there; the first missing one after it ends the list. */
        LK_RETURN_IF(lk_hdf5_locate(&range, i == 0 ? NULL : &exists, file, name, LK_INDEX_U8, file_bytes, path, err));
        if (!exists) break;
        LK_RETURN_IF(lk_grow((void **)&table->ranges, &table->capacity, (size_t)i + 1, sizeof range,
                             "the segments of a data set", err));
        table->ranges[i] = range;
        table->count = i + 1;
    }
    return LK_OK;
}

void lk_segment_table_free(lk_segment_table *table) {
    lk_free(table->ranges);
    *table = (lk_segment_table){0};
}

const char *lk_segment_resolve(const lk_segment_table *table, int32_t segment, lk_sample_info *info) {
    if (segment < 0 || segment >= table->count) return "lies in a segment that does not exist";
    const lk_hdf5_range *range = &table->ranges[segment];
    if (info->length < 1 || info->length > LK_FORMAT_SAMPLE_BYTES_MAX) return "has an impossible length";
    if (info->offset < 0 || info->offset > range->count - info->length) return "points outside its segment";
    info->offset += range->offset;
    return NULL;
}
