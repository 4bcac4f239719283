#include "io/scan/fingerprint.h"

#include <math.h>

#include "io/data/writer.h"
#include "io/image/codec.h"

lk_status lk_fingerprint_tools_init(lk_fingerprint_tools *tools, lk_error *err) {
    *tools = (lk_fingerprint_tools){0};
    LK_RETURN_IF(lk_scan_reader_init(&tools->reader, err));
    return lk_resizer_create(&tools->resizer, err);
}

void lk_fingerprint_tools_free(lk_fingerprint_tools *tools) {
    lk_scan_reader_free(&tools->reader);
    lk_resizer_free(tools->resizer);
    lk_image_free(&tools->grey);
    *tools = (lk_fingerprint_tools){0};
}

static float deviation_of(const uint8_t *grey, size_t count) {
    uint64_t sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += grey[i];
        squares += (uint64_t)grey[i] * grey[i];
    }
    double mean = (double)sum / (double)count, variance = (double)squares / (double)count - mean * mean;
    return (float)sqrt(variance > 0 ? variance : 0);
}

static float chroma_of(const lk_image *image) {
    if (image->channels == 1) return 0;
    size_t count = (size_t)image->width * (size_t)image->height;
    uint64_t squares = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = image->pixels + 3 * i;
        int most = p[0] > p[1] ? p[0] : p[1], least = p[0] < p[1] ? p[0] : p[1];
        most = most > p[2] ? most : p[2];
        least = least < p[2] ? least : p[2];
        squares += (uint64_t)((most - least) * (most - least));
    }
    return (float)sqrt((double)squares / (double)count);
}

lk_status lk_fingerprint_take(lk_fingerprint *out, uint8_t *thumbnail, const lk_scan_source *source, int64_t i,
                              lk_fingerprint_tools *tools, lk_error *err) {
    lk_image_info info;
    lk_scan_reader *reader = &tools->reader;
    *out = (lk_fingerprint){0};
    LK_RETURN_IF(lk_scan_source_decode(source, i, 2 * LK_SCAN_SIDE, reader, &info, err));
    const lk_image *image = &reader->image;
    size_t count = (size_t)image->width * (size_t)image->height;
    LK_RETURN_IF(lk_image_reserve(&tools->grey, image->width, image->height, 1, err));
    lk_convert_channels(tools->grey.pixels, 1, image->pixels, image->channels, count);
    LK_RETURN_IF(lk_resize(tools->resizer, &tools->grey, NULL, LK_SCAN_SIDE, LK_SCAN_SIDE, LK_BILINEAR, thumbnail,
                           LK_SCAN_SIDE, err));
    lk_bytes_hash(reader->bytes, reader->length, out->bytes);
    out->length = reader->length;
    out->width = info.width;
    out->height = info.height;
    out->deviation = deviation_of(tools->grey.pixels, count);
    out->chroma = chroma_of(image);
    out->readable = true;
    return LK_OK;
}

lk_status lk_fingerprint_pixels(uint64_t hash[2], const lk_scan_source *source, int64_t i, lk_fingerprint_tools *tools,
                                lk_error *err) {
    LK_RETURN_IF(lk_scan_source_decode(source, i, 0, &tools->reader, NULL, err));
    const lk_image *image = &tools->reader.image;
    size_t count = (size_t)image->width * (size_t)image->height;
    if (image->channels == 3) {
        lk_bytes_hash(image->pixels, 3 * (int64_t)count, hash);
        return LK_OK;
    }
    LK_RETURN_IF(lk_image_reserve(&tools->grey, image->width, image->height, 3, err));
    lk_convert_channels(tools->grey.pixels, 3, image->pixels, 1, count);
    lk_bytes_hash(tools->grey.pixels, 3 * (int64_t)count, hash);
    return LK_OK;
}
