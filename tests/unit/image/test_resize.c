/* The resizer against itself: both kernels, windows, mirroring, boxes. Equality with Pillow is in tests/parity. */
#include "io/image/resize.h"
#include "io/image/resize_kernels.h"
#include "support.h"

static lk_image resized(lk_resizer *resizer, const lk_image *in, const lk_box *box, int width, int height,
                        lk_interpolation interpolation) {
    lk_error err = {0};
    lk_image out = {0};
    check_ok(lk_image_reserve(&out, width, height, in->channels, &err), err);
    check_ok(
        lk_resize(resizer, in, box, width, height, interpolation, out.pixels, (size_t)(width * in->channels), &err),
        err);
    return out;
}

/* Random weights, also where a real filter would not have them: large, negative, many taps; sums fit 32 bits. */
static void fill_taps(lk_taps *taps, int32_t *numbers, int32_t *weights, int16_t *split, int count, int most,
                      int width) {
    const uint32_t range = (2u << 22) / (uint32_t)most;
    *taps = (lk_taps){numbers, numbers + count, weights, count, most, 0, width, split, (most + 3) / 4, 0, 0};
    for (int o = 0; o < count; o++) {
        taps->taps[o] = 1 + (int32_t)(noise((uint64_t)o, 5) % (uint32_t)most);
        taps->first[o] = (int32_t)((int64_t)o * (width - most) / count);
        if (taps->first[o] + 4 * taps->groups + 2 <= width) taps->fast_end = o < count - 1 ? o + 1 : o;
        for (int t = 0; t < taps->groups * 4; t++) {
            int32_t w =
                t < taps->taps[o] ? (int32_t)(noise((uint64_t)(o * most + t), 6) % range) - (int32_t)range / 3 : 0;
            if (t < most) weights[o * most + t] = w;
            int16_t *low = split + (o * taps->groups + t / 4) * 32 + t % 4 / 2 * 8 + t % 2;
            for (int c = 0; c < 3; c++) {
                low[2 * c] = (int16_t)(w & 2047);
                low[2 * c + 16] = (int16_t)(w >> 11);
            }
        }
    }
}

static void test_kernels_agree(void **state) {
    (void)state;
    const lk_resize_kernels *fast = lk_resize_avx2();
    if (fast == NULL) skip();
    enum { WIDTH = 150, ROWS = 7, COUNT = 40, MOST = 23, STRIDE = WIDTH * 3 };
    static int32_t numbers[2 * COUNT], weights[COUNT * MOST];
    static _Alignas(64) int16_t split[COUNT * 6 * 32];
    uint8_t in[ROWS * STRIDE], a[ROWS * COUNT * 3], b[ROWS * COUNT * 3];
    for (size_t i = 0; i < sizeof in; i++) in[i] = noise(i, 7) % 5 ? (uint8_t)noise(i, 8) : 255;
    for (int most = 1; most <= MOST; most++) {
        lk_taps taps;
        memset(split, 0, sizeof split);
        fill_taps(&taps, numbers, weights, split, COUNT, most, WIDTH);
        assert_true(taps.fast_end > COUNT / 2);
        for (int channels = 1; channels <= 3; channels += 2) {
            size_t stride = (size_t)(COUNT * channels);
            lk_resize_plain.horizontal(&taps, in, STRIDE, channels, ROWS, a, stride);
            fast->horizontal(&taps, in, STRIDE, channels, ROWS, b, stride);
            assert_memory_equal(a, b, ROWS * stride);
        }
        for (int count = 1; count <= ROWS; count++)
            for (size_t bytes = 1; bytes < 100; bytes += 7) {
                memset(a, 1, sizeof a);
                memset(b, 1, sizeof b);
                lk_resize_plain.vertical(weights, count < most ? count : most, in, STRIDE, bytes, a);
                fast->vertical(weights, count < most ? count : most, in, STRIDE, bytes, b);
                assert_memory_equal(a, b, sizeof a); /* what lies behind is left alone */
            }
    }
}

/* A window, mirrored or not, is that part of the whole result; neighbours of the output are left alone. */
static void check_window(lk_resizer *resizer, const lk_image *in, int width, int height, uint64_t draw) {
    lk_error err = {0};
    lk_interpolation interpolation = draw % 2 ? LK_BICUBIC : LK_BILINEAR;
    bool flip = draw % 4 >= 2;
    lk_image whole = resized(resizer, in, NULL, width, height, interpolation);
    lk_rect w = {(int32_t)(noise(draw, 1) % (uint32_t)width), (int32_t)(noise(draw, 2) % (uint32_t)height), 0, 0};
    w.width = 1 + (int32_t)(noise(draw, 3) % (uint32_t)(width - w.x));
    w.height = 1 + (int32_t)(noise(draw, 4) % (uint32_t)(height - w.y));
    lk_resize_spec spec = {in->width, in->height, {0, 0, in->width, in->height}, width, height, w, flip, interpolation};
    lk_rect needed;
    check_ok(lk_resizer_plan(resizer, &spec, &needed, &err), err);
    assert_true(needed.x >= 0 && needed.y >= 0 && needed.x + needed.width <= in->width &&
                needed.y + needed.height <= in->height);
    size_t c = (size_t)in->channels, row = (size_t)needed.width * c, stride = (size_t)w.width * c + 5;
    /* Only the needed part is at hand, in an allocation of its own. */
    uint8_t *part = malloc(row * (size_t)needed.height), *out = malloc(stride * (size_t)w.height);
    for (int y = 0; y < needed.height; y++)
        memcpy(part + (size_t)y * row, in->pixels + ((size_t)(needed.y + y) * (size_t)in->width + (size_t)needed.x) * c,
               row);
    memset(out, 0xA5, stride * (size_t)w.height);
    check_ok(lk_resizer_run(resizer, part, row, in->channels, out, stride, &err), err);
    for (int y = 0; y < w.height; y++) {
        for (int x = 0; x < w.width; x++) {
            int from = w.x + (flip ? w.width - 1 - x : x);
            assert_memory_equal(out + (size_t)y * stride + (size_t)x * c,
                                whole.pixels + ((size_t)(w.y + y) * (size_t)width + (size_t)from) * c, c);
        }
        for (size_t i = (size_t)w.width * c; i < stride; i++) assert_int_equal(out[(size_t)y * stride + i], 0xA5);
    }
    free(part);
    free(out);
    lk_image_free(&whole);
}

