/* Mixing of the samples of one microbatch, mixup and cutmix: a function of (seed, epoch, position) (P16). */
#ifndef LK_IO_IMAGE_MIX_H
#define LK_IO_IMAGE_MIX_H

#include "core/random.h"
#include "io/image/image.h"

typedef struct lk_mix {
    double mixup, cutmix; /* alpha of lambda's Beta(alpha, alpha); 0: off */
    double probability;   /* that a microbatch is mixed at all */
    double cutmix_share;  /* where both are on: how often it is cutmix */
} lk_mix;

/* Number ("sub") of each draw of a microbatch under LK_RANDOM_MIX. Values are part of a run's bits: append, never
 * renumber. */
typedef enum lk_mix_draws {
    LK_DRAW_MIX = 0,
    LK_DRAW_MIX_KIND = 1,
    LK_DRAW_MIX_CENTER_X = 2,
    LK_DRAW_MIX_CENTER_Y = 3,
    LK_DRAW_MIX_LAMBDA = 16 /* and those that lk_random_beta takes */
} lk_mix_draws;

typedef enum lk_mix_kind { LK_MIX_NONE, LK_MIX_MIXUP, LK_MIX_CUTMIX } lk_mix_kind;

typedef struct lk_mix_choice {
    lk_mix_kind kind;
    double lambda; /* share of a row's own target: MIXUP: of its pixels too; CUTMIX: 1 - the box's share of the area */
    lk_rect box;   /* CUTMIX: what is taken from the partner */
} lk_mix_choice;

/* How the microbatch is mixed whose first sample stands at `position` of the epoch's order; width, height: of its
 * images. Source: timm.data.Mixup (probability, switch); torchvision.transforms.v2.MixUp and CutMix (lambda, box).
 * Pure.
 */
void lk_mix_draw(lk_mix_choice *out, const lk_mix *mix, uint64_t seed, uint32_t epoch, int64_t position, int32_t width,
                 int32_t height);

/* The partner of a row is the one before it, the last one's for row 0, as torchvision rolls a batch by one. Pure. */
static inline int32_t lk_mix_partner(int64_t row, int64_t rows) { return (int32_t)(row == 0 ? rows - 1 : row - 1); }

/* CUTMIX: pastes each row's box from its partner as it was before. images: rows x height x width x channels; scratch:
 * at least box.width * box.height * channels bytes. */
void lk_mix_paste(const lk_mix_choice *choice, uint8_t *images, int64_t rows, int32_t width, int32_t height,
                  int channels, uint8_t *scratch);

#endif
