/* Checkpoints: one HDF5 file of named tensors and named texts, hashed, written once, never reopened for writing (P11).
 * The first 512 bytes are an HDF5 user block with "LKCKPT01", the format version, the length and XXH3-128 of all that
 * follows, and the place of an index of names, shapes and byte ranges. Other programs read the file by HDF5; this one
 * reads it by the index, so that a hostile file never reaches the HDF5 parser. io knows names and tensors; src/train
 * says which. */
#ifndef LK_IO_MODEL_CHECKPOINT_H
#define LK_IO_MODEL_CHECKPOINT_H

#include "core/tensor.h"

/* A data set "/group/name": unfiltered, contiguous, little-endian. */
typedef struct lk_named_tensor {
    const char *name; /* "/model/layer1.0.conv1.weight" */
    lk_tensor tensor;
} lk_named_tensor;

/* UTF-8 text of any length, e.g. "meta" (JSON, P24), "job" (YAML), "state" (JSON): a scalar string data set
 * "/text/NAME". */
typedef struct lk_named_text {
    const char *name;
    const char *text;
} lk_named_text;

/* Writes to PATH.tmp.PID, reads it back and checks the hash, fsyncs file and folder, renames over PATH. On any error
 * the temporary file is removed and PATH is as before (P11, P12). Errors: LK_ERR_IO naming the path and the reason (no
 * space: says so), LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_checkpoint_write(const char *path, const lk_named_tensor *tensors, int tensor_count,
                                            const lk_named_text *texts, int text_count, lk_error *err);

typedef struct lk_checkpoint lk_checkpoint;

/* Checks the hash of the whole file, then reads names and shapes. Owner: the caller, with lk_checkpoint_free.
 * Errors: LK_ERR_IO; LK_ERR_DATA (not a checkpoint, truncated, hash differs, newer version, an index that points
 * outside the file). */
LK_MUST_CHECK lk_status lk_checkpoint_open(lk_checkpoint **out, const char *path, lk_error *err);
void lk_checkpoint_free(lk_checkpoint *checkpoint);

int lk_checkpoint_count(const lk_checkpoint *checkpoint);
/* Name, dtype and shape of tensor i; data is NULL. Borrowed. Sorted by name. */
const lk_named_tensor *lk_checkpoint_get(const lk_checkpoint *checkpoint, int i);
/* NULL when there is none. Borrowed. */
const lk_named_tensor *lk_checkpoint_find(const lk_checkpoint *checkpoint, const char *name);
const char *lk_checkpoint_text(const lk_checkpoint *checkpoint, const char *name);
/* Reads a tensor's data; dtype and shape must equal the stored ones. Errors: LK_ERR_DATA naming path, name and both
 * shapes. */
LK_MUST_CHECK lk_status lk_checkpoint_read(lk_checkpoint *checkpoint, const char *name, lk_dtype dtype,
                                           const lk_shape *shape, void *data, lk_error *err);

/* Removes what killed processes left in a folder: files NAME.tmp.PID whose process is gone. Only for a folder that no
 * other process is writing to (a run's). *removed (may be NULL): how many. Errors: LK_ERR_IO, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_temporaries_remove(const char *folder, int *removed, lk_error *err);

/* Points link PATH (in the same folder) at file NAME, atomically (a relative symbolic link, renamed into place). */
LK_MUST_CHECK lk_status lk_link_replace(const char *path, const char *name, lk_error *err);
/* Writes a small text file atomically: temporary name, fsync, rename. */
LK_MUST_CHECK lk_status lk_text_write(const char *path, const char *text, lk_error *err);

#endif
