/* Decoding of files made in memory: what comes out, what is refused (P14), and that a decoder survives a refusal. */
#include "io/image/codec.h"
#include "support.h"

typedef file (*encoder)(const lk_image *);
static file jpeg_of(const lk_image *image) { return encode_jpeg(image, 90); }

static void check_lossless(encoder encode, int channels, lk_encoding encoding) {
    lk_error err = {0};
    lk_image picture = {0}, out = {0};
    lk_image_info info;
    lk_decoder *decoder = NULL;
    make_picture(&picture, 37, 23, channels);
    file f = encode(&picture);
    check_ok(lk_image_probe(&info, f.bytes, f.size, &err), err);
    assert_int_equal(info.encoding, encoding);
    assert_int_equal(info.width, 37);
    assert_int_equal(info.height, 23);
    assert_int_equal(info.channels, encoding == LK_ENCODING_WEBP ? 3 : channels);
    assert_int_equal(info.orientation, 1);
    check_ok(lk_decoder_create(&decoder, &err), err);
    check_ok(lk_image_decode(decoder, &out, f.bytes, f.size, channels, 0, 0, &err), err);
    assert_int_equal(out.width, 37);
    assert_int_equal(out.height, 23);
    assert_int_equal(out.channels, channels);
    assert_memory_equal(out.pixels, picture.pixels, (size_t)(37 * 23 * channels));
    /* To the other number of channels, into the same struct. */
    int other = channels == 3 ? 1 : 3;
    check_ok(lk_image_decode(decoder, &out, f.bytes, f.size, other, 0, 0, &err), err);
    for (int i = 0; i < 37 * 23; i++) {
        const uint8_t *p = picture.pixels + i * channels;
        uint8_t expected = channels == 1 ? p[0] : (uint8_t)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 32768) >> 16);
        for (int c = 0; c < other; c++) assert_int_equal(out.pixels[i * other + c], expected);
    }
    lk_decoder_free(decoder);
    lk_free(f.bytes);
    lk_image_free(&picture);
    lk_image_free(&out);
}

static void test_lossless(void **state) {
    (void)state;
    check_lossless(encode_png, 3, LK_ENCODING_PNG);
    check_lossless(encode_png, 1, LK_ENCODING_PNG);
    check_lossless(encode_webp, 3, LK_ENCODING_WEBP);
}

/* Cut anywhere, a file is refused, and the decoder goes on with the next. */
static void check_truncation(encoder encode) {
    lk_error err = {0};
    lk_image picture = {0}, whole = {0}, out = {0};
    lk_decoder *decoder = NULL;
    make_picture(&picture, 40, 30, 3);
    file f = encode(&picture);
    check_ok(lk_decoder_create(&decoder, &err), err);
    check_ok(lk_image_decode(decoder, &whole, f.bytes, f.size, 3, 0, 0, &err), err);
    for (size_t size = 0; size < f.size; size += size < 64 || size > f.size - 16 ? 1 : 13) {
        uint8_t *cut = malloc(size + 1); /* its own allocation: the address sanitizer sees a read past its end */
        memcpy(cut, f.bytes, size);
        check_fails(lk_image_decode(decoder, &out, cut, size, 3, 0, 0, &err), LK_ERR_DATA, size == 0 ? "empty" : "",
                    err);
        free(cut);
        if (size % 50 != 0) continue;
        check_ok(lk_image_decode(decoder, &out, f.bytes, f.size, 3, 0, 0, &err), err);
        assert_memory_equal(out.pixels, whole.pixels, 40 * 30 * 3);
    }
    lk_decoder_free(decoder);
    lk_free(f.bytes);
    lk_image_free(&picture);
    lk_image_free(&whole);
    lk_image_free(&out);
}

static void test_truncation(void **state) {
    (void)state;
    check_truncation(jpeg_of);
    check_truncation(encode_png);
    check_truncation(encode_webp);
}

static void test_jpeg_orientation(void **state) {
    (void)state;
    static const char exif[] = "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0";
    lk_error err = {0};
    lk_image picture = {0}, plain = {0}, turned = {0}, expected = {0};
    lk_image_info info;
    lk_decoder *decoder = NULL;
    make_picture(&picture, 50, 33, 3);
    file f = encode_jpeg(&picture, 90);
    check_ok(lk_decoder_create(&decoder, &err), err);
    check_ok(lk_image_decode(decoder, &plain, f.bytes, f.size, 3, 0, 0, &err), err);
    insert_segment(&f, 0xE1, exif, sizeof exif);
    check_ok(lk_image_probe(&info, f.bytes, f.size, &err), err);
    assert_int_equal(info.orientation, 6);
    assert_int_equal(info.width, 33);
    assert_int_equal(info.height, 50);
    check_ok(lk_image_decode(decoder, &turned, f.bytes, f.size, 3, 0, 0, &err), err);
    check_ok(lk_orient_image(&expected, &plain, 6, &err), err);
    assert_memory_equal(turned.pixels, expected.pixels, 50 * 33 * 3);
    lk_decoder_free(decoder);
    lk_free(f.bytes);
    lk_image_free(&picture);
    lk_image_free(&plain);
    lk_image_free(&turned);
    lk_image_free(&expected);
}

