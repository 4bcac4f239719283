#include "io/image/draw.h"

static void set_pixel(lk_image *image, int64_t x, int64_t y, lk_rgb color) {
    if (x < 0 || y < 0 || x >= image->width || y >= image->height) return;
    uint8_t *pixel = image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
    pixel[0] = color.r;
    pixel[1] = color.g;
    pixel[2] = color.b;
}

void lk_draw_fill(lk_image *image, int64_t left, int64_t top, int64_t width, int64_t height, lk_rgb color) {
    int64_t right = left + width < image->width ? left + width : image->width;
    int64_t bottom = top + height < image->height ? top + height : image->height;
    for (int64_t y = top < 0 ? 0 : top; y < bottom; y++)
        for (int64_t x = left < 0 ? 0 : left; x < right; x++) set_pixel(image, x, y, color);
}

static bool is_inked(const uint8_t *glyph, int x, int y) { return glyph[y] >> (LK_GLYPH_WIDTH - 1 - x) & 1; }

void lk_draw_text(lk_image *image, int64_t left, int64_t top, int scale, const char *text, int64_t most, lk_rgb color) {
    for (int64_t i = 0; text[i] != '\0' && i < most; i++) {
        const uint8_t *glyph = lk_glyph_get((unsigned char)text[i]);
        for (int y = 0; y < LK_GLYPH_HEIGHT * scale; y++)
            for (int x = 0; x < LK_GLYPH_WIDTH * scale; x++)
                if (is_inked(glyph, x / scale, y / scale))
                    set_pixel(image, left + i * LK_GLYPH_ADVANCE * scale + x, top + y, color);
    }
}

void lk_draw_text_up(lk_image *image, int64_t left, int64_t bottom, int scale, const char *text, int64_t most,
                     lk_rgb color) {
    for (int64_t i = 0; text[i] != '\0' && i < most; i++) {
        const uint8_t *glyph = lk_glyph_get((unsigned char)text[i]);
        for (int y = 0; y < LK_GLYPH_HEIGHT * scale; y++)
            for (int x = 0; x < LK_GLYPH_WIDTH * scale; x++)
                if (is_inked(glyph, x / scale, y / scale))
                    set_pixel(image, left + y, bottom - 1 - i * LK_GLYPH_ADVANCE * scale - x, color);
    }
}
