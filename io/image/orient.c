#include <string.h>

#include "io/image/codec.h"

/* TIFF integers in the block's byte order. */
static uint32_t read_u16(const uint8_t *p, bool big) {
    return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}
static uint32_t read_u32(const uint8_t *p, bool big) {
    return big ? read_u16(p, big) << 16 | read_u16(p + 2, big) : read_u16(p + 2, big) << 16 | read_u16(p, big);
}

/* Bytes of one value of a TIFF type; 0 for an unknown type. */
static size_t type_size(uint32_t type) {
    static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
    return type < sizeof sizes ? sizes[type] : 0;
}

/* First value of an orientation entry, or 0 when its type is not an integer. */
static int entry_value(const uint8_t *value, uint32_t type, bool big) {
    enum { BYTE = 1, SHORT = 3, LONG = 4, SIGNED_BYTE = 6, SIGNED_SHORT = 8, SIGNED_LONG = 9 };
    uint32_t v = 0;
    if (type == SHORT || type == SIGNED_SHORT) v = read_u16(value, big);
    if (type == LONG || type == SIGNED_LONG) v = read_u32(value, big);
    if (type == SIGNED_BYTE) v = value[0];
    return v >= 1 && v <= 8 ? (int)v : 1;
}

int lk_exif_orientation(const uint8_t *exif, size_t size, size_t whole) {
    enum { TAG = 0x0112, ENTRY = 12 };
    for (int i = 0; i < 2 && size >= 6 && memcmp(exif, "Exif\0\0", 6) == 0; i++) {
        exif += 6;
        size -= 6;
        whole -= 6;
    }
    if (size < 8 || (memcmp(exif, "II", 2) != 0 && memcmp(exif, "MM", 2) != 0)) return 0;
    bool big = exif[0] == 'M';
    if (read_u16(exif + 2, big) != 42 && read_u16(exif + 2, !big) != 42) return 0;
    size_t at = read_u32(exif + 4, big);
    if (at > size - 2) return 0;
    uint32_t entries = read_u16(exif + at, big);
    int orientation = 0;
    for (at += 2; entries > 0 && at <= size && size - at >= ENTRY; entries--, at += ENTRY) {
        const uint8_t *entry = exif + at;
        uint32_t type = read_u16(entry + 2, big);
        uint64_t bytes = (uint64_t)read_u32(entry + 4, big) * type_size(type);
        if (bytes == 0) continue;
        size_t offset = at + 8;
        if (bytes > 4) {
            offset = read_u32(entry + 8, big);
            /* A value outside the block ends the directory, as in Pillow. */
            if (offset > whole || bytes > whole - offset) break;
        }
        if (read_u16(entry, big) == TAG && offset <= size && size - offset >= 4)
            orientation = entry_value(exif + offset, type, big);
    }
    return orientation;
}

int lk_xmp_orientation(const uint8_t *xmp, size_t size) {
    static const char name[] = "tiff:Orientation";
    const size_t length = sizeof name - 1;
    const uint8_t *end = xmp + size;
    for (const uint8_t *p = xmp; (p = memmem(p, (size_t)(end - p), name, length)) != NULL; p++) {
        const uint8_t *value = p + length;
        if (end - value >= 2 && value[0] == '>')
            value += 1;
        else if (end - value >= 3 && value[0] == '=' && value[1] == '"')
            value += 2;
        else
            continue;
        if (*value < '0' || *value > '9') continue;
        return *value >= '1' && *value <= '8' ? *value - '0' : 1;
    }
    return 0;
}

/* What an orientation does to the stored picture: transpose first, then mirror. */
typedef struct turn {
    bool transpose, mirror_x, mirror_y;
} turn;

static turn turn_of(int orientation) {
    static const turn turns[9] = {
        {0, 0, 0}, {0, 0, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1}, {1, 0, 0}, {1, 1, 0}, {1, 1, 1}, {1, 0, 1},
    };
    return turns[orientation >= 1 && orientation <= 8 ? orientation : 1];
}

static lk_rect transpose(lk_rect r) { return (lk_rect){r.y, r.x, r.height, r.width}; }

static lk_rect mirror(lk_rect r, turn t, int32_t width, int32_t height) {
    if (t.mirror_x) r.x = width - r.x - r.width;
    if (t.mirror_y) r.y = height - r.y - r.height;
    return r;
}

lk_rect lk_orient_to_stored(lk_rect rect, int orientation, int32_t width, int32_t height) {
    turn t = turn_of(orientation);
    rect = mirror(rect, t, width, height);
    return t.transpose ? transpose(rect) : rect;
}

lk_rect lk_orient_to_displayed(lk_rect rect, int orientation, int32_t width, int32_t height) {
    turn t = turn_of(orientation);
    return t.transpose ? mirror(transpose(rect), t, height, width) : mirror(rect, t, width, height);
}

/* Copies in squares, so that a transposition touches few cache lines at a time. */
static void turn_pixels(uint8_t *out, const uint8_t *in, int32_t width, int32_t height, ptrdiff_t step_x,
                        ptrdiff_t step_y, int channels) {
    enum { SQUARE = 32 };
    for (int32_t y0 = 0; y0 < height; y0 += SQUARE) {
        int32_t y1 = y0 + SQUARE < height ? y0 + SQUARE : height;
        for (int32_t x0 = 0; x0 < width; x0 += SQUARE) {
            int32_t x1 = x0 + SQUARE < width ? x0 + SQUARE : width;
            for (int32_t y = y0; y < y1; y++) {
                const uint8_t *from = in + y * step_y + x0 * step_x;
                uint8_t *to = out + ((ptrdiff_t)y * width + x0) * channels;
                for (int32_t x = x0; x < x1; x++, from += step_x, to += channels)
                    for (int c = 0; c < channels; c++) to[c] = from[c];
            }
        }
    }
}

lk_status lk_orient_image(lk_image *out, const lk_image *in, int orientation, lk_error *err) {
    turn t = turn_of(orientation);
    int32_t width = t.transpose ? in->height : in->width, height = t.transpose ? in->width : in->height;
    LK_RETURN_IF(lk_image_reserve(out, width, height, in->channels, err));
    ptrdiff_t pixel = in->channels, row = (ptrdiff_t)in->width * pixel;
    ptrdiff_t step_x = t.transpose ? row : pixel, step_y = t.transpose ? pixel : row;
    const uint8_t *first = in->pixels;
    if (t.mirror_x) {
        first += (ptrdiff_t)(width - 1) * step_x;
        step_x = -step_x;
    }
    if (t.mirror_y) {
        first += (ptrdiff_t)(height - 1) * step_y;
        step_y = -step_y;
    }
    if (in->channels == 3)
        turn_pixels(out->pixels, first, width, height, step_x, step_y, 3);
    else
        turn_pixels(out->pixels, first, width, height, step_x, step_y, in->channels);
    return LK_OK;
}
