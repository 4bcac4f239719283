/* Image files: probe, whole and partial decoding, evaluation and training transforms must agree on what is a picture,
 * and end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <jpeglib.h> /* needs stdio.h before it */
// clang-format on
#include <spng.h>
#include <webp/encode.h>

#include "core/memory.h"
#include "fuzz.h"
#include "io/image/transform.h"

/* Larger pictures are left to the tests of limits: a mutated header must not make a run of thousands crawl. */
#define MAX_PIXELS (1 << 20)

static void require(bool condition, const char *what, const lk_error *err) {
    if (condition) return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    abort();
}

/* A refusal is LK_ERR_DATA with one sentence, never anything else. */
static bool accepted(lk_status status, lk_error *err) {
    if (status == LK_OK) return true;
    require(status == LK_ERR_DATA && err->message[0] != '\0' && strchr(err->message, '\n') == NULL, "bad refusal", err);
    lk_error_clear(err);
    return false;
}

static void run_transforms(const uint8_t *bytes, size_t size, const lk_image_info *info, bool whole) {
    static const lk_augment augment = {.crop = LK_CROP_RANDOM_RESIZED,
                                       .scale_min = 0.08,
                                       .scale_max = 1,
                                       .ratio_min = 3.0 / 4,
                                       .ratio_max = 4.0 / 3,
                                       .hflip = 0.5};
    lk_error err = {0};
    uint8_t out[24 * 20 * 3];
    lk_transformer *transformer = NULL;
    for (int i = 0; i < 4; i++) {
        lk_preprocess p = {.channels = i == 1 ? 1 : 3,
                           .width = 24,
                           .height = 20,
                           .resize = LK_RESIZE_SHORT_SIDE,
                           .resize_size = 26,
                           .interpolation = (lk_interpolation)(i % 2),
                           .scaled_decode = i >= 2};
        lk_sample_key key = {size, (uint32_t)i, bytes[size / 2]};
        bool training = i % 2 == 1;
        require(lk_transformer_create(&transformer, &p, &err) == LK_OK, "no transformer", &err);
        bool good = accepted(lk_transform(transformer, bytes, size, info->encoding, 0, 0, 0, training ? &augment : NULL,
                                          &key, out, &err),
                             &err);
        if (whole) require(good, "a whole picture was refused", &err);
        lk_transformer_free(transformer);
    }
}

static bool run_decoder(lk_decoder *decoder, const uint8_t *bytes, size_t size, const lk_image_info *info) {
    lk_error err = {0};
    lk_image whole = {0}, part = {0};
    lk_rect got, want = {info->width / 3, info->height / 4, (info->width + 1) / 2, (info->height + 1) / 2};
    bool good = accepted(lk_image_decode(decoder, &whole, bytes, size, 3, 0, 0, &err), &err);
    if (good) {
        require(whole.width == info->width && whole.height == info->height, "another size than probed", &err);
        require(lk_decoder_open(decoder, bytes, size, NULL, &err) == LK_OK, "opened once, not twice", &err);
        require(lk_decoder_read(decoder, &part, 3, &want, &got, &err) == LK_OK, "a part of a whole", &err);
        for (int y = want.y; y < want.y + want.height; y++)
            require(memcmp(part.pixels + ((size_t)(y - got.y) * (size_t)got.width + (size_t)(want.x - got.x)) * 3,
                           whole.pixels + ((size_t)y * (size_t)info->width + (size_t)want.x) * 3,
                           (size_t)want.width * 3) == 0,
                    "a part differs from the whole", &err);
        require(lk_decoder_finish(decoder, &err) == LK_OK, "the end of a whole", &err);
    }
    require(accepted(lk_image_decode(decoder, &part, bytes, size, 1, info->width / 4, info->height / 4, &err), &err) ==
                good,
            "grey and scaled decoding differ from RGB in what they accept", &err);
    lk_image_free(&whole);
    lk_image_free(&part);
    return good;
}

static int run_bytes(const uint8_t *bytes, size_t size) {
    lk_error err = {0};
    lk_image_info info;
    lk_decoder *decoder = NULL;
    if (!accepted(lk_image_probe(&info, bytes, size, &err), &err)) return 0;
    if ((int64_t)info.width * info.height > MAX_PIXELS) return 0;
    require(lk_decoder_create(&decoder, &err) == LK_OK, "no decoder", &err);
    bool good = run_decoder(decoder, bytes, size, &info);
    lk_decoder_free(decoder);
    run_transforms(bytes, size, &info, good);
    return good;
}

