/* Files of the IDX format, plain or compressed with gzip, as MNIST is distributed. */
#ifndef LK_IO_DATA_IDX_H
#define LK_IO_DATA_IDX_H

#include <stdint.h>

#include "core/error.h"

typedef struct lk_idx lk_idx;

/* Opens a file of unsigned bytes with `rank` dimensions and reads its header. Owner: the caller, with lk_idx_free.
 * Errors: LK_ERR_IO; LK_ERR_DATA (another type or rank, impossible dimensions). */
LK_MUST_CHECK lk_status lk_idx_open(lk_idx **out, const char *path, int rank, lk_error *err);
void lk_idx_free(lk_idx *idx);
/* dims[0]: entries; then what one entry is made of. Borrowed. */
const int32_t *lk_idx_dims(const lk_idx *idx);
/* Reads the next `bytes` bytes. Errors: LK_ERR_DATA when the file ends before, or gzip's checksum differs. */
LK_MUST_CHECK lk_status lk_idx_read(lk_idx *idx, uint8_t *buffer, int64_t bytes, lk_error *err);
/* Checks that nothing follows. Errors: LK_ERR_DATA. */
LK_MUST_CHECK lk_status lk_idx_end(lk_idx *idx, lk_error *err);

#endif
