/* What is scanned: a packed data set, or the images that pack would take from a folder or a CSV file. */
#ifndef LK_IO_SCAN_SOURCE_H
#define LK_IO_SCAN_SOURCE_H

#include "io/data/pack_items.h"

typedef struct lk_scan_source {
    char *path;
    lk_dataset *dataset; /* NULL: items, whose paths start at root */
    lk_pack_items items;
    char *root;
    lk_pack_report report; /* notes on the source */
    int64_t count;
    int class_count;
    char **class_names; /* borrowed from dataset or items */
} lk_scan_source;

/* path: a data set, a folder of images or a .csv file; options: columns and the folder of a CSV file's images, as for
 * lk_pack_csv. Owner: the caller, with lk_scan_source_close (the content). Errors: as lk_dataset_open, lk_pack_folder
 * and lk_pack_csv; LK_ERR_DATA for more samples than can be scanned; LK_ERR_UNSUPPORTED for IDX files. */
LK_MUST_CHECK lk_status lk_scan_source_open(lk_scan_source *out, const char *path, const lk_pack_options *options,
                                            lk_error *err);
void lk_scan_source_close(lk_scan_source *source);

/* Path as packed, or below root. Borrowed. */
const char *lk_scan_source_name(const lk_scan_source *source, int64_t i);
int32_t lk_scan_source_label(const lk_scan_source *source, int64_t i); /* -1: none */
lk_split lk_scan_source_split(const lk_scan_source *source, int64_t i);
/* Name of class k; "no label" for -1. Borrowed. */
const char *lk_scan_source_class(const lk_scan_source *source, int32_t k);

/* What one thread reads samples with. */
typedef struct lk_scan_reader {
    lk_decoder *decoder;
    uint8_t *bytes; /* of the last sample */
    size_t capacity;
    int64_t length;
    lk_image image;
} lk_scan_reader;
LK_MUST_CHECK lk_status lk_scan_reader_init(lk_scan_reader *reader, lk_error *err);
void lk_scan_reader_free(lk_scan_reader *reader); /* frees the content, not the struct */

/* Reads sample i, whole, into reader->bytes and decodes it as RGB (or grey where the sample is) into reader->image.
 * least: 0 for all pixels; else JPEG's scaled decoding may give a smaller image, no side below it. *info: size before
 * scaling; may be NULL. Any thread with its own reader. Errors, with the reason alone: LK_ERR_DATA and LK_ERR_IO (an
 * unreadable sample), LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_scan_source_decode(const lk_scan_source *source, int64_t i, int32_t least,
                                              lk_scan_reader *reader, lk_image_info *info, lk_error *err);

#endif
