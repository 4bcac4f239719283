/* Inside io/image: what augmentation does to 8-bit pixels, each equal to torchvision's function on PIL images, to the
 * last bit where nothing else is said. All work in place on 1 or 3 channels; scratch is a second image, whose content
 * does not matter. Errors: LK_ERR_MEMORY, from scratch alone. */
#ifndef LK_IO_IMAGE_EFFECTS_H
#define LK_IO_IMAGE_EFFECTS_H

#include "core/random.h"
#include "io/image/image.h"

/* Source: torchvision.transforms.functional.vflip. */
void lk_effect_vflip(lk_image *image);

/* Output pixel (x, y) comes from the input at (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]); outside is `fill`.
 * Source: PIL.Image.transform with AFFINE and NEAREST or BILINEAR, for sides below 8192. */
typedef struct lk_warp {
    double matrix[6];
    bool bilinear;
    uint8_t fill[3];
} lk_warp;
LK_MUST_CHECK lk_status lk_effect_warp(lk_image *image, lk_image *scratch, const lk_warp *warp, lk_error *err);
/* Counterclockwise, about the middle. Source: torchvision.transforms.functional.rotate, PIL.Image.rotate. */
LK_MUST_CHECK lk_status lk_effect_rotate(lk_image *image, lk_image *scratch, double degrees, bool bilinear,
                                         const uint8_t fill[3], lk_error *err);
/* The matrices of torchvision.transforms.autoaugment's ShearX, ShearY, TranslateX, TranslateY. Pure. */
void lk_warp_shear(lk_warp *out, double x, double y);
void lk_warp_translate(lk_warp *out, int32_t x, int32_t y);

/* factor 1 leaves the image alone. Source: PIL.ImageEnhance; torchvision's adjust_brightness, adjust_contrast,
 * adjust_saturation, adjust_sharpness. */
void lk_effect_brightness(lk_image *image, double factor);
void lk_effect_contrast(lk_image *image, double factor);
void lk_effect_saturation(lk_image *image, double factor);
LK_MUST_CHECK lk_status lk_effect_sharpness(lk_image *image, lk_image *scratch, double factor, lk_error *err);
/* shift: -0.5 to 0.5 of the circle of hues. Source: torchvision's adjust_hue. */
void lk_effect_hue(lk_image *image, double shift);
/* Source: torchvision's rgb_to_grayscale with 3 output channels. */
void lk_effect_grayscale(lk_image *image);

/* Source: PIL.ImageOps.posterize, solarize, autocontrast and equalize. */
void lk_effect_posterize(lk_image *image, int bits);
void lk_effect_solarize(lk_image *image, double threshold);
void lk_effect_autocontrast(lk_image *image);
void lk_effect_equalize(lk_image *image);

/* size: odd, at most 2 * (the shorter side) - 1. Source: torchvision's gaussian_blur on uint8 tensors (reflected edges,
 * float32). Difference: it sums size x size products, this sums rows, then columns: where the value lies within
 * float32's error of a half the result may differ by one level. */
LK_MUST_CHECK lk_status lk_effect_blur(lk_image *image, lk_image *scratch, int size, double sigma, lk_error *err);

/* Standard normals by Box-Muller in float32, numbered from the sub-draw `sub`, four to a draw: normal i is a function
 * of (key, index, sub, i) alone. */
void lk_effect_normals(const lk_random_key *key, uint64_t index, uint32_t sub, int64_t first, float out[4]);
/* Adds noise of standard deviation sigma * 255, cut to whole levels. Source: torchvision.transforms.v2.GaussianNoise on
 * uint8 tensors, given the same normals. */
void lk_effect_noise(lk_image *image, double sigma, const lk_random_key *key, uint64_t index, uint32_t sub);

#endif
