#include "io/image/image.h"

#include <string.h>

#include "core/memory.h"
#include "io/image/codec.h"

struct lk_decoder {
    lk_jpeg *jpeg;
    lk_image stored; /* pixels before their orientation */
    lk_image raw;    /* scratch of the PNG and WebP readers */
    const uint8_t *bytes;
    size_t size;
    lk_image_info info;    /* as displayed */
    int32_t width, height; /* as displayed, after scaling */
};

const char *lk_encoding_name(lk_encoding encoding) {
    static const char *const names[LK_ENCODING_COUNT] = {"raw", "jpeg", "png", "webp"};
    return (unsigned)encoding < LK_ENCODING_COUNT ? names[encoding] : "unknown";
}

void lk_image_free(lk_image *image) {
    if (image == NULL) return;
    lk_free(image->pixels);
    memset(image, 0, sizeof *image);
}

lk_status lk_image_check_size(int64_t width, int64_t height, lk_error *err) {
    if (width < 1 || height < 1) return lk_fail(err, LK_ERR_DATA, "the image has no pixels");
    if (width > LK_IMAGE_MAX_SIDE || height > LK_IMAGE_MAX_SIDE || width * height > LK_IMAGE_MAX_PIXELS)
        return lk_fail(err, LK_ERR_DATA, "the image is %lld x %lld pixels; at most %d a side and %lld in all are read",
                       (long long)width, (long long)height, LK_IMAGE_MAX_SIDE, (long long)LK_IMAGE_MAX_PIXELS);
    return LK_OK;
}

lk_status lk_image_reserve(lk_image *image, int64_t width, int64_t height, int channels, lk_error *err) {
    LK_RETURN_IF(lk_image_check_size(width, height, err));
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    if (bytes > image->capacity) {
        lk_image_free(image);
        LK_RETURN_IF(lk_alloc((void **)&image->pixels, bytes, 1, "an image", err));
        image->capacity = bytes;
    }
    image->width = (int32_t)width;
    image->height = (int32_t)height;
    image->channels = channels;
    return LK_OK;
}

void lk_convert_channels(uint8_t *out, int out_channels, const uint8_t *in, int in_channels, size_t count) {
    if (out_channels == in_channels) {
        if (out != in) memcpy(out, in, count * (size_t)in_channels);
    } else if (out_channels == 1) {
        for (size_t i = 0; i < count; i++) out[i] = lk_luma(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
    } else {
        for (size_t i = 0; i < count; i++) out[3 * i] = out[3 * i + 1] = out[3 * i + 2] = in[i];
    }
}

static lk_encoding detect(const uint8_t *bytes, size_t size) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    if (size >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF) return LK_ENCODING_JPEG;
    if (size >= 8 && memcmp(bytes, png, 8) == 0) return LK_ENCODING_PNG;
    if (size >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0) return LK_ENCODING_WEBP;
    return LK_ENCODING_RAW;
}

lk_status lk_decoder_create(lk_decoder **out, lk_error *err) {
    lk_status status = LK_OK;
    lk_decoder *decoder = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&decoder, 1, "a decoder", err));
    LK_TRY(lk_jpeg_create(&decoder->jpeg, err));
    *out = decoder;
    decoder = NULL;
out:
    lk_decoder_free(decoder);
    return status;
}

void lk_decoder_free(lk_decoder *decoder) {
    if (decoder == NULL) return;
    lk_jpeg_free(decoder->jpeg);
    lk_image_free(&decoder->stored);
    lk_image_free(&decoder->raw);
    lk_free(decoder);
}

lk_status lk_decoder_open(lk_decoder *decoder, const uint8_t *bytes, size_t size, lk_image_info *info, lk_error *err) {
    lk_image_info found = {.encoding = detect(bytes, size), .orientation = 1};
    decoder->info.encoding = LK_ENCODING_RAW;
    decoder->bytes = bytes;
    decoder->size = size;
    switch (found.encoding) {
        case LK_ENCODING_JPEG: LK_RETURN_IF(lk_jpeg_open(decoder->jpeg, bytes, size, &found, err)); break;
        case LK_ENCODING_PNG: LK_RETURN_IF(lk_png_open(bytes, size, &found, err)); break;
        case LK_ENCODING_WEBP: LK_RETURN_IF(lk_webp_open(bytes, size, &found, err)); break;
        default:
            return lk_fail(err, LK_ERR_DATA, size == 0 ? "the file is empty" : "the file is not a JPEG, PNG or WebP");
    }
    if (lk_orientation_swaps(found.orientation)) {
        int32_t stored_width = found.width;
        found.width = found.height;
        found.height = stored_width;
    }
    decoder->info = found;
    decoder->width = found.width;
    decoder->height = found.height;
    if (info != NULL) *info = found;
    return LK_OK;
}

