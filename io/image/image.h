/* Decoding of JPEG, PNG and WebP to 8-bit pixels as Pillow's exif_transpose and convert("RGB") (or "L") give them.
 * Every byte is hostile. */
#ifndef LK_IO_IMAGE_IMAGE_H
#define LK_IO_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum lk_encoding {
    LK_ENCODING_RAW,
    LK_ENCODING_JPEG,
    LK_ENCODING_PNG,
    LK_ENCODING_WEBP,
    LK_ENCODING_COUNT
} lk_encoding;
/* "raw", "jpeg", "png", "webp"; static. */
const char *lk_encoding_name(lk_encoding encoding);

#define LK_IMAGE_MAX_SIDE 65500
#define LK_IMAGE_MAX_PIXELS (INT64_C(1) << 28)

/* Row-major H x W x C uint8, no padding between rows. Owner: whoever holds it, with lk_image_free; `capacity` bytes are
 * kept and used again by the next decode into the same struct. */
typedef struct lk_image {
    uint8_t *pixels;
    int32_t width, height, channels; /* channels 1 or 3 */
    size_t capacity;
} lk_image;
void lk_image_free(lk_image *image); /* frees the pixels, not the struct; NULL is accepted */
/* Makes room for width x height x channels. Errors: LK_ERR_DATA above the limits, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_image_reserve(lk_image *image, int64_t width, int64_t height, int channels, lk_error *err);

typedef struct lk_image_info {
    lk_encoding encoding;
    int32_t width, height; /* as displayed: after EXIF orientation */
    int channels;          /* 1 for a grey image without colour or alpha, else 3 */
    int orientation;       /* EXIF, 1..8 */
} lk_image_info;

/* Reads the header only. Errors: LK_ERR_DATA with the reason, without the path (the caller adds it). */
LK_MUST_CHECK lk_status lk_image_probe(lk_image_info *out, const uint8_t *bytes, size_t size, lk_error *err);

typedef struct lk_decoder lk_decoder; /* library handles and scratch, one per thread */
LK_MUST_CHECK lk_status lk_decoder_create(lk_decoder **out, lk_error *err);
void lk_decoder_free(lk_decoder *decoder);

/* Decodes, applies EXIF orientation, converts to `channels` (3: RGB; 1: Pillow's "L").
 * min_width, min_height: 0 for exact; otherwise JPEG's scaled decoding may give a smaller image, never below them
 * (decode: scaled). Truncated or corrupt data is an error, never a partly grey image. Errors: LK_ERR_DATA with the
 * reason; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_image_decode(lk_decoder *decoder, lk_image *out, const uint8_t *bytes, size_t size,
                                        int channels, int32_t min_width, int32_t min_height, lk_error *err);

/* Part of an image, in whole pixels. */
typedef struct lk_rect {
    int32_t x, y, width, height;
} lk_rect;

/* The same in steps, for callers that need only a part. `bytes` is borrowed until the next lk_decoder_open; any failing
 * step ends the decoding. Nothing but headers is read here. Errors: as lk_image_probe. */
LK_MUST_CHECK lk_status lk_decoder_open(lk_decoder *decoder, const uint8_t *bytes, size_t size, lk_image_info *info,
                                        lk_error *err);
/* Picks the smallest of JPEG's scales 1, 1/2, 1/4, 1/8 whose result is at least min_width x min_height (as displayed),
 * and gives the displayed size that lk_decoder_read will see; other encodings stay as they are. Only between open and
 * read. */
void lk_decoder_scale(lk_decoder *decoder, int32_t min_width, int32_t min_height, int32_t *width, int32_t *height);
/* Decodes at least `want` (NULL: all of it; displayed, scaled pixels); *got says which part `out` holds. The pixels are
 * those of a whole decode, to the last bit. A baseline JPEG is read only as far as `want` reaches: lk_decoder_finish
 * proves the rest. Once per open. Errors: as lk_image_decode. */
LK_MUST_CHECK lk_status lk_decoder_read(lk_decoder *decoder, lk_image *out, int channels, const lk_rect *want,
                                        lk_rect *got, lk_error *err);
/* Reads the rest of the file without making pixels. Errors: as lk_image_decode. */
LK_MUST_CHECK lk_status lk_decoder_finish(lk_decoder *decoder, lk_error *err);

/* Encodes 8-bit pixels as JPEG (quality 1..100, 4:2:0 as Pillow's default). Owner of *bytes: the caller, with lk_free.
 */
LK_MUST_CHECK lk_status lk_image_encode_jpeg(uint8_t **bytes, size_t *size, const lk_image *image, int quality,
                                             lk_error *err);

/* The same as PNG, without loss. */
LK_MUST_CHECK lk_status lk_image_encode_png(uint8_t **bytes, size_t *size, const lk_image *image, lk_error *err);

#endif
