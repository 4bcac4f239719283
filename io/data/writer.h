/* Writes a data set, sample by sample: memory holds one segment of payload and the index, never the whole set. */
#ifndef LK_IO_DATA_WRITER_H
#define LK_IO_DATA_WRITER_H

#include "io/data/dataset.h"

typedef struct lk_dataset_writer lk_dataset_writer;

typedef struct lk_writer_config {
    const char *const *class_names; /* class_count, order kept (P4); copied by finish, borrowed until then */
    int class_count;
    const char *const *group_names; /* group_count; as class_names */
    int group_count;
    const char *stored_rule; /* JSON, "" or NULL when the bytes are untouched; borrowed until finish */
    bool overwrite;          /* may `path` be replaced? */
} lk_writer_config;

/* Starts PATH.tmp.PID beside `path`. Owner: the caller, with lk_dataset_writer_free.
 * Errors: LK_ERR_IO (exists and overwrite is false; folder missing or not writable), LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_dataset_writer_create(lk_dataset_writer **out, const char *path,
                                                 const lk_writer_config *config, lk_error *err);

/* Appends a sample: `info` says all but the offset; info->hash is that of `bytes` (lk_bytes_hash).
 * Errors: LK_ERR_IO (disk full: says so), LK_ERR_DATA (a limit of the format), LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_dataset_writer_append(lk_dataset_writer *writer, const lk_sample_info *info,
                                                 const char *source, const uint8_t *bytes, lk_error *err);

/* Writes the index, checks that the file opens, fsyncs, renames it over `path`. After an error `path` is as it was.
 * Errors: LK_ERR_IO; LK_ERR_DATA when there is no sample. */
LK_MUST_CHECK lk_status lk_dataset_writer_finish(lk_dataset_writer *writer, lk_error *err);

/* Removes the temporary file when finish did not succeed. NULL is accepted. */
void lk_dataset_writer_free(lk_dataset_writer *writer);

/* XXH3-128; hash[0] is the high half, so that "%016lx%016lx" is the canonical text. Pure. */
void lk_bytes_hash(const uint8_t *bytes, int64_t length, uint64_t hash[2]);

#endif
