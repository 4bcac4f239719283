#include "io/image/augment.h"

#include <math.h>

const char *lk_resize_rule_name(lk_resize_rule rule) {
    static const char *const names[LK_RESIZE_RULE_COUNT] = {"none", "short_side", "stretch"};
    return (unsigned)rule < LK_RESIZE_RULE_COUNT ? names[rule] : "unknown";
}

const char *lk_crop_rule_name(lk_crop_rule rule) {
    static const char *const names[LK_CROP_RULE_COUNT] = {"center", "random_resized", "pad_random"};
    return (unsigned)rule < LK_CROP_RULE_COUNT ? names[rule] : "unknown";
}

lk_status lk_resize_rule_size(const lk_preprocess *preprocess, int32_t width, int32_t height, int32_t *out_width,
                              int32_t *out_height, lk_error *err) {
    enum { LIMIT = 1 << 30 };
    *out_width = width;
    *out_height = height;
    if (preprocess->resize == LK_RESIZE_STRETCH) {
        *out_width = preprocess->width;
        *out_height = preprocess->height;
    }
    if (preprocess->resize != LK_RESIZE_SHORT_SIDE) return LK_OK;
    int32_t side = preprocess->resize_size;
    bool upright = width <= height;
    double longer = (double)side * (upright ? height : width) / (upright ? width : height);
    if (longer >= LIMIT)
        return lk_fail(err, LK_ERR_DATA, "the image of %d x %d pixels is too elongated for a short side of %d", width,
                       height, side);
    *out_width = upright ? side : (int32_t)longer;
    *out_height = upright ? (int32_t)longer : side;
    return LK_OK;
}

/* Half of a difference, rounded as Python's round() does: ties to even. A negative one is padding, whose smaller half
 * comes first. */
static int32_t center_offset(int32_t size, int32_t crop) {
    if (size < crop) return -((crop - size) / 2);
    return (int32_t)rint((size - crop) / 2.0);
}

typedef struct draws {
    lk_random_key key;
    uint64_t position;
} draws;

static double draw_uniform(const draws *d, uint32_t sub, double low, double high) {
    return low + (high - low) * lk_random_uniform_double(&d->key, d->position, sub);
}

/* An integer of 0..most. */
static int32_t draw_offset(const draws *d, uint32_t sub, int32_t most) {
    return (int32_t)lk_random_below(&d->key, d->position, sub, (uint64_t)most + 1);
}

static lk_rect draw_resized_crop(const lk_augment *augment, const draws *d, int32_t width, int32_t height) {
    enum { TRIES = 10 };
    double area = (double)width * height;
    double log_min = log(augment->ratio_min), log_max = log(augment->ratio_max);
    for (uint32_t t = 0; t < TRIES; t++) {
        double target = area * draw_uniform(d, LK_DRAW_AREA + 2 * t, augment->scale_min, augment->scale_max);
        double ratio = exp(draw_uniform(d, LK_DRAW_RATIO + 2 * t, log_min, log_max));
        double w = rint(sqrt(target * ratio)), h = rint(sqrt(target / ratio));
        if (!(w > 0 && w <= width && h > 0 && h <= height)) continue;
        lk_rect crop = {0, 0, (int32_t)w, (int32_t)h};
        crop.y = draw_offset(d, LK_DRAW_TOP, height - crop.height);
        crop.x = draw_offset(d, LK_DRAW_LEFT, width - crop.width);
        return crop;
    }
    double in_ratio = (double)width / height;
    lk_rect crop = {0, 0, width, height};
    if (in_ratio < augment->ratio_min)
        crop.height = (int32_t)rint(width / augment->ratio_min);
    else if (in_ratio > augment->ratio_max)
        crop.width = (int32_t)rint(height * augment->ratio_max);
    /* Rounding may take the crop to nothing in an image of a pixel or two. */
    if (crop.height < 1) crop.height = 1;
    if (crop.width < 1) crop.width = 1;
    crop.y = (height - crop.height) / 2;
    crop.x = (width - crop.width) / 2;
    return crop;
}

static void center_window(lk_geometry *g, const lk_preprocess *preprocess) {
    g->window_x = center_offset(g->width, preprocess->width);
    g->window_y = center_offset(g->height, preprocess->height);
}

static lk_status pad_window(lk_geometry *g, const lk_augment *augment, const lk_preprocess *preprocess, const draws *d,
                            lk_error *err) {
    int32_t pad = augment->crop_pad;
    int32_t room_x = g->width + 2 * pad - preprocess->width, room_y = g->height + 2 * pad - preprocess->height;
    if (room_x < 0 || room_y < 0)
        return lk_fail(err, LK_ERR_DATA,
                       "the image of %d x %d pixels with %d of padding is smaller than the crop of %d x %d", g->width,
                       g->height, pad, preprocess->width, preprocess->height);
    g->window_y = draw_offset(d, LK_DRAW_TOP, room_y) - pad;
    g->window_x = draw_offset(d, LK_DRAW_LEFT, room_x) - pad;
    return LK_OK;
}

lk_status lk_geometry_draw(lk_geometry *out, const lk_augment *augment, const lk_preprocess *preprocess,
                           const lk_sample_key *key, int32_t width, int32_t height, lk_error *err) {
    lk_geometry g = {.source = {0, 0, width, height}};
    draws d = {{0}, 0};
    if (augment != NULL) {
        d = (draws){{key->seed, key->epoch, LK_RANDOM_AUGMENT}, (uint64_t)key->position};
        g.flip = lk_random_uniform_double(&d.key, d.position, LK_DRAW_FLIP) < augment->hflip;
    }
    if (augment != NULL && augment->crop == LK_CROP_RANDOM_RESIZED) {
        g.source = draw_resized_crop(augment, &d, width, height);
        g.width = preprocess->width;
        g.height = preprocess->height;
        *out = g;
        return LK_OK;
    }
    if (preprocess->resize == LK_RESIZE_NONE && (width != preprocess->width || height != preprocess->height))
        return lk_fail(err, LK_ERR_DATA, "the image is %d x %d pixels, but without resizing it must be %d x %d", width,
                       height, preprocess->width, preprocess->height);
    LK_RETURN_IF(lk_resize_rule_size(preprocess, width, height, &g.width, &g.height, err));
    if (augment != NULL && augment->crop == LK_CROP_PAD_RANDOM)
        LK_RETURN_IF(pad_window(&g, augment, preprocess, &d, err));
    else
        center_window(&g, preprocess);
    *out = g;
    return LK_OK;
}

void lk_augment_draw(const lk_augment *augment, const lk_preprocess *preprocess, const lk_sample_key *key,
                     int32_t width, int32_t height, lk_box *box, bool *flip) {
    lk_geometry g;
    *box = (lk_box){0, 0, 0, 0};
    *flip = false;
    if (lk_geometry_draw(&g, augment, preprocess, key, width, height, NULL) != LK_OK) return;
    *flip = g.flip;
    if (augment != NULL && augment->crop == LK_CROP_RANDOM_RESIZED)
        *box = (lk_box){g.source.x, g.source.y, g.source.x + g.source.width, g.source.y + g.source.height};
    else
        *box = (lk_box){g.window_x, g.window_y, g.window_x + preprocess->width, g.window_y + preprocess->height};
}
