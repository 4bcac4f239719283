/* What was drawn for a sample, done to its pixels. */
#include <math.h>
#include <string.h>

#include "io/image/augment.h"
#include "io/image/effects.h"

/* What a step needs beside itself. */
typedef struct site {
    const lk_augment *augment;
    const lk_preprocess *preprocess;
    lk_random_key key;
    uint64_t position;
    lk_image *image, *scratch;
} site;

static uint8_t level(double share) {
    double value = rint(255 * share);
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Normals of a box are numbered within it. */
static void erase(const site *at, const lk_rect *box) {
    const lk_preprocess *p = at->preprocess;
    lk_image *image = at->image;
    float normals[4];
    int64_t i = 0;
    for (int32_t y = box->y; y < box->y + box->height; y++)
        for (int32_t x = box->x; x < box->x + box->width; x++)
            for (int c = 0; c < image->channels; c++, i++) {
                double value = at->augment->erase_fill == LK_ERASE_BLACK ? 0 : (double)p->mean[c];
                if (at->augment->erase_fill == LK_ERASE_NOISE) {
                    if (i % 4 == 0) lk_effect_normals(&at->key, at->position, LK_DRAW_ERASE_VALUES, i, normals);
                    value += (double)p->std[c] * (double)normals[i % 4];
                }
                image->pixels[((int64_t)y * image->width + x) * image->channels + c] = level(value);
            }
}

static lk_status shift(const site *at, const lk_step *step, lk_error *err) {
    lk_warp warp = {.bilinear = at->augment->bilinear};
    memcpy(warp.fill, at->augment->fill, sizeof warp.fill);
    if (step->kind == LK_STEP_SHEAR_X || step->kind == LK_STEP_SHEAR_Y)
        lk_warp_shear(&warp, step->kind == LK_STEP_SHEAR_X ? step->value : 0,
                      step->kind == LK_STEP_SHEAR_Y ? step->value : 0);
    else
        lk_warp_translate(&warp, step->kind == LK_STEP_TRANSLATE_X ? (int32_t)step->value : 0,
                          step->kind == LK_STEP_TRANSLATE_Y ? (int32_t)step->value : 0);
    return lk_effect_warp(at->image, at->scratch, &warp, err);
}

static lk_status apply(const site *at, const lk_step *step, lk_error *err) {
    lk_image *image = at->image, *scratch = at->scratch;
    const lk_augment *augment = at->augment;
    switch (step->kind) {
        case LK_STEP_VFLIP: lk_effect_vflip(image); break;
        case LK_STEP_SHEAR_X:
        case LK_STEP_SHEAR_Y:
        case LK_STEP_TRANSLATE_X:
        case LK_STEP_TRANSLATE_Y: return shift(at, step, err);
        case LK_STEP_ROTATE:
            return lk_effect_rotate(image, scratch, step->value, augment->bilinear, augment->fill, err);
        case LK_STEP_BRIGHTNESS: lk_effect_brightness(image, step->value); break;
        case LK_STEP_CONTRAST: lk_effect_contrast(image, step->value); break;
        case LK_STEP_SATURATION: lk_effect_saturation(image, step->value); break;
        case LK_STEP_SHARPNESS: return lk_effect_sharpness(image, scratch, step->value, err);
        case LK_STEP_HUE: lk_effect_hue(image, step->value); break;
        case LK_STEP_POSTERIZE: lk_effect_posterize(image, (int)step->value); break;
        case LK_STEP_SOLARIZE: lk_effect_solarize(image, step->value); break;
        case LK_STEP_AUTOCONTRAST: lk_effect_autocontrast(image); break;
        case LK_STEP_EQUALIZE: lk_effect_equalize(image); break;
        case LK_STEP_GRAYSCALE: lk_effect_grayscale(image); break;
        case LK_STEP_BLUR: return lk_effect_blur(image, scratch, augment->blur_size, step->value, err);
        case LK_STEP_NOISE: lk_effect_noise(image, step->value, &at->key, at->position, LK_DRAW_NOISE_VALUES); break;
        case LK_STEP_ERASE: erase(at, &step->box); break;
        case LK_STEP_COUNT: break;
    }
    return LK_OK;
}

lk_status lk_steps_apply(const lk_steps *steps, const lk_augment *augment, const lk_preprocess *preprocess,
                         const lk_sample_key *key, lk_image *image, lk_image *scratch, lk_error *err) {
    const site at = {augment, preprocess, {key->seed, key->epoch, LK_RANDOM_AUGMENT}, (uint64_t)key->position,
                     image,   scratch};
    for (int i = 0; i < steps->count; i++) LK_RETURN_IF(apply(&at, &steps->steps[i], err));
    return LK_OK;
}