/* Position of the first segment with this marker. */
static size_t find_segment(const file *jpeg, uint8_t marker) {
    for (size_t at = 2; at + 4 < jpeg->size; at += 2 + ((size_t)jpeg->bytes[at + 2] << 8 | jpeg->bytes[at + 3]))
        if (jpeg->bytes[at + 1] == marker) return at;
    return 0;
}

/* P5: a file without Huffman tables means the standard ones, not those of the file before it. */
static void test_decoder_forgets(void **state) {
    (void)state;
    enum { DHT = 0xC4 };
    lk_error err = {0};
    lk_image picture = {0}, whole = {0}, out = {0};
    lk_decoder *decoder = NULL;
    make_picture(&picture, 40, 30, 3);
    file f = encode_jpeg(&picture, 90), other = encode_jpeg(&picture, 90);
    check_ok(lk_decoder_create(&decoder, &err), err);
    check_ok(lk_image_decode(decoder, &whole, f.bytes, f.size, 3, 0, 0, &err), err);
    for (size_t at; (at = find_segment(&f, DHT)) > 0;) {
        size_t length = 2 + ((size_t)f.bytes[at + 2] << 8 | f.bytes[at + 3]);
        memmove(f.bytes + at, f.bytes + at + length, f.size - at - length);
        f.size -= length;
    }
    uint8_t *symbols = other.bytes + find_segment(&other, DHT) + 4 + 17;
    uint8_t first = symbols[0];
    symbols[0] = symbols[3];
    symbols[3] = first;
    if (lk_image_decode(decoder, &out, other.bytes, other.size, 3, 0, 0, &err) != LK_OK) lk_error_clear(&err);
    check_ok(lk_image_decode(decoder, &out, f.bytes, f.size, 3, 0, 0, &err), err);
    assert_memory_equal(out.pixels, whole.pixels, 40 * 30 * 3);
    lk_decoder_free(decoder);
    lk_free(f.bytes);
    lk_free(other.bytes);
    lk_image_free(&picture);
    lk_image_free(&whole);
    lk_image_free(&out);
}

/* All parts of one picture, on and off the grid of blocks, are parts of the whole decode. */
static void test_regions(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image picture = {0}, whole = {0}, part = {0};
    lk_decoder *decoder = NULL;
    make_picture(&picture, 251, 190, 3);
    file f = encode_jpeg(&picture, 85);
    check_ok(lk_decoder_create(&decoder, &err), err);
    check_ok(lk_image_decode(decoder, &whole, f.bytes, f.size, 3, 0, 0, &err), err);
    int smaller = 0;
    for (int i = 0; i < 400; i++) {
        lk_rect want, got;
        want.x = (int32_t)(noise((uint64_t)i, 1) % 251);
        want.y = (int32_t)(noise((uint64_t)i, 2) % 190);
        want.width = 1 + (int32_t)(noise((uint64_t)i, 3) % (uint32_t)(251 - want.x));
        want.height = 1 + (int32_t)(noise((uint64_t)i, 4) % (uint32_t)(190 - want.y));
        check_ok(lk_decoder_open(decoder, f.bytes, f.size, NULL, &err), err);
        check_ok(lk_decoder_read(decoder, &part, 3, &want, &got, &err), err);
        if (i % 2) check_ok(lk_decoder_finish(decoder, &err), err);
        assert_true(got.x <= want.x && got.y <= want.y && got.x + got.width >= want.x + want.width &&
                    got.y + got.height >= want.y + want.height);
        smaller += got.width < 251 && got.height < 190;
        for (int y = want.y; y < want.y + want.height; y++)
            assert_memory_equal(part.pixels + ((y - got.y) * got.width + want.x - got.x) * 3,
                                whole.pixels + (y * 251 + want.x) * 3, (size_t)want.width * 3);
    }
    assert_true(smaller > 100);
    lk_decoder_free(decoder);
    lk_free(f.bytes);
    lk_image_free(&picture);
    lk_image_free(&whole);
    lk_image_free(&part);
}

