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

typedef struct lk_augment {
    lk_crop_rule crop;
    double scale_min, scale_max, ratio_min, ratio_max; /* RANDOM_RESIZED: 0.08, 1, 3/4, 4/3 */
    int32_t crop_pad;                                  /* PAD_RANDOM: pixels */
    double hflip;                                      /* probability */
    lk_mix mix;                                        /* of the samples of a microbatch */
} lk_augment;

/* Number ("sub") of each draw of a sample under LK_RANDOM_AUGMENT. Values are part of a run's bits: append, never
 * renumber. */
typedef enum lk_augment_draws {
    LK_DRAW_AREA = 0,  /* + 2 t: area of try t < 10 */
    LK_DRAW_RATIO = 1, /* + 2 t: aspect ratio of try t */
    LK_DRAW_TOP = 20,
    LK_DRAW_LEFT = 21,
    LK_DRAW_FLIP = 22
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
