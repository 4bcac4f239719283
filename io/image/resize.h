/* Resizing equal to Pillow 13's antialiased bilinear and bicubic, to the last bit on uint8. (Pillow 12 and older differ
 * by a level or two where the height shrinks by more than twice as many pixels as the width.) */
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

/* A part of what Image.resize would give. */
typedef struct lk_resize_spec {
    int32_t in_width, in_height; /* of the image that is resized; taps never reach outside it */
    lk_box box;                  /* of that image */
    int32_t width, height;       /* of the whole result */
    lk_rect window;              /* the part of the result that is made */
    bool flip;                   /* the window comes out mirrored left to right */
    lk_interpolation interpolation;
} lk_resize_spec;

/* Computes the coefficient tables of a window; *needed is the part of the input that lk_resizer_run will read.
 * Errors: LK_ERR_DATA for an empty or outlying box; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_resizer_plan(lk_resizer *resizer, const lk_resize_spec *spec, lk_rect *needed,
                                        lk_error *err);
/* Makes the window of the last plan. pixels: of `needed`, channels (1 or 3) bytes a pixel, `stride` bytes a row.
 * Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_resizer_run(lk_resizer *resizer, const uint8_t *pixels, size_t stride, int channels,
                                       uint8_t *dst, size_t dst_stride, lk_error *err);

/* Resizes the box of `in` (NULL: all of it) to width x height at dst, H x W x C with `dst_stride` bytes a row.
 * Source: Pillow, Image.resize. Errors: LK_ERR_DATA for an empty or outlying box; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_resize(lk_resizer *resizer, const lk_image *in, const lk_box *box, int32_t width,
                                  int32_t height, lk_interpolation interpolation, uint8_t *dst, size_t dst_stride,
                                  lk_error *err);

#endif
