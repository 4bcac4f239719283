/* The only caller of libhdf5 in io/data: turns its error codes into sentences, and refuses every part of HDF5 that a
 * data set never uses (links that leave the file, filters, virtual and external storage). One thread at a time. */
#ifndef LK_IO_DATA_HDF5_FILE_H
#define LK_IO_DATA_HDF5_FILE_H

#include <hdf5.h>

#include "io/data/format.h"
#include "io/hdf5/quiet.h"

/* Fills *err from HDF5's error stack, which the next call of HDF5 clears: "cannot WHAT PATH: REASON". Returns LK_ERR_IO
 * where the operating system gave a reason, else LK_ERR_DATA. */
LK_MUST_CHECK lk_status lk_hdf5_fail(const char *what, const char *path, lk_error *err);

/* Where the bytes of a stored array lie. */
typedef struct lk_hdf5_range {
    int64_t offset; /* absolute, in bytes */
    int64_t count;  /* elements (rows of BYTES16) */
    int64_t size;   /* bytes of one element */
} lk_hdf5_range;

/* Opens for reading without a lock on the file (P17). *fd: a descriptor of the same open file. Owner: the caller, with
 * H5Fclose and close. Errors: LK_ERR_IO; LK_ERR_DATA when it is not HDF5, is truncated or damaged. */
LK_MUST_CHECK lk_status lk_hdf5_open(hid_t *file, int *fd, int64_t *file_bytes, const char *path, lk_error *err);

/* Finds a contiguous array of the given type and checks that its bytes lie inside the file. *exists false (instead of
 * an error) when `exists` is not NULL and there is no such name. Errors: LK_ERR_DATA naming path and array. */
LK_MUST_CHECK lk_status lk_hdf5_locate(lk_hdf5_range *out, bool *exists, hid_t file, const char *name,
                                       lk_index_type type, int64_t file_bytes, const char *path, lk_error *err);

/* Reads a fixed-length string attribute of the root. Owner of *text: the caller, with lk_free.
 * Errors: LK_ERR_DATA: absent, another type, longer than `limit`. */
LK_MUST_CHECK lk_status lk_hdf5_get_text(char **text, hid_t file, const char *name, size_t limit, const char *path,
                                         lk_error *err);
/* Reads an integer attribute of the root. Errors: LK_ERR_DATA. */
LK_MUST_CHECK lk_status lk_hdf5_get_int(int64_t *out, hid_t file, const char *name, const char *path, lk_error *err);

/* Creates an empty file for writing over `path`, which exists; messages call it `shown`. Owner: the caller, with
 * H5Fclose. Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_hdf5_create(hid_t *file, const char *path, const char *shown, lk_error *err);
/* Writes a whole array: count elements of `type`; width: bytes of a TEXT element. Parent groups must exist.
 * names: for integer codes, what 0, 1, ... mean, as the attribute "names" (NULL: none). Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_hdf5_write(hid_t file, const char *name, lk_index_type type, int64_t count, size_t width,
                                      const void *data, const char *const *names, int name_count, const char *path,
                                      lk_error *err);
LK_MUST_CHECK lk_status lk_hdf5_make_group(hid_t file, const char *name, const char *path, lk_error *err);
LK_MUST_CHECK lk_status lk_hdf5_put_text(hid_t file, const char *name, const char *text, const char *path,
                                         lk_error *err);
LK_MUST_CHECK lk_status lk_hdf5_put_int(hid_t file, const char *name, int32_t value, const char *path, lk_error *err);

#endif
