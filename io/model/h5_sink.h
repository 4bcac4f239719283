/* Writing HDF5 through an open file descriptor. The driver remembers the first write that failed and lets HDF5 go on,
 * so that the library closes its file in good order on a full disk; lk_h5_finish then tells the true reason. */
#ifndef LK_IO_MODEL_H5_SINK_H
#define LK_IO_MODEL_H5_SINK_H

#include <hdf5.h>

#include "core/tensor.h"

typedef struct lk_h5_sink {
    int fd;
    int code; /* errno of the first write that failed, or 0 */
    const char *path;
    hid_t file, driver;
} lk_h5_sink;

/* Starts a file in fd, after `user_block` bytes (0 or a power of two >= 512). Borrows fd and path until lk_h5_finish,
 * which must be called whatever fails between. Objects carry no times: equal content gives equal bytes.
 * Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_h5_start(lk_h5_sink *sink, int fd, const char *path, int64_t user_block, lk_error *err);
/* Writes a contiguous little-endian data set, making the groups in its name. *offset (may be NULL): absolute byte
 * offset of the data, 0 where there is none. Errors: LK_ERR_IO, LK_ERR_MEMORY, LK_ERR_INTERNAL (name taken). */
LK_MUST_CHECK lk_status lk_h5_tensor(lk_h5_sink *sink, const char *name, const lk_tensor *tensor, int64_t *offset,
                                     lk_error *err);
/* A scalar UTF-8 string data set of fixed length. */
LK_MUST_CHECK lk_status lk_h5_text(lk_h5_sink *sink, const char *name, const char *text, int64_t *offset,
                                   lk_error *err);
/* One-dimensional data set of variable-length UTF-8 strings. */
LK_MUST_CHECK lk_status lk_h5_strings(lk_h5_sink *sink, const char *name, const char *const *texts, int count,
                                      lk_error *err);
/* Closes. Errors: LK_ERR_IO with the sentence of lk_fail_write where any write failed. */
LK_MUST_CHECK lk_status lk_h5_finish(lk_h5_sink *sink, lk_error *err);

#endif
