/* Small pictures inside a page. */
#ifndef LK_REPORT_PICTURE_H
#define LK_REPORT_PICTURE_H

#include <stdio.h>

#include "io/image/image.h"

/* Pixels of the long side of a picture; images of at most LK_PICTURE_SMALL a side are shown as they are, enlarged. */
enum { LK_PICTURE_SIDE = 112, LK_PICTURE_SMALL = 64 };

/* One <img> with its JPEG inside and `alt` for readers who cannot see it. *bytes (may be NULL) grows by what was
 * written of the picture. Errors: LK_ERR_MEMORY; LK_ERR_DATA. */
LK_MUST_CHECK lk_status lk_picture_write(FILE *out, const lk_image *image, const char *alt, size_t *bytes,
                                         lk_error *err);

#endif
