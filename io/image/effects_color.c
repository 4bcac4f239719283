/* Colour as PIL.ImageEnhance and torchvision's adjust_hue change it. */
#include <math.h>
#include <string.h>

#include "io/image/codec.h"
#include "io/image/effects.h"

static size_t byte_count(const lk_image *image) {
    return (size_t)image->width * (size_t)image->height * (size_t)image->channels;
}

/* Between a (factor 0) and b (factor 1), or beyond. Source: Pillow, ImagingBlend, in float32. */
static uint8_t blend(uint8_t a, uint8_t b, float factor) {
    float value = (float)a + factor * (float)((int)b - (int)a);
    return (uint8_t)(value <= 0 ? 0 : value >= 255 ? 255 : (int)value);
}

/* Every byte against one other: a table of 256. */
static void blend_with(lk_image *image, uint8_t other, double factor) {
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = blend(other, (uint8_t)i, (float)factor);
    for (size_t i = 0; i < byte_count(image); i++) image->pixels[i] = table[image->pixels[i]];
}

void lk_effect_brightness(lk_image *image, double factor) { blend_with(image, 0, factor); }

static uint8_t pixel_luma(const lk_image *image, size_t pixel) {
    const uint8_t *p = image->pixels + pixel * (size_t)image->channels;
    return image->channels == 1 ? p[0] : lk_luma(p[0], p[1], p[2]);
}

void lk_effect_contrast(lk_image *image, double factor) {
    size_t count = (size_t)image->width * (size_t)image->height;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += pixel_luma(image, i);
    blend_with(image, (uint8_t)((double)sum / (double)count + 0.5), factor);
}

void lk_effect_saturation(lk_image *image, double factor) {
    if (image->channels == 1) return;
    size_t count = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = image->pixels + 3 * i, grey = lk_luma(p[0], p[1], p[2]);
        for (int c = 0; c < 3; c++) p[c] = blend(grey, p[c], (float)factor);
    }
}

void lk_effect_grayscale(lk_image *image) {
    if (image->channels == 1) return;
    size_t count = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = image->pixels + 3 * i;
        p[0] = p[1] = p[2] = lk_luma(p[0], p[1], p[2]);
    }
}

/* Source: Pillow, ImageFilter.SMOOTH: 13ths, the middle five times; the border stays. Its float32 sums are never near a
 * half, so that whole numbers give the same. */
static uint8_t smooth(const uint8_t *p, ptrdiff_t step, ptrdiff_t stride) {
    int sum = 4 * p[0];
    for (int y = -1; y <= 1; y++)
        for (int x = -1; x <= 1; x++) sum += p[y * stride + x * step];
    return (uint8_t)((2 * sum + 13) / 26);
}

lk_status lk_effect_sharpness(lk_image *image, lk_image *scratch, double factor, lk_error *err) {
    if (image->width < 3 || image->height < 3) return LK_OK;
    LK_RETURN_IF(lk_image_reserve(scratch, image->width, image->height, image->channels, err));
    memcpy(scratch->pixels, image->pixels, byte_count(image));
    ptrdiff_t step = image->channels, stride = step * image->width;
    for (int32_t y = 1; y < image->height - 1; y++)
        for (ptrdiff_t at = y * stride + step; at < (y + 1) * stride - step; at++) {
            const uint8_t *p = scratch->pixels + at;
            image->pixels[at] = blend(smooth(p, step, stride), *p, (float)factor);
        }
    return LK_OK;
}

static uint8_t clip(double value) { return (uint8_t)(value <= 0 ? 0 : value >= 255 ? 255 : (int)value); }

/* Source: Pillow, rgb2hsv_row, in float32 where it is. */
static void rgb_to_hsv(uint8_t p[3]) {
    uint8_t r = p[0], g = p[1], b = p[2];
    uint8_t most = r > g ? r : g, least = r < g ? r : g;
    if (b > most) most = b;
    if (b < least) least = b;
    p[0] = p[1] = 0;
    p[2] = most;
    if (most == least) return;
    float range = (float)(most - least), saturation = range / (float)most;
    float red = (float)(most - r) / range, green = (float)(most - g) / range, blue = (float)(most - b) / range;
    float hue;
    if (r == most)
        hue = blue - green;
    else if (g == most)
        hue = (float)(2.0 + (double)red - (double)blue);
    else
        hue = (float)(4.0 + (double)green - (double)red);
    hue = (float)fmod((double)hue / 6.0 + 1.0, 1.0);
    p[0] = clip((double)hue * 255.0);
    p[1] = clip((double)saturation * 255.0);
}

/* Source: Pillow, hsv2rgb_row. */
static void hsv_to_rgb(uint8_t p[3]) {
    uint8_t hue = p[0], saturation = p[1], value = p[2];
    if (saturation == 0) {
        p[0] = p[1] = value;
        return;
    }
    double sector = hue * 6.0 / 255.0;
    int i = (int)sector;
    float f = (float)(sector - i), s = (float)saturation / 255.0F, v = (float)value;
    uint8_t low = clip(round((double)v * (1.0 - (double)s)));
    uint8_t falling = clip(round((double)v * (1.0 - (double)(s * f))));
    uint8_t rising = clip(round((double)v * (1.0 - (double)s * (1.0 - (double)f))));
    const uint8_t sectors[6][3] = {{value, rising, low},  {falling, value, low}, {low, value, rising},
                                   {low, falling, value}, {rising, low, value},  {value, low, falling}};
    memcpy(p, sectors[i % 6], 3);
}

void lk_effect_hue(lk_image *image, double shift) {
    if (image->channels == 1) return;
    uint8_t turn = (uint8_t)(int)(shift * 255);
    size_t count = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = image->pixels + 3 * i;
        rgb_to_hsv(p);
        p[0] = (uint8_t)(p[0] + turn);
        hsv_to_rgb(p);
    }
}
