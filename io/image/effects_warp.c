/* Geometry after the crop: flips, rotation, shear and translation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/image/effects.h"

void lk_effect_vflip(lk_image *image) {
    size_t stride = (size_t)image->width * (size_t)image->channels;
    for (int32_t y = 0; y < image->height / 2; y++) {
        uint8_t *a = image->pixels + (size_t)y * stride, *b = image->pixels + (size_t)(image->height - 1 - y) * stride;
        for (size_t i = 0; i < stride; i++) {
            uint8_t t = a[i];
            a[i] = b[i];
            b[i] = t;
        }
    }
}

typedef struct warp_run {
    const lk_warp *warp;
    const lk_image *in;
    uint8_t *out;
} warp_run;

static const uint8_t *pixel_at(const lk_image *in, int64_t x, int64_t y) {
    return in->pixels + (y * in->width + x) * in->channels;
}

static void put(const warp_run *run, int32_t x, int32_t y, const uint8_t *from) {
    memcpy(run->out + (size_t)((int64_t)y * run->in->width + x) * (size_t)run->in->channels, from,
           (size_t)run->in->channels);
}

/* Neither turned nor sheared. Source: Pillow, ImagingScaleAffine, which steps along each axis in double. */
static void warp_scaled(const warp_run *run) {
    const double *m = run->warp->matrix;
    const lk_image *in = run->in;
    double yo = m[5] + m[4] * 0.5;
    for (int32_t y = 0; y < in->height; y++, yo += m[4]) {
        int32_t from_y = yo < 0 ? -1 : (int32_t)yo;
        double xo = m[2] + m[0] * 0.5;
        for (int32_t x = 0; x < in->width; x++, xo += m[0]) {
            int32_t from_x = xo < 0 ? -1 : (int32_t)xo;
            bool inside = from_x >= 0 && from_x < in->width && from_y >= 0 && from_y < in->height;
            put(run, x, y, inside ? pixel_at(in, from_x, from_y) : run->warp->fill);
        }
    }
}

/* Source: Pillow, affine_fixed: 16 bits behind the point. */
static void warp_nearest(const warp_run *run) {
    const double *m = run->warp->matrix;
    const lk_image *in = run->in;
    int64_t fixed[6];
    for (int i = 0; i < 6; i++) {
        double middle = i % 3 == 2 ? m[i] + m[i - 2] * 0.5 + m[i - 1] * 0.5 : m[i];
        fixed[i] = (int64_t)floor(middle * 65536.0 + 0.5);
    }
    for (int32_t y = 0; y < in->height; y++) {
        int64_t xx = fixed[2] + y * fixed[1], yy = fixed[5] + y * fixed[4];
        for (int32_t x = 0; x < in->width; x++, xx += fixed[0], yy += fixed[3]) {
            int64_t from_x = xx >> 16, from_y = yy >> 16;
            bool inside = from_x >= 0 && from_x < in->width && from_y >= 0 && from_y < in->height;
            put(run, x, y, inside ? pixel_at(in, from_x, from_y) : run->warp->fill);
        }
    }
}

static double between(double a, double b, double t) { return a + (b - a) * t; }

/* Source: Pillow, bilinear_filter: in double, cut to whole levels. */
static void sample_bilinear(const warp_run *run, double xin, double yin, uint8_t out[3]) {
    const lk_image *in = run->in;
    xin -= 0.5;
    yin -= 0.5;
    int32_t x = (int32_t)floor(xin), y = (int32_t)floor(yin);
    double dx = xin - x, dy = yin - y;
    int32_t x0 = x < 0 ? 0 : x, x1 = x + 1 < in->width ? x + 1 : in->width - 1;
    const uint8_t *upper = pixel_at(in, 0, y < 0 ? 0 : y), *lower = y + 1 < in->height ? pixel_at(in, 0, y + 1) : upper;
    for (int c = 0; c < in->channels; c++) {
        int32_t a = x0 * in->channels + c, b = x1 * in->channels + c;
        out[c] = (uint8_t)between(between(upper[a], upper[b], dx), between(lower[a], lower[b], dx), dy);
    }
}

static void warp_bilinear(const warp_run *run) {
    const double *m = run->warp->matrix;
    const lk_image *in = run->in;
    for (int32_t y = 0; y < in->height; y++)
        for (int32_t x = 0; x < in->width; x++) {
            double xo = x + 0.5, yo = y + 0.5;
            double xin = m[0] * xo + m[1] * yo + m[2], yin = m[3] * xo + m[4] * yo + m[5];
            uint8_t out[3];
            bool inside = xin >= 0 && xin < in->width && yin >= 0 && yin < in->height;
            if (inside) sample_bilinear(run, xin, yin, out);
            put(run, x, y, inside ? out : run->warp->fill);
        }
}

