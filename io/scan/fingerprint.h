/* What a scan keeps of each image: hashes, a thumbnail, how bright and how coloured it is. */
#ifndef LK_IO_SCAN_FINGERPRINT_H
#define LK_IO_SCAN_FINGERPRINT_H

#include "io/image/resize.h"
#include "io/scan/source.h"

enum { LK_SCAN_SIDE = 32, LK_SCAN_PIXELS = LK_SCAN_SIDE * LK_SCAN_SIDE }; /* of a thumbnail */

typedef struct lk_fingerprint {
    uint64_t bytes[2]; /* XXH3-128 of the encoded bytes */
    int64_t length;    /* of the bytes */
    int32_t width, height;
    float deviation; /* standard deviation of its grey levels. Unit: levels of 0..255 */
    float chroma;    /* root mean square over pixels of max(R, G, B) - min(R, G, B); the same unit */
    bool readable;
} lk_fingerprint;

/* An image that is one colour all over: nothing can be learned from it, and it resembles every other such image. */
static inline bool lk_fingerprint_is_blank(const lk_fingerprint *f) { return f->readable && f->deviation < 2.0f; }
static inline bool lk_fingerprint_is_grey(const lk_fingerprint *f) { return f->readable && f->chroma < 3.0f; }

typedef struct lk_fingerprint_tools {
    lk_scan_reader reader;
    lk_resizer *resizer;
    lk_image grey;
} lk_fingerprint_tools;
LK_MUST_CHECK lk_status lk_fingerprint_tools_init(lk_fingerprint_tools *tools, lk_error *err);
void lk_fingerprint_tools_free(lk_fingerprint_tools *tools); /* frees the content, not the struct */

/* Reads sample i to its end. thumbnail: LK_SCAN_PIXELS grey levels, the whole image squeezed into a square (antialiased
 * bilinear), from JPEG's scaled decoding. Any thread with its own tools. Errors: as lk_scan_source_decode. */
LK_MUST_CHECK lk_status lk_fingerprint_take(lk_fingerprint *out, uint8_t *thumbnail, const lk_scan_source *source,
                                            int64_t i, lk_fingerprint_tools *tools, lk_error *err);

/* XXH3-128 of all pixels of sample i as RGB, whatever the encoding. Errors: as lk_scan_source_decode. */
LK_MUST_CHECK lk_status lk_fingerprint_pixels(uint64_t hash[2], const lk_scan_source *source, int64_t i,
                                              lk_fingerprint_tools *tools, lk_error *err);

#endif