lk_status lk_image_probe(lk_image_info *out, const uint8_t *bytes, size_t size, lk_error *err) {
    lk_decoder *decoder = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_decoder_create(&decoder, err));
    LK_TRY(lk_decoder_open(decoder, bytes, size, out, err));
out:
    lk_decoder_free(decoder);
    return status;
}

void lk_decoder_scale(lk_decoder *decoder, int32_t min_width, int32_t min_height, int32_t *width, int32_t *height) {
    bool swaps = lk_orientation_swaps(decoder->info.orientation);
    if (decoder->info.encoding == LK_ENCODING_JPEG)
        lk_jpeg_scale(decoder->jpeg, swaps ? min_height : min_width, swaps ? min_width : min_height,
                      swaps ? &decoder->height : &decoder->width, swaps ? &decoder->width : &decoder->height);
    *width = decoder->width;
    *height = decoder->height;
}

/* Decodes stored pixels; only JPEG can give less than the whole. */
static lk_status read_stored(lk_decoder *decoder, lk_image *out, int channels, const lk_rect *want, lk_rect *got,
                             lk_error *err) {
    switch (decoder->info.encoding) {
        case LK_ENCODING_JPEG: return lk_jpeg_read(decoder->jpeg, out, channels, want, got, err);
        case LK_ENCODING_PNG:
            LK_RETURN_IF(lk_png_read(decoder->bytes, decoder->size, out, channels, &decoder->raw, err));
            break;
        case LK_ENCODING_WEBP:
            LK_RETURN_IF(lk_webp_read(decoder->bytes, decoder->size, out, channels, &decoder->raw, err));
            break;
        default: return lk_fail(err, LK_ERR_INTERNAL, "a decoder was read before it was opened");
    }
    *got = (lk_rect){0, 0, out->width, out->height};
    return LK_OK;
}

lk_status lk_decoder_read(lk_decoder *decoder, lk_image *out, int channels, const lk_rect *want, lk_rect *got,
                          lk_error *err) {
    int orientation = decoder->info.orientation;
    lk_rect all = {0, 0, decoder->width, decoder->height};
    if (want == NULL) want = &all;
    if (orientation == 1) return read_stored(decoder, out, channels, want, got, err);
    lk_rect stored_want = lk_orient_to_stored(*want, orientation, decoder->width, decoder->height);
    lk_rect stored_got;
    LK_RETURN_IF(read_stored(decoder, &decoder->stored, channels, &stored_want, &stored_got, err));
    bool swaps = lk_orientation_swaps(orientation);
    *got = lk_orient_to_displayed(stored_got, orientation, swaps ? decoder->height : decoder->width,
                                  swaps ? decoder->width : decoder->height);
    return lk_orient_image(out, &decoder->stored, orientation, err);
}

lk_status lk_decoder_finish(lk_decoder *decoder, lk_error *err) {
    /* The other readers take in the whole file. */
    return decoder->info.encoding == LK_ENCODING_JPEG ? lk_jpeg_finish(decoder->jpeg, err) : LK_OK;
}

lk_status lk_image_decode(lk_decoder *decoder, lk_image *out, const uint8_t *bytes, size_t size, int channels,
                          int32_t min_width, int32_t min_height, lk_error *err) {
    LK_RETURN_IF(lk_decoder_open(decoder, bytes, size, NULL, err));
    int32_t width, height;
    if (min_width > 0 && min_height > 0) lk_decoder_scale(decoder, min_width, min_height, &width, &height);
    lk_rect got;
    LK_RETURN_IF(lk_decoder_read(decoder, out, channels, NULL, &got, err));
    return lk_decoder_finish(decoder, err);
}
