/* Inside io/image: the geometry of one sample's transform. */
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

#endif
