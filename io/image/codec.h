/* Inside io/image: one pair of functions per encoding, EXIF orientation, and pixel conversion. */
#ifndef LK_IO_IMAGE_CODEC_H
#define LK_IO_IMAGE_CODEC_H

#include "io/image/image.h"

/* Fails with LK_ERR_DATA when a header promises more than LK_IMAGE_MAX_SIDE or LK_IMAGE_MAX_PIXELS, or nothing. */
LK_MUST_CHECK lk_status lk_image_check_size(int64_t width, int64_t height, lk_error *err);

/* Each *_open fills width and height as stored, channels and orientation. */

typedef struct lk_jpeg lk_jpeg;
LK_MUST_CHECK lk_status lk_jpeg_create(lk_jpeg **out, lk_error *err);
void lk_jpeg_free(lk_jpeg *jpeg);
LK_MUST_CHECK lk_status lk_jpeg_open(lk_jpeg *jpeg, const uint8_t *bytes, size_t size, lk_image_info *info,
                                     lk_error *err);
void lk_jpeg_scale(lk_jpeg *jpeg, int32_t min_width, int32_t min_height, int32_t *width, int32_t *height);
LK_MUST_CHECK lk_status lk_jpeg_read(lk_jpeg *jpeg, lk_image *out, int channels, const lk_rect *want, lk_rect *got,
                                     lk_error *err);
LK_MUST_CHECK lk_status lk_jpeg_finish(lk_jpeg *jpeg, lk_error *err);

LK_MUST_CHECK lk_status lk_png_open(const uint8_t *bytes, size_t size, lk_image_info *info, lk_error *err);
/* raw: scratch for undecoded samples, any content. */
LK_MUST_CHECK lk_status lk_png_read(const uint8_t *bytes, size_t size, lk_image *out, int channels, lk_image *raw,
                                    lk_error *err);

LK_MUST_CHECK lk_status lk_webp_open(const uint8_t *bytes, size_t size, lk_image_info *info, lk_error *err);
LK_MUST_CHECK lk_status lk_webp_read(const uint8_t *bytes, size_t size, lk_image *out, int channels, lk_image *raw,
                                     lk_error *err);

/* Orientation 1..8 out of an EXIF block (a TIFF file, with or without "Exif\0\0" before it); 0 when it holds none.
 * whole: bytes of the block when only its first `size` are at hand. */
int lk_exif_orientation(const uint8_t *exif, size_t size, size_t whole);
/* The same out of an XMP packet. */
int lk_xmp_orientation(const uint8_t *xmp, size_t size);
/* Orientation 5..8 swap width and height. */
static inline bool lk_orientation_swaps(int orientation) { return orientation >= 5; }
/* Turns stored pixels into displayed ones. Source: PIL.ImageOps.exif_transpose. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_orient_image(lk_image *out, const lk_image *in, int orientation, lk_error *err);
/* Stored rectangle of a displayed one, and the other way round; width, height: of the image that `rect` lies in. */
lk_rect lk_orient_to_stored(lk_rect rect, int orientation, int32_t width, int32_t height);
lk_rect lk_orient_to_displayed(lk_rect rect, int orientation, int32_t width, int32_t height);

/* Pillow's convert("L") of one RGB pixel (ITU-R 601-2 luma in 16-bit fixed point). */
static inline uint8_t lk_luma(uint32_t r, uint32_t g, uint32_t b) {
    return (uint8_t)((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}
/* `count` pixels between 1 and 3 channels; in and out may not overlap unless equal with channels shrinking. */
void lk_convert_channels(uint8_t *out, int out_channels, const uint8_t *in, int in_channels, size_t count);

#endif
