/* Letters and rectangles on RGB images, for previews and charts that are pixels. */
#ifndef LK_IO_IMAGE_DRAW_H
#define LK_IO_IMAGE_DRAW_H

#include "io/image/image.h"

#define LK_GLYPH_WIDTH 5
#define LK_GLYPH_HEIGHT 8
#define LK_GLYPH_ADVANCE (LK_GLYPH_WIDTH + 1) /* from one letter to the next */

/* 8 rows of 5 bits, the leftmost highest; '?' for what is no printable ASCII. Static. */
const uint8_t *lk_glyph_get(unsigned char letter);

typedef struct lk_rgb {
    uint8_t r, g, b;
} lk_rgb;

/* What lies outside the image is left out. The image has 3 channels. */
void lk_draw_fill(lk_image *image, int64_t left, int64_t top, int64_t width, int64_t height, lk_rgb color);
/* At most `most` letters, each pixel of theirs `scale` pixels wide; (left, top): of the first letter. */
void lk_draw_text(lk_image *image, int64_t left, int64_t top, int scale, const char *text, int64_t most, lk_rgb color);
/* The same turned a quarter to the left, to be read upwards; (left, bottom): the corner where the first letter begins,
 * which lies above `bottom`. */
void lk_draw_text_up(lk_image *image, int64_t left, int64_t bottom, int scale, const char *text, int64_t most,
                     lk_rgb color);

#endif
