/* The 512-byte block in front of a checkpoint's HDF5 part (docs/formats.md), shared by writer and reader. */
#ifndef LK_IO_MODEL_CHECKPOINT_FORMAT_H
#define LK_IO_MODEL_CHECKPOINT_FORMAT_H

#include "io/model/checkpoint.h"

#define LK_CHECKPOINT_BLOCK 512
#define LK_CHECKPOINT_VERSION 1
#define LK_CHECKPOINT_MAX_TENSORS 100000
#define LK_CHECKPOINT_MAX_TEXTS 1000
#define LK_CHECKPOINT_MAX_INDEX (INT64_C(64) << 20) /* bytes */
#define LK_CHECKPOINT_MAX_NAME 255                  /* bytes */

typedef struct lk_checkpoint_block {
    int64_t length;                     /* bytes after the block */
    unsigned char hash[16];             /* XXH3-128 of them, canonical (big-endian) */
    int64_t index_offset, index_length; /* of the JSON index, absolute */
} lk_checkpoint_block;

void lk_checkpoint_block_write(unsigned char bytes[LK_CHECKPOINT_BLOCK], const lk_checkpoint_block *block);
/* Errors: LK_ERR_DATA: not a checkpoint, newer version, damaged. */
LK_MUST_CHECK lk_status lk_checkpoint_block_read(lk_checkpoint_block *out,
                                                 const unsigned char bytes[LK_CHECKPOINT_BLOCK], const char *path,
                                                 lk_error *err);

/* XXH3-128 of the bytes from the block's end to `end`. Errors: LK_ERR_IO, LK_ERR_DATA, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_checkpoint_hash(unsigned char hash[16], int fd, int64_t end, const char *path,
                                           lk_error *err);

/* Opens and checks a file that is open already; takes fd over, on failure too. */
LK_MUST_CHECK lk_status lk_checkpoint_open_fd(lk_checkpoint **out, int fd, const char *path, lk_error *err);

/* Byte offset of tensor i in the file, and the descriptor, for the writer's comparison. */
int64_t lk_checkpoint_offset(const lk_checkpoint *checkpoint, const char *name, int *fd);

#endif
