/* Files that appear whole or not at all: written to PATH.tmp.PID, synced, renamed over PATH (P11, P12). */
#ifndef LK_IO_MODEL_ATOMIC_H
#define LK_IO_MODEL_ATOMIC_H

#include <stdint.h>

#include "core/memory.h"

typedef struct lk_atomic_file {
    char *path, *temporary;
    int fd; /* of the temporary file, open for reading and writing; -1 when closed */
} lk_atomic_file;

/* Creates the temporary file. Owner: the caller; always ends with lk_atomic_discard, after success too.
 * Errors: LK_ERR_IO naming the path and the reason; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_atomic_create(lk_atomic_file *out, const char *path, lk_error *err);
/* Blocks: syncs the file, renames it over the path, syncs the folder. The path is as before on any error but that of
 * syncing the folder. Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_atomic_commit(lk_atomic_file *file, lk_error *err);
/* Closes; removes the temporary file unless it was committed; frees. A zeroed struct is accepted. */
void lk_atomic_discard(lk_atomic_file *file);

/* pwrite and pread of all bytes, going on after short transfers and EINTR. Errors: LK_ERR_IO by lk_fail_write;
 * reading past the end is LK_ERR_DATA "truncated". */
LK_MUST_CHECK lk_status lk_write_at(int fd, const void *data, size_t size, int64_t offset, const char *path,
                                    lk_error *err);
LK_MUST_CHECK lk_status lk_read_at(int fd, void *data, size_t size, int64_t offset, const char *path, lk_error *err);

/* The sentence for a write that failed with `code` (an errno): no space left, quota, file size limit, or another
 * reason; says that the earlier file is untouched. */
LK_MUST_CHECK lk_status lk_fail_write(lk_error *err, int code, const char *path);

#endif