static void test_windows(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 1}, {3, 9}, {31, 20}, {64, 64}, {123, 77}, {500, 3}, {40, 333}};
    lk_error err = {0};
    lk_resizer *resizer = NULL;
    lk_image in = {0};
    uint64_t draw = 0;
    check_ok(lk_resizer_create(&resizer, &err), err);
    for (size_t i = 0; i < 7; i++)
        for (size_t o = 0; o < 7; o++)
            for (int n = 0; n < 6; n++, draw++) {
                make_picture(&in, sizes[i][0], sizes[i][1], draw % 3 ? 3 : 1);
                check_window(resizer, &in, sizes[o][0], sizes[o][1], draw);
            }
    lk_image_free(&in);
    lk_resizer_free(resizer);
    lk_resizer_free(NULL);
}

static void test_known_values(void **state) {
    (void)state;
    lk_error err = {0};
    lk_resizer *resizer = NULL;
    lk_image in = {0};
    check_ok(lk_resizer_create(&resizer, &err), err);
    /* A constant stays what it is under any filter and size. */
    check_ok(lk_image_reserve(&in, 97, 61, 3, &err), err);
    memset(in.pixels, 201, 97 * 61 * 3);
    for (int i = 0; i < LK_INTERPOLATION_COUNT; i++) {
        lk_image out = resized(resizer, &in, NULL, 33, 140, (lk_interpolation)i);
        for (int p = 0; p < 33 * 140 * 3; p++) assert_int_equal(out.pixels[p], 201);
        lk_image_free(&out);
    }
    /* The triangle over two pixels at half size: weights 1/8, 3/8, 3/8, 1/8, at the border 3/7, 3/7, 1/7. */
    check_ok(lk_image_reserve(&in, 8, 1, 1, &err), err);
    memcpy(in.pixels, (uint8_t[]){0, 10, 20, 40, 80, 160, 200, 250}, 8);
    lk_image out = resized(resizer, &in, NULL, 4, 1, LK_BILINEAR);
    assert_memory_equal(out.pixels, ((uint8_t[]){7, 34, 120, 216}), 4);
    lk_image_free(&out);
    /* A whole-pixel box of its own size is a copy. */
    out = resized(resizer, &in, &(lk_box){2, 0, 7, 1}, 5, 1, LK_BICUBIC);
    assert_memory_equal(out.pixels, in.pixels + 2, 5);
    lk_image_free(&out);
    lk_image_free(&in);
    lk_resizer_free(resizer);
}

static void test_refusals(void **state) {
    (void)state;
    lk_error err = {0};
    lk_resizer *resizer = NULL;
    lk_image in = {0};
    uint8_t out[64];
    make_picture(&in, 4, 4, 1);
    check_ok(lk_resizer_create(&resizer, &err), err);
    const double nan_value = strtod("nan", NULL);
    lk_box boxes[] = {{-1, 0, 4, 4}, {0, 0, 5, 4},         {0, 0, 4, 4.01},     {2, 0, 2, 4},
                      {3, 0, 1, 4},  {nan_value, 0, 4, 4}, {0, 0, 4, nan_value}};
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++)
        check_fails(lk_resize(resizer, &in, &boxes[i], 2, 2, LK_BILINEAR, out, 2, &err), LK_ERR_DATA,
                    "empty or outside an image of 4 x 4", err);
    check_fails(lk_resize(resizer, &in, NULL, 0, 2, LK_BILINEAR, out, 2, &err), LK_ERR_DATA, "no pixels", err);
    lk_resize_spec spec = {4, 4, {0, 0, 4, 4}, 8, 8, {4, 4, 5, 1}, false, LK_BILINEAR};
    lk_rect needed;
    check_fails(lk_resizer_plan(resizer, &spec, &needed, &err), LK_ERR_DATA, "window is empty or outside", err);
    spec.window = (lk_rect){0, 0, 0, 1};
    check_fails(lk_resizer_plan(resizer, &spec, &needed, &err), LK_ERR_DATA, "window is empty or outside", err);
    lk_image_free(&in);
    lk_resizer_free(resizer);
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(lk_interpolation_name(LK_BILINEAR), "bilinear");
    assert_string_equal(lk_interpolation_name(LK_BICUBIC), "bicubic");
    assert_string_equal(lk_interpolation_name(LK_INTERPOLATION_COUNT), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_agree), cmocka_unit_test(test_windows), cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
