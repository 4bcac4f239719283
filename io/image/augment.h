/* Inside io/image: what is drawn for one sample, before any pixel is touched: the crop's geometry, then steps. */
#ifndef LK_IO_IMAGE_AUGMENT_H
#define LK_IO_IMAGE_AUGMENT_H

#include "io/image/transform.h"

/* The source region is resized to width x height, of which `window` (which may reach outside: zero padding) is the
 * network's input, mirrored where `flip` says so. */
typedef struct lk_geometry {
    lk_rect source; /* of the image as displayed; taps never reach outside it */
    int32_t width, height;
    int32_t window_x, window_y;
    bool flip;
} lk_geometry;

/* Size after the resize rule. Source: torchvision.transforms.Resize. Errors: LK_ERR_DATA for an image that is too
 * elongated. */
LK_MUST_CHECK lk_status lk_resize_rule_size(const lk_preprocess *preprocess, int32_t width, int32_t height,
                                            int32_t *out_width, int32_t *out_height, lk_error *err);

/* augment NULL: evaluation. Errors: as lk_transform, without those of decoding. */
LK_MUST_CHECK lk_status lk_geometry_draw(lk_geometry *out, const lk_augment *augment, const lk_preprocess *preprocess,
                                         const lk_sample_key *key, int32_t width, int32_t height, lk_error *err);

/* X(name in enum, text, what `value` is) */
#define LK_STEP_LIST(X)                                   \
    X(VFLIP, "vflip", "-")                                \
    X(SHEAR_X, "shear_x", "tangent")                      \
    X(SHEAR_Y, "shear_y", "tangent")                      \
    X(TRANSLATE_X, "translate_x", "pixels, cut to whole") \
    X(TRANSLATE_Y, "translate_y", "pixels, cut to whole") \
    X(ROTATE, "rotate", "degrees, counterclockwise")      \
    X(BRIGHTNESS, "brightness", "factor")                 \
    X(CONTRAST, "contrast", "factor")                     \
    X(SATURATION, "saturation", "factor")                 \
    X(SHARPNESS, "sharpness", "factor")                   \
    X(HUE, "hue", "turns")                                \
    X(POSTERIZE, "posterize", "bits kept")                \
    X(SOLARIZE, "solarize", "threshold")                  \
    X(AUTOCONTRAST, "autocontrast", "-")                  \
    X(EQUALIZE, "equalize", "-")                          \
    X(GRAYSCALE, "grayscale", "-")                        \
    X(BLUR, "blur", "sigma, pixels")                      \
    X(NOISE, "noise", "sigma of pixels / 255")            \
    X(ERASE, "erase", "-")

typedef enum lk_step_kind {
#define X(name, text, value) LK_STEP_##name,
    LK_STEP_LIST(X)
#undef X
        LK_STEP_COUNT
} lk_step_kind;
const char *lk_step_kind_name(lk_step_kind kind);

typedef struct lk_step {
    lk_step_kind kind;
    double value;
    lk_rect box; /* ERASE */
} lk_step;

#define LK_STEPS_MAX 24
#define LK_POLICY_OPS_MAX 8

typedef struct lk_steps {
    lk_step steps[LK_STEPS_MAX];
    int count;
} lk_steps;

/* What happens to a sample behind crop and horizontal flip; width, height: of the network's input. Source:
 * torchvision.transforms RandomVerticalFlip, RandomRotation, RandAugment, TrivialAugmentWide, ColorJitter,
 * RandomGrayscale, GaussianBlur, RandomErasing, and v2.GaussianNoise: their get_params. Pure. */
void lk_steps_draw(lk_steps *out, const lk_augment *augment, const lk_sample_key *key, int32_t width, int32_t height);

/* Does them, in place. Errors: LK_ERR_MEMORY; LK_ERR_CONFIG for a blur larger than the image. */
LK_MUST_CHECK lk_status lk_steps_apply(const lk_steps *steps, const lk_augment *augment,
                                       const lk_preprocess *preprocess, const lk_sample_key *key, lk_image *image,
                                       lk_image *scratch, lk_error *err);

#endif
