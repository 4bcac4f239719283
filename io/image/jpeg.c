/* JPEG through libjpeg's interface (libjpeg-turbo): TurboJPEG's would hide which warning came and cannot skip. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// clang-format off
#include <jpeglib.h> /* needs stdio.h before it */
#include <jerror.h>
// clang-format on

#include "core/memory.h"
#include "io/image/codec.h"

/* Scans of a progressive file that are accepted: each can cost a pass over the whole picture for a few bytes. */
#define MAX_SCANS 500
/* Fancy upsampling looks one chroma sample to each side; a cut this far away leaves the wanted pixels exact. */
#define MARGIN 32

struct lk_jpeg {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave; /* of the function that is inside the library */
    char message[JMSG_LENGTH_MAX];
    lk_image line; /* one row as the library gives it, where it must be converted */
};

_Noreturn static void on_error(j_common_ptr common) {
    lk_jpeg *jpeg = common->client_data;
    common->err->format_message(common, jpeg->message);
    longjmp(jpeg->leave, 1);
}

/* The library goes on with grey blocks after these; a trainer must not. */
static bool is_fatal(int warning) {
    return warning == JWRN_JPEG_EOF || warning == JWRN_HIT_MARKER || warning == JWRN_HUFF_BAD_CODE ||
           warning == JWRN_ARITH_BAD_CODE || warning == JWRN_MUST_RESYNC;
}

static void on_message(j_common_ptr common, int level) {
    if (level < 0 && is_fatal(common->err->msg_code)) on_error(common);
}

static void on_progress(j_common_ptr common) {
    lk_jpeg *jpeg = common->client_data;
    if (jpeg->info.input_scan_number <= MAX_SCANS) return;
    snprintf(jpeg->message, sizeof jpeg->message, "more than %d scans", MAX_SCANS);
    longjmp(jpeg->leave, 1);
}

static void be_silent(j_common_ptr common) { (void)common; }

static lk_status fail(const lk_jpeg *jpeg, lk_error *err) {
    if (jpeg->errors.msg_code == JERR_OUT_OF_MEMORY)
        return lk_fail(err, LK_ERR_MEMORY, "cannot allocate memory to decode a JPEG");
    return lk_fail(err, LK_ERR_DATA, "the JPEG is truncated or corrupt (%s)", jpeg->message);
}

/* A new decompressor: one that is used again keeps the tables of the last picture, for files that lack theirs. */
static void reset(lk_jpeg *jpeg) {
    struct jpeg_decompress_struct *info = &jpeg->info;
    jpeg_destroy_decompress(info);
    info->err = jpeg_std_error(&jpeg->errors);
    jpeg->errors.error_exit = on_error;
    jpeg->errors.emit_message = on_message;
    jpeg->errors.output_message = be_silent;
    info->client_data = jpeg;
    jpeg_create_decompress(info);
    jpeg->progress.progress_monitor = on_progress;
    info->progress = &jpeg->progress;
}

lk_status lk_jpeg_create(lk_jpeg **out, lk_error *err) { return LK_NEW(out, 1, "a JPEG decoder", err); }

void lk_jpeg_free(lk_jpeg *jpeg) {
    if (jpeg == NULL) return;
    jpeg_destroy_decompress(&jpeg->info);
    lk_image_free(&jpeg->line);
    lk_free(jpeg);
}

/* Walks the segments before the first scan for EXIF, then XMP. */
static int find_orientation(const uint8_t *bytes, size_t size) {
    static const char xmp_name[] = "http://ns.adobe.com/xap/1.0/";
    enum { APP1 = 0xE1, SOS = 0xDA, EOI = 0xD9 };
    const uint8_t *exif = NULL, *xmp = NULL;
    size_t exif_size = 0, exif_whole = 0, xmp_size = 0;
    for (size_t at = 2; at + 4 <= size && bytes[at] == 0xFF;) {
        uint8_t marker = bytes[at + 1];
        if (marker == 0xFF) {
            at++;
            continue;
        }
        if (marker == SOS || marker == EOI) break;
        size_t length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length < 2 || length > size - at - 2) break;
        const uint8_t *segment = bytes + at + 4;
        size_t payload = length - 2;
        if (marker == APP1 && payload >= 6 && memcmp(segment, "Exif\0\0", 6) == 0) {
            if (exif == NULL) {
                exif = segment;
                exif_size = exif_whole = payload;
            } else
                exif_whole += payload - 6;
        } else if (marker == APP1 && payload >= sizeof xmp_name && memcmp(segment, xmp_name, sizeof xmp_name) == 0) {
            xmp = segment + sizeof xmp_name;
            xmp_size = payload - sizeof xmp_name;
        }
        at += 2 + length;
    }
    int orientation = exif != NULL ? lk_exif_orientation(exif, exif_size, exif_whole) : 0;
    if (orientation == 0 && xmp != NULL) orientation = lk_xmp_orientation(xmp, xmp_size);
    return orientation == 0 ? 1 : orientation;
}

