#include "io/image/transform.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "io/image/augment.h"
#include "io/image/codec.h"

struct lk_transformer {
    lk_preprocess preprocess;
    lk_decoder *decoder;
    lk_resizer *resizer;
    lk_image image, scratch;
};

static lk_status check_preprocess(const lk_preprocess *p, lk_error *err) {
    if (p->channels != 1 && p->channels != 3)
        return lk_fail(err, LK_ERR_CONFIG, "images have 1 or 3 channels, not %d", p->channels);
    if (p->width < 1 || p->height < 1 || p->width > LK_IMAGE_MAX_SIDE || p->height > LK_IMAGE_MAX_SIDE)
        return lk_fail(err, LK_ERR_CONFIG, "the input size must be 1 to %d, not %d x %d", LK_IMAGE_MAX_SIDE, p->width,
                       p->height);
    if (p->resize == LK_RESIZE_SHORT_SIDE && (p->resize_size < 1 || p->resize_size > LK_IMAGE_MAX_SIDE))
        return lk_fail(err, LK_ERR_CONFIG, "the short side must be 1 to %d pixels, not %d", LK_IMAGE_MAX_SIDE,
                       p->resize_size);
    if ((unsigned)p->resize >= LK_RESIZE_RULE_COUNT || (unsigned)p->interpolation >= LK_INTERPOLATION_COUNT)
        return lk_fail(err, LK_ERR_CONFIG, "the preprocessing names an unknown resize rule or interpolation");
    return LK_OK;
}

lk_status lk_transformer_create(lk_transformer **out, const lk_preprocess *preprocess, lk_error *err) {
    lk_status status = LK_OK;
    lk_transformer *t = NULL;
    *out = NULL;
    LK_TRY(check_preprocess(preprocess, err));
    LK_TRY(LK_NEW(&t, 1, "a transformer", err));
    t->preprocess = *preprocess;
    LK_TRY(lk_decoder_create(&t->decoder, err));
    LK_TRY(lk_resizer_create(&t->resizer, err));
    *out = t;
    t = NULL;
out:
    lk_transformer_free(t);
    return status;
}

void lk_transformer_free(lk_transformer *transformer) {
    if (transformer == NULL) return;
    lk_decoder_free(transformer->decoder);
    lk_resizer_free(transformer->resizer);
    lk_image_free(&transformer->image);
    lk_image_free(&transformer->scratch);
    lk_free(transformer);
}

/* The pixels of one sample: decoded on demand, or there already. */
typedef struct source {
    lk_encoding encoding;
    const uint8_t *raw; /* RAW: all pixels, with the right number of channels */
    int32_t width, height;
} source;

static lk_status open_raw(lk_transformer *t, source *s, const uint8_t *bytes, size_t size, int channels,
                          lk_error *err) {
    LK_RETURN_IF(lk_image_check_size(s->width, s->height, err));
    size_t count = (size_t)s->width * (size_t)s->height;
    if ((channels != 1 && channels != 3) || size != count * (size_t)channels)
        return lk_fail(err, LK_ERR_DATA, "%zu bytes are no raw image of %d x %d pixels with %d channels", size,
                       s->width, s->height, channels);
    s->raw = bytes;
    if (channels == t->preprocess.channels) return LK_OK;
    LK_RETURN_IF(lk_image_reserve(&t->image, s->width, s->height, t->preprocess.channels, err));
    lk_convert_channels(t->image.pixels, t->preprocess.channels, bytes, channels, count);
    s->raw = t->image.pixels;
    return LK_OK;
}

static lk_status open_source(lk_transformer *t, source *s, const uint8_t *bytes, size_t size, int raw_channels,
                             lk_error *err) {
    if (s->encoding == LK_ENCODING_RAW) return open_raw(t, s, bytes, size, raw_channels, err);
    lk_image_info info;
    LK_RETURN_IF(lk_decoder_open(t->decoder, bytes, size, &info, err));
    if (info.encoding != s->encoding)
        return lk_fail(err, LK_ERR_DATA, "the file is a %s, not a %s as its index says",
                       lk_encoding_name(info.encoding), lk_encoding_name(s->encoding));
    s->width = info.width;
    s->height = info.height;
    return LK_OK;
}

/* Smallest size of the whole image at which `part` of its `whole` pixels is at least `wanted`. */
static int32_t least_size(int32_t whole, int32_t part, int32_t wanted) {
    int64_t size = ((int64_t)whole * wanted + part - 1) / part;
    return size > whole ? whole : (int32_t)size;
}

/* Decodes smaller where asked to, and turns the geometry's source region into a box of what will be read. */
static void scale_source(lk_transformer *t, source *s, const lk_geometry *g, lk_resize_spec *spec) {
    int32_t width = s->width, height = s->height;
    lk_decoder_scale(t->decoder, least_size(width, g->source.width, g->width),
                     least_size(height, g->source.height, g->height), &s->width, &s->height);
    double x = (double)s->width / width, y = (double)s->height / height;
    spec->in_width = s->width;
    spec->in_height = s->height;
    spec->box = (lk_box){g->source.x * x, g->source.y * y, fmin((g->source.x + g->source.width) * x, s->width),
                         fmin((g->source.y + g->source.height) * y, s->height)};
}

