/* WebP through libwebp. Of an animation the first frame is read, on black, as Pillow shows it; alpha is dropped. */
#include <string.h>
#include <webp/decode.h>

#include "io/image/codec.h"

static uint32_t read_le(const uint8_t *p, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)p[i] << 8 * i;
    return value;
}

typedef struct chunk {
    const uint8_t *start; /* of its name */
    const uint8_t *data;
    size_t size;
} chunk;

/* Steps to the next chunk of [*at, end); false at the end or where a chunk is cut off. */
static bool next_chunk(const uint8_t **at, const uint8_t *end, chunk *out) {
    if (end - *at < 8) return false;
    size_t size = read_le(*at + 4, 4), left = (size_t)(end - *at) - 8;
    if (size > left) return false;
    *out = (chunk){*at, *at + 8, size};
    size_t padded = size + (size & 1);
    *at += 8 + (padded < left ? padded : left);
    return true;
}

static bool is_named(const chunk *c, const char *name) { return memcmp(c->start, name, 4) == 0; }

static bool find_chunk(const uint8_t *bytes, size_t size, const char *name, chunk *out) {
    const uint8_t *at = bytes + 12, *end = bytes + size;
    while (next_chunk(&at, end, out))
        if (is_named(out, name)) return true;
    return false;
}

static int find_orientation(const uint8_t *bytes, size_t size) {
    chunk c;
    int orientation = find_chunk(bytes, size, "EXIF", &c) ? lk_exif_orientation(c.data, c.size, c.size) : 0;
    if (orientation == 0 && find_chunk(bytes, size, "XMP ", &c)) orientation = lk_xmp_orientation(c.data, c.size);
    return orientation == 0 ? 1 : orientation;
}

static lk_status fail(VP8StatusCode code, lk_error *err) {
    static const char *const reasons[] = {"ok",          "out of memory", "invalid parameter", "bad bitstream",
                                          "unsupported", "suspended",     "aborted",           "not enough data"};
    if (code == VP8_STATUS_OUT_OF_MEMORY) return lk_fail(err, LK_ERR_MEMORY, "cannot allocate memory to decode a WebP");
    const char *reason = (size_t)code < sizeof reasons / sizeof *reasons ? reasons[code] : "unknown";
    return lk_fail(err, LK_ERR_DATA, "the WebP is truncated or corrupt (%s)", reason);
}

lk_status lk_webp_open(const uint8_t *bytes, size_t size, lk_image_info *info, lk_error *err) {
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(bytes, size, &features);
    if (code != VP8_STATUS_OK) return fail(code, err);
    LK_RETURN_IF(lk_image_check_size(features.width, features.height, err));
    info->width = features.width;
    info->height = features.height;
    info->channels = 3;
    info->orientation = find_orientation(bytes, size);
    return LK_OK;
}

static lk_status decode(const uint8_t *bytes, size_t size, uint8_t *rgb, size_t room, size_t stride, lk_error *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return lk_fail(err, LK_ERR_UNSUPPORTED, "libwebp has another ABI: rebuild");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){.rgba = rgb, .stride = (int)stride, .size = room};
    VP8StatusCode code = WebPDecode(bytes, size, &config);
    return code == VP8_STATUS_OK ? LK_OK : fail(code, err);
}

static lk_status decode_first_frame(const uint8_t *bytes, size_t size, lk_image *rgb, lk_error *err) {
    enum { HEADER = 16 };
    chunk frame, c;
    if (!find_chunk(bytes, size, "ANMF", &frame) || frame.size < HEADER)
        return lk_fail(err, LK_ERR_DATA, "the WebP is truncated or corrupt (an animation without a frame)");
    uint32_t x = 2 * read_le(frame.data, 3), y = 2 * read_le(frame.data + 3, 3);
    uint32_t width = read_le(frame.data + 6, 3) + 1, height = read_le(frame.data + 9, 3) + 1;
    const uint8_t *at = frame.data + HEADER, *end = frame.data + frame.size;
    bool found = false;
    while (!found && next_chunk(&at, end, &c)) found = is_named(&c, "VP8 ") || is_named(&c, "VP8L");
    WebPBitstreamFeatures features;
    if (!found || WebPGetFeatures(c.start, c.size + 8, &features) != VP8_STATUS_OK ||
        (uint32_t)features.width != width || (uint32_t)features.height != height || x + width > (uint32_t)rgb->width ||
        y + height > (uint32_t)rgb->height)
        return lk_fail(err, LK_ERR_DATA, "the WebP is truncated or corrupt (a frame outside its canvas)");
    size_t stride = (size_t)rgb->width * 3, total = stride * (size_t)rgb->height;
    memset(rgb->pixels, 0, total);
    size_t offset = y * stride + (size_t)x * 3;
    return decode(c.start, c.size + 8, rgb->pixels + offset, total - offset, stride, err);
}

lk_status lk_webp_read(const uint8_t *bytes, size_t size, lk_image *out, int channels, lk_image *raw, lk_error *err) {
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(bytes, size, &features);
    if (code != VP8_STATUS_OK) return fail(code, err);
    lk_image *rgb = channels == 3 ? out : raw;
    LK_RETURN_IF(lk_image_reserve(rgb, features.width, features.height, 3, err));
    size_t stride = (size_t)rgb->width * 3;
    if (features.has_animation)
        LK_RETURN_IF(decode_first_frame(bytes, size, rgb, err));
    else
        LK_RETURN_IF(decode(bytes, size, rgb->pixels, stride * (size_t)rgb->height, stride, err));
    if (channels == 3) return LK_OK;
    LK_RETURN_IF(lk_image_reserve(out, rgb->width, rgb->height, 1, err));
    lk_convert_channels(out->pixels, 1, rgb->pixels, 3, (size_t)rgb->width * (size_t)rgb->height);
    return LK_OK;
}