static uint32_t get_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* CRC-32 of a chunk's name and data. Source: PNG specification, annex D. */
static uint32_t crc_of(const uint8_t *bytes, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* Makes the checksums of a mutated PNG right, so that what lies behind them is reached. */
static void repair_png(uint8_t *bytes, size_t size) {
    for (size_t at = 8; size - at >= 12;) {
        size_t length = get_be32(bytes + at);
        if (length > size - at - 12) return;
        uint32_t crc = crc_of(bytes + at + 4, length + 4);
        for (int i = 0; i < 4; i++) bytes[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + length;
    }
}

int fuzz_run(const uint8_t *bytes, size_t size) {
    int good = run_bytes(bytes, size);
    if (good || size < 20 || memcmp(bytes, "\x89PNG", 4) != 0) return good;
    uint8_t *repaired = malloc(size);
    if (repaired == NULL) abort();
    memcpy(repaired, bytes, size);
    repair_png(repaired, size);
    good = run_bytes(repaired, size);
    free(repaired);
    return good;
}

enum { WIDTH = 53, HEIGHT = 38 };

/* A JPEG of 1, 3 or 4 components, some with restart markers, EXIF and arithmetic coding. */
static uint8_t *make_jpeg(const uint8_t *pixels, int components, bool progressive, int subsampling, size_t *size) {
    static const char exif[] =
        "Exif\0\0II*\0\x08\0\0\0\x02\0\x0F\x01\x02\0\x05\0\0\0\x26\0\0\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0Make";
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *made = NULL;
    unsigned long length = 0;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &made, &length);
    info.image_width = WIDTH;
    info.image_height = HEIGHT;
    info.input_components = components;
    info.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 70, TRUE);
    if (progressive) jpeg_simple_progression(&info);
    info.restart_interval = subsampling == 1 ? 3 : 0;
    if (components == 3) info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor = subsampling;
    jpeg_start_compress(&info, TRUE);
    if (subsampling == 2) jpeg_write_marker(&info, JPEG_APP0 + 1, (const JOCTET *)exif, sizeof exif - 1);
    for (int y = 0; y < HEIGHT; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + y * WIDTH * components);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    *size = length;
    return made;
}

static uint8_t *make_png(const uint8_t *pixels, int type, int depth, bool interlaced, size_t *size) {
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = {WIDTH, HEIGHT, (uint8_t)depth, (uint8_t)type, 0, 0, interlaced};
    struct spng_plte palette = {.n_entries = 1u << (depth < 8 ? depth : 7)};
    for (int i = 0; i < 256; i++) palette.entries[i].red = palette.entries[255 - i].blue = (uint8_t)i;
    int code = 0;
    spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    spng_set_ihdr(ctx, &header);
    if (type == 3) spng_set_plte(ctx, &palette);
    struct spng_exif exif = {26, (char[]){"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0"}};
    if (type == 2) spng_set_exif(ctx, &exif);
    char profile[] = "\nexif\n      26\n49492a0008000000010012010300\n010000000600000000000000";
    struct spng_text text = {"Raw profile type exif", SPNG_ZTXT, sizeof profile - 1, profile, 0, 0, NULL, NULL};
    if (type == 4) spng_set_text(ctx, &text, 1);
    size_t row = ((size_t)(WIDTH * channels[type] * depth) + 7) / 8;
    code = spng_encode_image(ctx, pixels, row * HEIGHT, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    uint8_t *made = code == 0 ? spng_get_png_buffer(ctx, size, &code) : NULL;
    spng_ctx_free(ctx);
    return made;
}

static uint8_t *make_webp(const uint8_t *pixels, int kind, size_t *size) {
    uint8_t *made = NULL;
    if (kind == 0) *size = WebPEncodeRGB(pixels, WIDTH, HEIGHT, WIDTH * 3, 60, &made);
    if (kind == 1) *size = WebPEncodeLosslessRGB(pixels, WIDTH, HEIGHT, WIDTH * 3, &made);
    if (kind == 2) *size = WebPEncodeRGBA(pixels, WIDTH, HEIGHT, WIDTH * 4, 60, &made);
    return made;
}

static uint8_t *make(int i, const uint8_t *pixels, size_t *size) {
    static const int jpegs[][3] = {{3, 0, 2}, {3, 0, 1}, {3, 1, 2}, {1, 0, 1}, {1, 1, 2}, {4, 0, 1}, {4, 1, 2}};
    static const int pngs[][3] = {{0, 1, 0}, {0, 4, 1}, {0, 16, 0}, {2, 8, 0}, {2, 16, 1},
                                  {3, 2, 1}, {3, 8, 0}, {4, 8, 1},  {6, 16, 0}};
    enum { JPEGS = sizeof jpegs / sizeof *jpegs, PNGS = sizeof pngs / sizeof *pngs, WEBPS = 3 };
    if (i < JPEGS) return make_jpeg(pixels, jpegs[i][0], jpegs[i][1] != 0, jpegs[i][2], size);
    i -= JPEGS;
    if (i < PNGS) return make_png(pixels, pngs[i][0], pngs[i][1], pngs[i][2] != 0, size);
    i -= PNGS;
    return i < WEBPS ? make_webp(pixels, i, size) : NULL;
}

uint8_t *fuzz_seed(int i, size_t *size) {
    static uint8_t pixels[WIDTH * HEIGHT * 8];
    for (size_t p = 0; p < sizeof pixels; p++) pixels[p] = (uint8_t)((p * 7 + p / 53 * 3 + p % 11) & 0x7F);
    return make(i, pixels, size);
}