/* Pixels of `needed`, a part of the displayed image. */
static lk_status read_source(lk_transformer *t, const source *s, const lk_rect *needed, const uint8_t **pixels,
                             size_t *stride, lk_error *err) {
    size_t channels = (size_t)t->preprocess.channels;
    lk_rect got = {0, 0, s->width, s->height};
    *pixels = s->raw;
    if (s->encoding != LK_ENCODING_RAW) {
        LK_RETURN_IF(lk_decoder_read(t->decoder, &t->image, t->preprocess.channels, needed, &got, err));
        *pixels = t->image.pixels;
    }
    *stride = (size_t)got.width * channels;
    *pixels += (size_t)(needed->y - got.y) * *stride + (size_t)(needed->x - got.x) * channels;
    return LK_OK;
}

/* Part of the window that lies inside the resized image, and where it goes in the output. */
typedef struct placement {
    lk_rect inside; /* of the resized image */
    int32_t x, y;   /* of the output */
} placement;

static placement place(const lk_geometry *g, const lk_preprocess *p) {
    int32_t x0 = g->window_x > 0 ? g->window_x : 0, y0 = g->window_y > 0 ? g->window_y : 0;
    int32_t x1 = g->window_x + p->width, y1 = g->window_y + p->height;
    if (x1 > g->width) x1 = g->width;
    if (y1 > g->height) y1 = g->height;
    placement out = {{x0, y0, x1 - x0, y1 - y0}, x0 - g->window_x, y0 - g->window_y};
    if (g->flip) out.x = p->width - out.x - out.inside.width;
    return out;
}

static lk_status render(lk_transformer *t, source *s, const lk_geometry *g, uint8_t *dst, lk_error *err) {
    const lk_preprocess *p = &t->preprocess;
    size_t channels = (size_t)p->channels, row = (size_t)p->width * channels;
    placement at = place(g, p);
    if (at.inside.width < p->width || at.inside.height < p->height) memset(dst, 0, row * (size_t)p->height);
    if (at.inside.width < 1 || at.inside.height < 1) return LK_OK; /* a crop of padding alone */
    lk_resize_spec spec = {.in_width = g->source.width,
                           .in_height = g->source.height,
                           .width = g->width,
                           .height = g->height,
                           .window = at.inside,
                           .flip = g->flip,
                           .interpolation = p->interpolation};
    spec.box = (lk_box){0, 0, g->source.width, g->source.height};
    lk_rect origin = g->source;
    if (p->scaled_decode && s->encoding == LK_ENCODING_JPEG) {
        scale_source(t, s, g, &spec);
        origin = (lk_rect){0, 0, 0, 0};
    }
    lk_rect needed;
    LK_RETURN_IF(lk_resizer_plan(t->resizer, &spec, &needed, err));
    needed.x += origin.x;
    needed.y += origin.y;
    const uint8_t *pixels;
    size_t stride;
    LK_RETURN_IF(read_source(t, s, &needed, &pixels, &stride, err));
    return lk_resizer_run(t->resizer, pixels, stride, p->channels, dst + (size_t)at.y * row + (size_t)at.x * channels,
                          row, err);
}

/* What is drawn beyond crop and flip, on the pixels at dst. */
static lk_status apply_steps(lk_transformer *t, const lk_augment *augment, const lk_sample_key *key, uint8_t *dst,
                             lk_error *err) {
    const lk_preprocess *p = &t->preprocess;
    lk_steps steps;
    lk_steps_draw(&steps, augment, key, p->width, p->height);
    if (steps.count == 0) return LK_OK;
    lk_image view = {.pixels = dst, .width = p->width, .height = p->height, .channels = p->channels};
    return lk_steps_apply(&steps, augment, p, key, &view, &t->scratch, err);
}

lk_status lk_transform(lk_transformer *transformer, const uint8_t *bytes, size_t size, lk_encoding encoding,
                       int32_t width, int32_t height, int raw_channels, const lk_augment *augment,
                       const lk_sample_key *key, uint8_t *dst, lk_error *err) {
    source s = {.encoding = encoding, .width = width, .height = height};
    lk_geometry geometry;
    LK_RETURN_IF(open_source(transformer, &s, bytes, size, raw_channels, err));
    LK_RETURN_IF(lk_geometry_draw(&geometry, augment, &transformer->preprocess, key, s.width, s.height, err));
    LK_RETURN_IF(render(transformer, &s, &geometry, dst, err));
    if (augment != NULL) LK_RETURN_IF(apply_steps(transformer, augment, key, dst, err));
    /* Training reads samples that packing has proved whole; an evaluated file may come from anywhere (P14). */
    if (augment == NULL && encoding != LK_ENCODING_RAW) return lk_decoder_finish(transformer->decoder, err);
    return LK_OK;
}