/* Pillow's rules: 8 bits; 1, 3 or 4 components. */
static lk_status check_header(const struct jpeg_decompress_struct *info, size_t size, lk_error *err) {
    LK_RETURN_IF(lk_image_check_size(info->image_width, info->image_height, err));
    if (info->data_precision != 8)
        return lk_fail(err, LK_ERR_DATA, "the JPEG has %d bits per sample; only 8 are read", info->data_precision);
    if (info->num_components != 1 && info->num_components != 3 && info->num_components != 4)
        return lk_fail(err, LK_ERR_DATA, "the JPEG has %d components; 1, 3 or 4 are read", info->num_components);
    /* A Huffman code has at least one bit, and every 8 x 8 block of the first component needs one. */
    int64_t block_pixels = INT64_C(64) * info->max_h_samp_factor * info->max_v_samp_factor;
    int64_t pixels = (int64_t)info->image_width * info->image_height;
    if (!info->arith_code && pixels / block_pixels > (int64_t)size * 8)
        return lk_fail(err, LK_ERR_DATA, "the JPEG is truncated (%u x %u pixels in %zu bytes)", info->image_width,
                       info->image_height, size);
    return LK_OK;
}

lk_status lk_jpeg_open(lk_jpeg *jpeg, const uint8_t *bytes, size_t size, lk_image_info *out, lk_error *err) {
    struct jpeg_decompress_struct *info = &jpeg->info;
    if (setjmp(jpeg->leave)) return fail(jpeg, err);
    reset(jpeg);
    jpeg_mem_src(info, bytes, size);
    jpeg_read_header(info, TRUE);
    LK_RETURN_IF(check_header(info, size, err));
    out->width = (int32_t)info->image_width;
    out->height = (int32_t)info->image_height;
    out->channels = info->num_components == 1 ? 1 : 3;
    out->orientation = find_orientation(bytes, size);
    return LK_OK;
}

void lk_jpeg_scale(lk_jpeg *jpeg, int32_t min_width, int32_t min_height, int32_t *width, int32_t *height) {
    struct jpeg_decompress_struct *info = &jpeg->info;
    for (unsigned scale = 1; scale <= 8; scale *= 2) {
        info->scale_num = scale;
        info->scale_denom = 8;
        *width = (int32_t)((info->image_width * scale + 7) / 8);
        *height = (int32_t)((info->image_height * scale + 7) / 8);
        if (*width >= min_width && *height >= min_height) return;
    }
}

/* Adobe's inverted CMYK to RGB. Source: Pillow, "CMYK;I" and convert("RGB"). */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t k = cmyk[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            uint32_t product = (255u - cmyk[4 * i + c]) * k + 128;
            uint32_t ink = ((product >> 8) + product) >> 8;
            rgb[3 * i + c] = (uint8_t)(k > ink ? k - ink : 0);
        }
    }
}

static void convert_line(const lk_jpeg *jpeg, uint8_t *out, int channels, size_t count) {
    uint8_t *line = jpeg->line.pixels;
    if (jpeg->info.out_color_space == JCS_CMYK) {
        cmyk_to_rgb(line, line, count);
        lk_convert_channels(out, channels, line, 3, count);
    } else
        lk_convert_channels(out, channels, line, jpeg->info.output_components, count);
}

/* Cuts away what `want` does not need, with a margin that keeps its pixels exact. Returns the rows still to drop. */
static uint32_t cut(struct jpeg_decompress_struct *info, const lk_rect *want, lk_rect *got) {
    uint32_t width = info->output_width;
    uint32_t x0 = want->x > MARGIN ? (uint32_t)want->x - MARGIN : 0;
    uint32_t x1 = (uint32_t)(want->x + want->width) + MARGIN;
    if (x1 > width) x1 = width;
    if (x1 - x0 < width) {
        JDIMENSION offset = x0, count = x1 - x0;
        jpeg_crop_scanline(info, &offset, &count);
        x0 = offset;
    } else
        x0 = 0;
    uint32_t skip = want->y > MARGIN ? (uint32_t)want->y - MARGIN : 0;
    if (skip > 0) jpeg_skip_scanlines(info, skip);
    *got = (lk_rect){(int32_t)x0, want->y, (int32_t)info->output_width, want->height};
    return (uint32_t)want->y - skip;
}

