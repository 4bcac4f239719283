/* The one preprocessing of train, eval and predict (P15), and the augmentation of training (P16). */
#ifndef LK_IO_IMAGE_TRANSFORM_H
#define LK_IO_IMAGE_TRANSFORM_H

#include "core/random.h"
#include "io/image/mix.h"
#include "io/image/resize.h"

typedef enum lk_resize_rule {
    LK_RESIZE_NONE,       /* the image must have the input size already (Fashion-MNIST) */
    LK_RESIZE_SHORT_SIDE, /* torchvision Resize(int), then centre crop */
    LK_RESIZE_STRETCH,    /* torchvision Resize((h, w)) */
    LK_RESIZE_RULE_COUNT
} lk_resize_rule;
const char *lk_resize_rule_name(lk_resize_rule rule); /* "none", "short_side", "stretch" */

/* What travels with every checkpoint and export (P24). */
typedef struct lk_preprocess {
    int channels;          /* 3 RGB, 1 grey */
    int32_t height, width; /* input of the network */
    lk_resize_rule resize;
    int32_t resize_size; /* SHORT_SIDE: pixels of the short side */
    lk_interpolation interpolation;
    bool scaled_decode;    /* decode: scaled */
    float mean[4], std[4]; /* of pixels / 255 */
} lk_preprocess;

typedef enum lk_crop_rule {
    LK_CROP_CENTER,         /* as evaluation */
    LK_CROP_RANDOM_RESIZED, /* torchvision RandomResizedCrop(scale, ratio) */
    LK_CROP_PAD_RANDOM,     /* pad by crop_pad with 0, crop at random: torchvision RandomCrop(size, padding) */
    LK_CROP_RULE_COUNT
} lk_crop_rule;
const char *lk_crop_rule_name(lk_crop_rule rule); /* "center", "random_resized", "pad_random" */

typedef enum lk_policy {
    LK_POLICY_NONE,
    LK_POLICY_RAND,    /* torchvision RandAugment */
    LK_POLICY_TRIVIAL, /* torchvision TrivialAugmentWide */
    LK_POLICY_COUNT
} lk_policy;

typedef enum lk_erase_fill {
    LK_ERASE_MEAN,  /* the nearest levels to input.mean: torchvision's value=0 behind Normalize */
    LK_ERASE_NOISE, /* normal about the mean with input.std: torchvision's value='random' */
    LK_ERASE_BLACK,
    LK_ERASE_FILL_COUNT
} lk_erase_fill;

/* What is done to a training sample, in this order; 0 is off. Probabilities are of [0, 1]. */
typedef struct lk_augment {
    lk_crop_rule crop;
    double scale_min, scale_max, ratio_min, ratio_max; /* RANDOM_RESIZED: 0.08, 1, 3/4, 4/3 */
    int32_t crop_pad;                                  /* PAD_RANDOM: pixels */
    double hflip, vflip;                               /* probabilities */
    double rotate;                                     /* degrees, at most, either way: torchvision RandomRotation */
    lk_policy policy;
    int policy_ops, policy_magnitude;        /* RAND: operations a sample, and their strength, below policy_bins */
    int policy_bins;                         /* strengths: 31 */
    bool bilinear;                           /* how rotation and the policy sample; else nearest */
    uint8_t fill[3];                         /* of what they bring in from outside */
    double jitter;                           /* probability of torchvision's ColorJitter: */
    double brightness, contrast, saturation; /* factor of [max(0, 1 - x), 1 + x] */
    double hue;                              /* turn of [-x, x] of the circle, x <= 0.5 */
    double grayscale;                        /* probability: torchvision RandomGrayscale */
    double blur;                             /* probability: torchvision GaussianBlur */
    int blur_size;                           /* odd, pixels */
    double blur_min, blur_max;               /* sigma, pixels */
    double noise;                            /* probability: torchvision.transforms.v2 GaussianNoise */
    double noise_sigma;                      /* of pixels / 255 */
    double erase;                            /* probability: torchvision RandomErasing */
    double erase_scale_min, erase_scale_max, erase_ratio_min, erase_ratio_max; /* 0.02, 0.33, 0.3, 3.3 */
    lk_erase_fill erase_fill;
    lk_mix mix; /* of the samples of a microbatch, last */
} lk_augment;

/* Number ("sub") of each draw of a sample under LK_RANDOM_AUGMENT. Values are part of a run's bits: append, never
 * renumber. */
typedef enum lk_augment_draws {
    LK_DRAW_AREA = 0,  /* + 2 t: area of try t < 10 */
    LK_DRAW_RATIO = 1, /* + 2 t: aspect ratio of try t */
    LK_DRAW_TOP = 20,
    LK_DRAW_LEFT = 21,
    LK_DRAW_FLIP = 22,
    LK_DRAW_VFLIP = 23,
    LK_DRAW_ROTATE = 24,
    LK_DRAW_POLICY = 32, /* + 3 t: operation t < 8, then its strength, then its sign */
    LK_DRAW_JITTER = 64,
    LK_DRAW_JITTER_FACTOR = 65, /* + k: of brightness, contrast, saturation, hue */
    LK_DRAW_JITTER_ORDER = 69,  /* + k < 3 */
    LK_DRAW_GRAYSCALE = 72,
    LK_DRAW_BLUR = 73,
    LK_DRAW_BLUR_SIGMA = 74,
    LK_DRAW_NOISE = 75,
    LK_DRAW_ERASE = 76,
    LK_DRAW_ERASE_TOP = 77,
    LK_DRAW_ERASE_LEFT = 78,
    LK_DRAW_ERASE_AREA = 80,          /* + 2 t: area of try t < 10 */
    LK_DRAW_ERASE_RATIO = 81,         /* + 2 t: aspect ratio of try t */
    LK_DRAW_NOISE_VALUES = 0x10000,   /* and those that follow, one for four values */
    LK_DRAW_ERASE_VALUES = 0x40000000 /* and those that follow, one for four values */
} lk_augment_draws;

/* Which sample this is, for the random draws. */
typedef struct lk_sample_key {
    uint64_t seed;
    uint32_t epoch;
    int64_t position;
} lk_sample_key;

typedef struct lk_transformer lk_transformer; /* decoder, resizer and scratch, one per thread */
LK_MUST_CHECK lk_status lk_transformer_create(lk_transformer **out, const lk_preprocess *preprocess, lk_error *err);
void lk_transformer_free(lk_transformer *transformer);

/* Encoded bytes (or raw H x W x C pixels with width, height, channels) -> height x width x channels uint8 at dst,
 * contiguous. augment NULL: evaluation. key may then be NULL. Errors: LK_ERR_DATA with the reason: undecodable, another
 * size than LK_RESIZE_NONE wants, or smaller than the crop of LK_CROP_PAD_RANDOM; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_transform(lk_transformer *transformer, const uint8_t *bytes, size_t size,
                                     lk_encoding encoding, int32_t width, int32_t height, int raw_channels,
                                     const lk_augment *augment, const lk_sample_key *key, uint8_t *dst, lk_error *err);

/* The box and flip that lk_transform would draw for an image of width x height (as displayed). RANDOM_RESIZED: a box of
 * that image in whole pixels. CENTER, PAD_RANDOM: a box of the image after the resize rule; what lies outside is 0.
 * Source: torchvision RandomResizedCrop.get_params, RandomCrop.get_params, center_crop. Pure. */
void lk_augment_draw(const lk_augment *augment, const lk_preprocess *preprocess, const lk_sample_key *key,
                     int32_t width, int32_t height, lk_box *box, bool *flip);

#endif
