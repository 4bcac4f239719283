/* Resizing equal to Pillow's antialiased bilinear and bicubic, to the last bit on uint8. */
#ifndef LK_IO_IMAGE_RESIZE_H
#define LK_IO_IMAGE_RESIZE_H

#include "io/image/image.h"

typedef enum lk_interpolation { LK_BILINEAR, LK_BICUBIC, LK_INTERPOLATION_COUNT } lk_interpolation;
const char *lk_interpolation_name(lk_interpolation interpolation);

typedef struct lk_box {
    double x0, y0, x1, y1;
} lk_box; /* source region in pixels, as Pillow's resize(box=) */

typedef struct lk_resizer lk_resizer; /* coefficient tables and scratch, one per thread */
LK_MUST_CHECK lk_status lk_resizer_create(lk_resizer **out, lk_error *err);
void lk_resizer_free(lk_resizer *resizer);

/* Resizes the box of `in` (NULL: all of it) to width x height at dst, H x W x C with `dst_stride` bytes a row.
 * Source: Pillow, Image.resize. Errors: LK_ERR_DATA for an empty or outlying box; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_resize(lk_resizer *resizer, const lk_image *in, const lk_box *box, int32_t width,
                                  int32_t height, lk_interpolation interpolation, uint8_t *dst, size_t dst_stride,
                                  lk_error *err);

#endif