static lk_status start(lk_jpeg *jpeg, lk_image *out, int channels, const lk_rect *want, lk_rect *got, uint32_t *drop,
                       lk_error *err) {
    struct jpeg_decompress_struct *info = &jpeg->info;
    info->dct_method = JDCT_ISLOW;
    info->do_fancy_upsampling = TRUE;
    info->out_color_space = info->num_components == 4                    ? JCS_CMYK
                            : info->num_components == 1 && channels == 1 ? JCS_GRAYSCALE
                                                                         : JCS_RGB;
    jpeg_start_decompress(info);
    *drop = cut(info, want, got);
    LK_RETURN_IF(lk_image_reserve(out, got->width, got->height, channels, err));
    return lk_image_reserve(&jpeg->line, got->width, 1, 4, err);
}

lk_status lk_jpeg_read(lk_jpeg *jpeg, lk_image *out, int channels, const lk_rect *want, lk_rect *got, lk_error *err) {
    enum { ROWS = 16 };
    struct jpeg_decompress_struct *info = &jpeg->info;
    uint32_t drop = 0;
    if (setjmp(jpeg->leave)) return fail(jpeg, err);
    LK_RETURN_IF(start(jpeg, out, channels, want, got, &drop, err));
    JSAMPROW line = jpeg->line.pixels;
    while (drop > 0) drop -= jpeg_read_scanlines(info, &line, 1);
    size_t row_bytes = (size_t)out->width * (size_t)channels;
    bool direct = info->output_components == channels && info->out_color_space != JCS_CMYK;
    for (int32_t y = 0; y < out->height;) {
        uint8_t *row = out->pixels + (size_t)y * row_bytes;
        if (!direct) {
            y += (int32_t)jpeg_read_scanlines(info, &line, 1);
            convert_line(jpeg, row, channels, (size_t)out->width);
            continue;
        }
        JSAMPROW rows[ROWS];
        int32_t count = out->height - y < ROWS ? out->height - y : ROWS;
        for (int32_t i = 0; i < count; i++) rows[i] = row + (size_t)i * row_bytes;
        y += (int32_t)jpeg_read_scanlines(info, rows, (JDIMENSION)count);
    }
    return LK_OK;
}

lk_status lk_jpeg_finish(lk_jpeg *jpeg, lk_error *err) {
    struct jpeg_decompress_struct *info = &jpeg->info;
    if (setjmp(jpeg->leave)) return fail(jpeg, err);
    /* The last line is read: a skip to the very end would look at nothing. */
    JSAMPROW line = jpeg->line.pixels;
    uint32_t left = info->output_height - info->output_scanline;
    if (left > 1) jpeg_skip_scanlines(info, left - 1);
    if (left > 0) jpeg_read_scanlines(info, &line, 1);
    jpeg_finish_decompress(info);
    return LK_OK;
}

typedef struct jpeg_writer {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf leave;
    char message[JMSG_LENGTH_MAX];
    unsigned char *bytes;
    unsigned long size;
} jpeg_writer;

_Noreturn static void on_write_error(j_common_ptr common) {
    jpeg_writer *writer = common->client_data;
    common->err->format_message(common, writer->message);
    longjmp(writer->leave, 1);
}

static lk_status write_jpeg(jpeg_writer *writer, const lk_image *image, int quality, lk_error *err) {
    struct jpeg_compress_struct *info = &writer->info;
    info->err = jpeg_std_error(&writer->errors);
    writer->errors.error_exit = on_write_error;
    writer->errors.output_message = be_silent;
    info->client_data = writer;
    if (setjmp(writer->leave)) return lk_fail(err, LK_ERR_DATA, "cannot encode a JPEG (%s)", writer->message);
    jpeg_create_compress(info);
    jpeg_mem_dest(info, &writer->bytes, &writer->size);
    info->image_width = (JDIMENSION)image->width;
    info->image_height = (JDIMENSION)image->height;
    info->input_components = image->channels;
    info->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_quality(info, quality, TRUE);
    jpeg_start_compress(info, TRUE);
    while (info->next_scanline < info->image_height) {
        JSAMPROW row = image->pixels + (size_t)info->next_scanline * (size_t)image->width * (size_t)image->channels;
        jpeg_write_scanlines(info, &row, 1);
    }
    jpeg_finish_compress(info);
    return LK_OK;
}

lk_status lk_image_encode_jpeg(uint8_t **bytes, size_t *size, const lk_image *image, int quality, lk_error *err) {
    *bytes = NULL;
    *size = 0;
    LK_RETURN_IF(lk_image_check_size(image->width, image->height, err));
    jpeg_writer *writer = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&writer, 1, "a JPEG encoder", err));
    LK_TRY(write_jpeg(writer, image, quality, err));
    LK_TRY(lk_alloc((void **)bytes, writer->size, 1, "an encoded image", err));
    memcpy(*bytes, writer->bytes, writer->size);
    *size = writer->size;
out:
    if (writer != NULL) {
        jpeg_destroy_compress(&writer->info);
        free(writer->bytes);
    }
    lk_free(writer);
    return status;
}
