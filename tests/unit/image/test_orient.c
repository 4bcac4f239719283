/* EXIF and XMP orientation of hostile blocks, and turning of pixels and rectangles. */
#include "io/image/codec.h"
#include "support.h"

#define TIFF "II*\0\x08\0\0\0"
#define ENTRY(type, count, value) "\x12\x01" type "\0" count "\0\0\0" value
#define ONE(value) "\x01\0" ENTRY("\x03", "\x01", value "\0\0\0")
#define ORIENTATION(text) lk_exif_orientation((const uint8_t *)(text), sizeof(text) - 1, sizeof(text) - 1)

static void test_exif_values(void **state) {
    (void)state;
    assert_int_equal(ORIENTATION(TIFF ONE("\x06")), 6);
    assert_int_equal(ORIENTATION("Exif\0\0" TIFF ONE("\x03")), 3);
    assert_int_equal(ORIENTATION("Exif\0\0Exif\0\0" TIFF ONE("\x08")), 8);
    assert_int_equal(ORIENTATION("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x05\0\0"), 5);
    assert_int_equal(ORIENTATION(TIFF "\x01\0" ENTRY("\x04", "\x01", "\x07\0\0\0")), 7);
    /* Values that are no orientation leave the picture as it is; XMP is not asked then. */
    assert_int_equal(ORIENTATION(TIFF ONE("\x09")), 1);
    assert_int_equal(ORIENTATION(TIFF ONE("\0")), 1);
    assert_int_equal(ORIENTATION(TIFF "\x01\0" ENTRY("\x02", "\x01", "\x06\0\0\0")), 1);
    /* The last of two entries counts. */
    assert_int_equal(ORIENTATION(TIFF "\x02\0" ENTRY("\x03", "\x01", "\x06\0\0\0") ENTRY("\x03", "\x01", "\x02\0\0\0")),
                     2);
}

static void test_exif_hostile(void **state) {
    (void)state;
    assert_int_equal(ORIENTATION(""), 0);
    assert_int_equal(ORIENTATION("Exif\0\0"), 0);
    assert_int_equal(ORIENTATION("II*\0"), 0);
    assert_int_equal(ORIENTATION("XX*\0\x08\0\0\0" ONE("\x06")), 0);
    assert_int_equal(ORIENTATION("II*\0\xFF\xFF\xFF\xFF" ONE("\x06")), 0);
    assert_int_equal(ORIENTATION(TIFF "\xFF\xFF"), 0);
    /* More entries promised than there are: those that are there count. */
    assert_int_equal(ORIENTATION(TIFF "\xFF\xFF" ENTRY("\x03", "\x01", "\x06\0\0\0")), 6);
    /* Many values, stored outside the block: the directory ends there. */
    assert_int_equal(
        ORIENTATION(TIFF "\x02\0" ENTRY("\x03", "\xFF", "\xFF\xFF\xFF\xFF") ENTRY("\x03", "\x01", "\x06\0\0\0")), 0);
    assert_int_equal(ORIENTATION(TIFF "\x01\0" ENTRY("\xFF", "\x01", "\x06\0\0\0")), 0);
    /* No prefix of a valid block is read past its end (under the address sanitizer). */
    static const char block[] =
        "Exif\0\0" TIFF "\x02\0" ENTRY("\x03", "\x01", "\x06\0\0\0") ENTRY("\x03", "\x01", "\x02\0\0\0");
    for (size_t size = 0; size < sizeof block; size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, block, size);
        int orientation = lk_exif_orientation(copy, size, size);
        assert_int_equal(orientation, size < 28 ? 0 : size < 40 ? 6 : 2);
        free(copy);
    }
}

static void test_xmp(void **state) {
    (void)state;
    struct {
        const char *text;
        int expected;
    } cases[] = {
        {"<x tiff:Orientation=\"6\"/>", 6},
        {"<tiff:Orientation>3</tiff:Orientation>", 3},
        {"tiff:Orientation=\"\" tiff:Orientation=\"8\"", 8},
        {"tiff:Orientation=\"9\"", 1},
        {"tiff:Orientation='6'", 0},
        {"tiff:Orientation=\"", 0},
        {"tiff:Orientation>", 0},
        {"tiff:Orientation", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(lk_xmp_orientation((const uint8_t *)cases[i].text, strlen(cases[i].text)), cases[i].expected);
}

/* Displayed pixel (x, y) of each orientation, written out from the definition of the tag. */
static const uint8_t *displayed(const lk_image *s, int orientation, int x, int y) {
    int w = s->width - 1, h = s->height - 1;
    int across[9] = {0, x, w - x, w - x, x, y, y, w - y, w - y};
    int down[9] = {0, y, y, h - y, h - y, x, h - x, h - x, x};
    return s->pixels + (down[orientation] * s->width + across[orientation]) * s->channels;
}

static void check_turn(int width, int height, int channels, int orientation) {
    lk_error err = {0};
    lk_image stored = {0}, turned = {0};
    make_picture(&stored, width, height, channels);
    check_ok(lk_orient_image(&turned, &stored, orientation, &err), err);
    bool swaps = lk_orientation_swaps(orientation);
    assert_int_equal(turned.width, swaps ? height : width);
    assert_int_equal(turned.height, swaps ? width : height);
    for (int y = 0; y < turned.height; y++)
        for (int x = 0; x < turned.width; x++)
            assert_memory_equal(turned.pixels + (y * turned.width + x) * channels,
                                displayed(&stored, orientation, x, y), (size_t)channels);
    /* A rectangle goes with its pixels, there and back. */
    lk_rect shown = {1, 2, turned.width / 2, turned.height / 3};
    lk_rect kept = lk_orient_to_stored(shown, orientation, turned.width, turned.height);
    lk_rect back = lk_orient_to_displayed(kept, orientation, width, height);
    assert_memory_equal(&shown, &back, sizeof shown);
    const uint8_t *corner = displayed(&stored, orientation, shown.x, shown.y);
    int at = (int)(corner - stored.pixels) / channels, x = at % width, y = at / width;
    assert_true(x >= kept.x && x < kept.x + kept.width && y >= kept.y && y < kept.y + kept.height);
    lk_image_free(&stored);
    lk_image_free(&turned);
}

static void test_turns(void **state) {
    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int channels = 1; channels <= 3; channels += 2) {
            check_turn(67, 41, channels, orientation);
            check_turn(5, 90, channels, orientation);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exif_values),
        cmocka_unit_test(test_exif_hostile),
        cmocka_unit_test(test_xmp),
        cmocka_unit_test(test_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
