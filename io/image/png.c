/* PNG through libspng. Sample values follow Pillow: 16-bit colour keeps its high byte, but 16-bit grey ("I;16") is
 * clipped at 255; alpha and tRNS are dropped; palette indices past the palette are black. */
#include <spng.h>
#include <string.h>

#include "core/memory.h"
#include "io/image/codec.h"

/* Most bytes that metadata may inflate to. */
#define METADATA_LIMIT ((size_t)64 << 20)

enum { GREY = 0, PALETTE = 3, GREY_ALPHA = 4 }; /* colour types */

static lk_status fail(int code, lk_error *err) {
    if (code == SPNG_EMEM) return lk_fail(err, LK_ERR_MEMORY, "cannot allocate memory to decode a PNG");
    return lk_fail(err, LK_ERR_DATA, "the PNG is truncated or corrupt (%s)", spng_strerror(code));
}

static uint32_t read_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ImageMagick's way to keep EXIF: a text of three lines, the last its length, then hexadecimal digits. */
static int profile_orientation(const char *text, size_t size) {
    uint8_t exif[4096]; /* its front, where the orientation stands */
    size_t count = 0, at = 0;
    for (int line = 0; line < 3; at++) {
        if (at >= size) return 0;
        line += text[at] == '\n';
    }
    for (int high = -1; at < size; at++) {
        int digit = hex_digit(text[at]);
        if (text[at] == '\n') continue;
        if (digit < 0) break;
        if (high < 0)
            high = digit;
        else {
            if (count < sizeof exif) exif[count] = (uint8_t)(high << 4 | digit);
            count++;
            high = -1;
        }
    }
    return lk_exif_orientation(exif, count < sizeof exif ? count : sizeof exif, count);
}

/* Orientation out of the texts before the pixels, EXIF before XMP; 0: none. */
static lk_status read_texts(spng_ctx *ctx, int *orientation, lk_error *err) {
    struct spng_text *texts = NULL;
    uint32_t count = 0;
    int exif = 0, xmp = 0;
    *orientation = 0;
    if (spng_get_text(ctx, NULL, &count) != 0 || count == 0) return LK_OK;
    LK_RETURN_IF(LK_NEW(&texts, count, "the texts of a PNG", err));
    if (spng_get_text(ctx, texts, &count) == 0)
        for (uint32_t i = 0; i < count; i++) {
            const char *text = texts[i].text;
            if (strcmp(texts[i].keyword, "Raw profile type exif") == 0)
                exif = profile_orientation(text, texts[i].length);
            if (strcmp(texts[i].keyword, "XML:com.adobe.xmp") == 0 && texts[i].type == SPNG_ITXT)
                xmp = lk_xmp_orientation((const uint8_t *)text, texts[i].length);
        }
    lk_free(texts);
    *orientation = exif != 0 ? exif : xmp;
    return LK_OK;
}

/* Walks all chunks for eXIf, which may stand behind the pixels. False where the file breaks off before its end, which
 * libspng does not notice in the last four bytes. */
static bool find_exif(const uint8_t *bytes, size_t size, int *orientation) {
    *orientation = 0;
    for (size_t at = 8; size - at >= 12;) {
        size_t length = read_be32(bytes + at);
        const uint8_t *type = bytes + at + 4, *data = bytes + at + 8;
        if (length > size - at - 12) break;
        if (memcmp(type, "IEND", 4) == 0) return true;
        if (memcmp(type, "eXIf", 4) == 0) *orientation = lk_exif_orientation(data, length, length);
        at += 12 + length;
    }
    return false;
}

static lk_status open_context(spng_ctx **out, const uint8_t *bytes, size_t size, struct spng_ihdr *header,
                              lk_error *err) {
    spng_ctx *ctx = spng_ctx_new(0);
    *out = ctx;
    if (ctx == NULL) return fail(SPNG_EMEM, err);
    int code = spng_set_crc_action(ctx, SPNG_CRC_ERROR, SPNG_CRC_ERROR);
    if (code == 0) code = spng_set_chunk_limits(ctx, METADATA_LIMIT, METADATA_LIMIT);
    if (code == 0) code = spng_set_png_buffer(ctx, bytes, size);
    if (code == 0) code = spng_get_ihdr(ctx, header);
    if (code != 0) return fail(code, err);
    LK_RETURN_IF(lk_image_check_size(header->width, header->height, err));
    /* Deflate grows data at most 1032 times. */
    uint64_t row_bytes = ((uint64_t)header->width * header->bit_depth + 7) / 8;
    if (row_bytes * header->height / 1032 > size)
        return lk_fail(err, LK_ERR_DATA, "the PNG is truncated (%u x %u pixels in %zu bytes)", header->width,
                       header->height, size);
    return LK_OK;
}

lk_status lk_png_open(const uint8_t *bytes, size_t size, lk_image_info *info, lk_error *err) {
    spng_ctx *ctx = NULL;
    struct spng_ihdr header;
    int exif = 0, text = 0;
    lk_status status = LK_OK;
    LK_TRY(open_context(&ctx, bytes, size, &header, err));
    LK_TRY(read_texts(ctx, &text, err));
    if (!find_exif(bytes, size, &exif)) LK_TRY(lk_fail(err, LK_ERR_DATA, "the PNG is truncated (it has no end)"));
    info->width = (int32_t)header.width;
    info->height = (int32_t)header.height;
    info->channels = header.color_type == GREY ? 1 : 3;
    info->orientation = exif != 0 ? exif : text != 0 ? text : 1;
out:
    spng_ctx_free(ctx);
    return status;
}