/* Patches the size in a JPEG's frame header. */
static void promise_size(file *jpeg, int width, int height) {
    for (size_t i = 0; i + 9 < jpeg->size; i++)
        if (jpeg->bytes[i] == 0xFF && jpeg->bytes[i + 1] == 0xC0) {
            jpeg->bytes[i + 5] = (uint8_t)(height >> 8);
            jpeg->bytes[i + 6] = (uint8_t)height;
            jpeg->bytes[i + 7] = (uint8_t)(width >> 8);
            jpeg->bytes[i + 8] = (uint8_t)width;
            return;
        }
    fail_msg("no frame header");
}

static void test_refusals(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image picture = {0}, out = {0};
    lk_image_info info;
    make_picture(&picture, 16, 16, 3);
    file f = encode_jpeg(&picture, 90);
    promise_size(&f, 65500, 65500);
    check_fails(lk_image_probe(&info, f.bytes, f.size, &err), LK_ERR_DATA, "65500 x 65500 pixels; at most", err);
    promise_size(&f, 15000, 15000);
    check_fails(lk_image_probe(&info, f.bytes, f.size, &err), LK_ERR_DATA, "truncated (15000 x 15000 pixels in", err);
    promise_size(&f, 0, 16);
    check_fails(lk_image_probe(&info, f.bytes, f.size, &err), LK_ERR_DATA, "JPEG", err);
    check_fails(lk_image_probe(&info, f.bytes, 0, &err), LK_ERR_DATA, "empty", err);
    check_fails(lk_image_probe(&info, (const uint8_t *)"BM6 something", 13, &err), LK_ERR_DATA,
                "not a JPEG, PNG or WebP", err);
    check_fails(lk_image_reserve(&out, 65501, 1, 3, &err), LK_ERR_DATA, "at most 65500 a side", err);
    check_fails(lk_image_reserve(&out, 65500, 5000, 3, &err), LK_ERR_DATA, "268435456 in all", err);
    check_fails(lk_image_reserve(&out, 0, 5, 3, &err), LK_ERR_DATA, "no pixels", err);
    assert_null(out.pixels);
    lk_decoder *decoder = NULL;
    lk_rect got;
    check_ok(lk_decoder_create(&decoder, &err), err);
    check_fails(lk_decoder_read(decoder, &out, 3, NULL, &got, &err), LK_ERR_INTERNAL, "before it was opened", err);
    lk_decoder_free(decoder);
    lk_decoder_free(NULL);
    lk_image_free(NULL);
    lk_free(f.bytes);
    lk_image_free(&picture);
}

static void test_buffers_are_used_again(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image image = {0};
    check_ok(lk_image_reserve(&image, 100, 50, 3, &err), err);
    uint8_t *first = image.pixels;
    check_ok(lk_image_reserve(&image, 30, 40, 1, &err), err);
    assert_ptr_equal(image.pixels, first);
    assert_int_equal(image.capacity, 100 * 50 * 3);
    lk_image_free(&image);
    assert_null(image.pixels);
}

static void test_encode(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image picture = {0}, out = {0}, empty = {0};
    lk_decoder *decoder = NULL;
    check_ok(lk_decoder_create(&decoder, &err), err);
    for (int channels = 1; channels <= 3; channels += 2) {
        make_picture(&picture, 61, 47, channels);
        size_t sizes[2];
        for (int i = 0; i < 2; i++) {
            file f = encode_jpeg(&picture, i ? 95 : 20);
            sizes[i] = f.size;
            check_ok(lk_image_decode(decoder, &out, f.bytes, f.size, channels, 0, 0, &err), err);
            assert_int_equal(out.width, 61);
            assert_int_equal(out.height, 47);
            lk_free(f.bytes);
        }
        assert_true(sizes[0] < sizes[1]);
    }
    uint8_t *bytes;
    size_t size;
    check_fails(lk_image_encode_jpeg(&bytes, &size, &empty, 90, &err), LK_ERR_DATA, "no pixels", err);
    assert_null(bytes);
    lk_decoder_free(decoder);
    lk_image_free(&picture);
    lk_image_free(&out);
}

static void test_names(void **state) {
    (void)state;
    static const char *const names[] = {"raw", "jpeg", "png", "webp"};
    for (int i = 0; i < LK_ENCODING_COUNT; i++) assert_string_equal(lk_encoding_name((lk_encoding)i), names[i]);
    assert_string_equal(lk_encoding_name(LK_ENCODING_COUNT), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_jpeg_orientation),
        cmocka_unit_test(test_decoder_forgets),
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_buffers_are_used_again),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