static lk_status copy_to_scratch(const lk_image *image, lk_image *scratch, lk_error *err) {
    LK_RETURN_IF(lk_image_reserve(scratch, image->width, image->height, image->channels, err));
    memcpy(scratch->pixels, image->pixels, (size_t)image->width * (size_t)image->height * (size_t)image->channels);
    return LK_OK;
}

lk_status lk_effect_warp(lk_image *image, lk_image *scratch, const lk_warp *warp, lk_error *err) {
    LK_RETURN_IF(copy_to_scratch(image, scratch, err));
    const warp_run run = {warp, scratch, image->pixels};
    if (warp->bilinear)
        warp_bilinear(&run);
    else if (warp->matrix[1] == 0 && warp->matrix[3] == 0)
        warp_scaled(&run);
    else
        warp_nearest(&run);
    return LK_OK;
}

/* Whole quarters of a square, and halves of anything, are transposed instead. Source: PIL.Image.rotate. */
static lk_status rotate_quarters(lk_image *image, lk_image *scratch, int quarters, lk_error *err) {
    LK_RETURN_IF(copy_to_scratch(image, scratch, err));
    const warp_run run = {NULL, scratch, image->pixels};
    int32_t right = image->width - 1, bottom = image->height - 1;
    for (int32_t y = 0; y <= bottom; y++)
        for (int32_t x = 0; x <= right; x++) {
            int32_t from_x = quarters == 1 ? right - y : quarters == 2 ? right - x : y;
            int32_t from_y = quarters == 1 ? x : quarters == 2 ? bottom - y : bottom - x;
            put(&run, x, y, pixel_at(scratch, from_x, from_y));
        }
    return LK_OK;
}

/* Python's round(value, 15). */
static double round_15(double value) {
    char text[64];
    snprintf(text, sizeof text, "%.15f", value);
    return strtod(text, NULL);
}

lk_status lk_effect_rotate(lk_image *image, lk_image *scratch, double degrees, bool bilinear, const uint8_t fill[3],
                           lk_error *err) {
    degrees = fmod(degrees, 360.0);
    if (degrees < 0) degrees += 360.0;
    if (degrees == 0) return LK_OK;
    bool square = image->width == image->height;
    if (degrees == 180 || (square && (degrees == 90 || degrees == 270)))
        return rotate_quarters(image, scratch, (int)degrees / 90, err);
    lk_warp warp = {.bilinear = bilinear};
    memcpy(warp.fill, fill, sizeof warp.fill);
    double angle = -(degrees * (3.14159265358979323846 / 180.0)), *m = warp.matrix;
    double x = image->width / 2.0, y = image->height / 2.0;
    m[0] = m[4] = round_15(cos(angle));
    m[1] = round_15(sin(angle));
    m[3] = round_15(-sin(angle));
    m[2] = m[0] * -x + m[1] * -y + 0.0 + x;
    m[5] = m[3] * -x + m[4] * -y + 0.0 + y;
    return lk_effect_warp(image, scratch, &warp, err);
}

/* Shear by the tangents x and y, about the corner. torchvision goes by way of degrees, whose rounding is kept. Source:
 * torchvision.transforms.functional._get_inverse_affine_matrix. */
void lk_warp_shear(lk_warp *out, double x, double y) {
    const double degree = 180.0 / 3.14159265358979323846, radian = 3.14159265358979323846 / 180.0;
    double sx = atan(x) * degree * radian, sy = atan(y) * degree * radian, *m = out->matrix;
    double a = cos(0.0 - sy) / cos(sy), b = -cos(0.0 - sy) * tan(sx) / cos(sy) - 0.0;
    double c = sin(0.0 - sy) / cos(sy), d = -sin(0.0 - sy) * tan(sx) / cos(sy) + 1.0;
    m[0] = d;
    m[1] = -b;
    m[3] = -c;
    m[4] = a;
    m[2] = m[5] = 0;
}

void lk_warp_translate(lk_warp *out, int32_t x, int32_t y) {
    const double matrix[6] = {1, 0, -x, 0, 1, -y};
    memcpy(out->matrix, matrix, sizeof matrix);
}
