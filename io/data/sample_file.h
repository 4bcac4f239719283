/* An image file as bytes, before it is part of a data set. */
#ifndef LK_IO_DATA_SAMPLE_FILE_H
#define LK_IO_DATA_SAMPLE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Reads root/source (source alone when it is absolute) into *bytes, which grows as lk_grow does and is used again.
 * Any thread. Errors, without the path: LK_ERR_IO; LK_ERR_DATA for what is no regular file, is empty or larger than a
 * sample may be; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_sample_file_read(uint8_t **bytes, size_t *capacity, int64_t *length, const char *root,
                                            const char *source, lk_error *err);

#endif