typedef struct png_rows {
    struct spng_ihdr header;
    uint8_t rgb[256][3]; /* of each palette index */
    uint8_t luma[256];
} png_rows;

static void read_palette(spng_ctx *ctx, png_rows *png) {
    struct spng_plte palette;
    if (spng_get_plte(ctx, &palette) != 0) return;
    for (uint32_t i = 0; i < palette.n_entries && i < 256; i++) {
        const struct spng_plte_entry *e = &palette.entries[i];
        png->rgb[i][0] = e->red;
        png->rgb[i][1] = e->green;
        png->rgb[i][2] = e->blue;
        png->luma[i] = lk_luma(e->red, e->green, e->blue);
    }
}

/* Sample x of a row of 1, 2, 4 or 8 bits. */
static uint8_t packed_sample(const uint8_t *row, uint32_t x, unsigned bits) {
    unsigned per_byte = 8 / bits, shift = 8 - bits - x % per_byte * bits;
    return (uint8_t)(row[x / per_byte] >> shift & ((1u << bits) - 1));
}

static void convert_indexed(const png_rows *png, const uint8_t *row, uint8_t *out, int channels) {
    const struct spng_ihdr *header = &png->header;
    unsigned scale = header->color_type == GREY ? 255 / ((1u << header->bit_depth) - 1) : 1;
    for (uint32_t x = 0; x < header->width; x++, out += channels) {
        uint8_t value = (uint8_t)(packed_sample(row, x, header->bit_depth) * scale);
        if (header->color_type == GREY)
            memset(out, value, (size_t)channels);
        else if (channels == 1)
            *out = png->luma[value];
        else
            memcpy(out, png->rgb[value], 3);
    }
}

static uint8_t sample_of(const uint8_t *p, unsigned bits, bool clip) {
    if (bits == 8) return *p;
    uint16_t value;
    memcpy(&value, p, sizeof value); /* in the byte order of the machine */
    if (clip) return value > 255 ? 255 : (uint8_t)value;
    return (uint8_t)(value >> 8);
}

static void convert_direct(const png_rows *png, const uint8_t *row, uint8_t *out, int channels) {
    const struct spng_ihdr *header = &png->header;
    unsigned bits = header->bit_depth, bytes = bits / 8, type = header->color_type;
    bool grey = type == GREY || type == GREY_ALPHA;
    unsigned step = bytes * (grey ? 1 + (type == GREY_ALPHA) : 3 + (type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA));
    for (uint32_t x = 0; x < header->width; x++, row += step, out += channels) {
        if (grey) {
            memset(out, sample_of(row, bits, type == GREY), (size_t)channels);
            continue;
        }
        uint8_t rgb[3];
        for (unsigned c = 0; c < 3; c++) rgb[c] = sample_of(row + c * bytes, bits, false);
        if (channels == 1)
            *out = lk_luma(rgb[0], rgb[1], rgb[2]);
        else
            memcpy(out, rgb, 3);
    }
}

static lk_status read_rows(spng_ctx *ctx, png_rows *png, lk_image *out, int channels, lk_image *raw, lk_error *err) {
    const struct spng_ihdr *header = &png->header;
    unsigned type = header->color_type;
    size_t length = 0;
    int code = spng_decoded_image_size(ctx, SPNG_FMT_PNG, &length);
    if (code != 0) return fail(code, err);
    bool direct = header->bit_depth == 8 &&
                  ((type == SPNG_COLOR_TYPE_TRUECOLOR && channels == 3) || (type == GREY && channels == 1));
    LK_RETURN_IF(lk_image_reserve(out, header->width, header->height, channels, err));
    if (!direct)
        LK_RETURN_IF(lk_image_reserve(raw, header->width, header->height, header->bit_depth == 16 ? 8 : 4, err));
    uint8_t *pixels = direct ? out->pixels : raw->pixels;
    code = spng_decode_image(ctx, pixels, length, SPNG_FMT_PNG, 0);
    if (code == 0) code = spng_decode_chunks(ctx);
    if (code != 0) return fail(code, err);
    if (direct) return LK_OK;
    read_palette(ctx, png);
    bool indexed = type == PALETTE || header->bit_depth < 8;
    for (uint32_t y = 0; y < header->height; y++) {
        const uint8_t *row = pixels + length / header->height * y;
        uint8_t *to = out->pixels + (size_t)y * header->width * (size_t)channels;
        if (indexed)
            convert_indexed(png, row, to, channels);
        else
            convert_direct(png, row, to, channels);
    }
    return LK_OK;
}

lk_status lk_png_read(const uint8_t *bytes, size_t size, lk_image *out, int channels, lk_image *raw, lk_error *err) {
    spng_ctx *ctx = NULL;
    png_rows png = {0};
    lk_status status = LK_OK;
    LK_TRY(open_context(&ctx, bytes, size, &png.header, err));
    LK_TRY(read_rows(ctx, &png, out, channels, raw, err));
out:
    spng_ctx_free(ctx);
    return status;
}
