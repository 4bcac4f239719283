/* The transform of one sample: geometry, padding, mirroring, and the draws that belong to a run's bits (P15, P16). */
#include <math.h>

#include "io/image/transform.h"
#include "support.h"

static const lk_augment random_resized = {.crop = LK_CROP_RANDOM_RESIZED,
                                          .scale_min = 0.08,
                                          .scale_max = 1,
                                          .ratio_min = 3.0 / 4,
                                          .ratio_max = 4.0 / 3,
                                          .hflip = 0.5};

static lk_preprocess preprocess_of(int channels, int width, int height, lk_resize_rule rule, int resize_size) {
    return (lk_preprocess){
        .channels = channels, .width = width, .height = height, .resize = rule, .resize_size = resize_size};
}

/* One raw picture through a new transformer. */
static lk_status transform_raw(const lk_preprocess *p, const lk_image *in, const lk_augment *augment,
                               const lk_sample_key *key, uint8_t *out, lk_error *err) {
    lk_transformer *t = NULL;
    check_ok(lk_transformer_create(&t, p, err), *err);
    size_t size = (size_t)in->width * (size_t)in->height * (size_t)in->channels;
    lk_status status =
        lk_transform(t, in->pixels, size, LK_ENCODING_RAW, in->width, in->height, in->channels, augment, key, out, err);
    lk_transformer_free(t);
    return status;
}

static void test_raw(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image in = {0};
    uint8_t out[28 * 28 * 3];
    make_picture(&in, 28, 28, 1);
    lk_preprocess grey = preprocess_of(1, 28, 28, LK_RESIZE_NONE, 0),
                  colour = preprocess_of(3, 28, 28, LK_RESIZE_NONE, 0);
    check_ok(transform_raw(&grey, &in, NULL, NULL, out, &err), err);
    assert_memory_equal(out, in.pixels, 28 * 28);
    check_ok(transform_raw(&colour, &in, NULL, NULL, out, &err), err);
    for (int i = 0; i < 28 * 28 * 3; i++) assert_int_equal(out[i], in.pixels[i / 3]);
    lk_preprocess other = preprocess_of(1, 32, 28, LK_RESIZE_NONE, 0);
    check_fails(transform_raw(&other, &in, NULL, NULL, out, &err), LK_ERR_DATA, "must be 32 x 28", err);
    in.channels = 2;
    check_fails(transform_raw(&grey, &in, NULL, NULL, out, &err), LK_ERR_DATA, "no raw image of 28 x 28", err);
    in.channels = 1;
    in.width = 29;
    lk_transformer *t = NULL;
    check_ok(lk_transformer_create(&t, &grey, &err), err);
    check_fails(lk_transform(t, in.pixels, 28 * 28, LK_ENCODING_RAW, 29, 28, 1, NULL, NULL, out, &err), LK_ERR_DATA,
                "784 bytes are no raw image", err);
    check_fails(lk_transform(t, in.pixels, 0, LK_ENCODING_RAW, 0, 28, 1, NULL, NULL, out, &err), LK_ERR_DATA,
                "no pixels", err);
    lk_transformer_free(t);
    lk_image_free(&in);
}

/* Without resizing, every output pixel is an input pixel or 0: what PAD_RANDOM and CENTER say can be checked one by
 * one. */
static void check_placement(const lk_preprocess *p, const lk_image *in, const lk_augment *augment,
                            const lk_sample_key *key) {
    lk_error err = {0};
    lk_box box;
    bool flip;
    uint8_t *out = malloc((size_t)(p->width * p->height));
    memset(out, 0xEE, (size_t)(p->width * p->height));
    check_ok(transform_raw(p, in, augment, key, out, &err), err);
    lk_augment_draw(augment, p, key, in->width, in->height, &box, &flip);
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            int from_x = (int)box.x0 + (flip ? p->width - 1 - x : x), from_y = (int)box.y0 + y;
            bool inside = from_x >= 0 && from_y >= 0 && from_x < in->width && from_y < in->height;
            assert_int_equal(out[y * p->width + x], inside ? in->pixels[from_y * in->width + from_x] : 0);
        }
    free(out);
}

static void test_padding(void **state) {
    (void)state;
    lk_image in = {0};
    make_picture(&in, 20, 20, 1);
    lk_preprocess same = preprocess_of(1, 20, 20, LK_RESIZE_NONE, 0);
    int flips = 0, outermost = 0;
    for (int64_t i = 0; i < 300; i++) {
        lk_augment augment = {.crop = LK_CROP_PAD_RANDOM, .crop_pad = (int32_t)(i % 25), .hflip = 0.5};
        lk_sample_key key = {7, 1, i};
        lk_box box;
        bool flip;
        check_placement(&same, &in, &augment, &key);
        lk_augment_draw(&augment, &same, &key, 20, 20, &box, &flip);
        assert_true(box.x0 >= -augment.crop_pad && box.x0 <= augment.crop_pad && box.y0 >= -augment.crop_pad &&
                    box.y0 <= augment.crop_pad);
        flips += flip;
        outermost += box.x0 == -augment.crop_pad || box.x0 == augment.crop_pad;
    }
    assert_in_range(flips, 100, 200);
    assert_true(outermost > 10);
    /* A crop larger than the picture: centred on black, the smaller half first. */
    for (int size = 18; size < 30; size++) {
        lk_preprocess p = preprocess_of(1, size, size + 3, LK_RESIZE_SHORT_SIDE, 20);
        check_placement(&p, &in, NULL, NULL);
        lk_augment mirrored = {.crop = LK_CROP_CENTER, .hflip = 1};
        check_placement(&p, &in, &mirrored, &(lk_sample_key){0, 0, 0});
    }
    lk_image_free(&in);
}

static void test_center_boxes(void **state) {
    (void)state;
    /* Half pixels round to even, as Python's round: 0.5 to 0, 1.5 to 2, 2.5 to 2. */
    static const int cases[][3] = {{10, 10, 0}, {11, 10, 0}, {13, 10, 2}, {15, 10, 2},
                                   {17, 10, 4}, {9, 10, 0},  {7, 10, -1}, {6, 10, -2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lk_preprocess p = preprocess_of(3, cases[i][1], cases[i][1], LK_RESIZE_SHORT_SIDE, cases[i][0]);
        lk_box box;
        bool flip = true;
        lk_augment_draw(NULL, &p, NULL, 100, 100, &box, &flip);
        assert_int_equal((int)box.x0, cases[i][2]);
        assert_int_equal((int)box.y0, cases[i][2]);
        assert_int_equal((int)box.x1, cases[i][2] + cases[i][1]);
        assert_false(flip);
    }
}

static void test_draws_stay_in_the_image(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 1}, {1, 2}, {2, 1}, {3, 50}, {400, 3}, {224, 224}, {500, 375}, {65500, 1}};
    lk_preprocess p = preprocess_of(3, 224, 224, LK_RESIZE_SHORT_SIDE, 256);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int64_t i = 0; i < 300; i++) {
            lk_sample_key key = {3, 2, i};
            lk_box box;
            bool flip;
            lk_augment_draw(&random_resized, &p, &key, sizes[s][0], sizes[s][1], &box, &flip);
            assert_true(box.x0 >= 0 && box.y0 >= 0 && box.x1 <= sizes[s][0] && box.y1 <= sizes[s][1] &&
                        box.x0 < box.x1 && box.y0 < box.y1);
        }
}

/* P16: these numbers are part of every run's bits. A change of the generator, of the numbering of draws or of their
 * arithmetic breaks resuming and must not pass. */
static void test_pinned_draws(void **state) {
    (void)state;
    lk_preprocess p = preprocess_of(3, 224, 224, LK_RESIZE_SHORT_SIDE, 256);
    int expected[][5] = {
        {33, 75, 350, 493, 1}, {129, 23, 366, 234, 1}, {6, 91, 401, 480, 1},
        {51, 23, 416, 395, 1}, {24, 236, 237, 431, 0}, {198, 179, 369, 346, 0},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        lk_sample_key key = {1234, 5, (int64_t)i};
        lk_box box;
        bool flip;
        lk_augment_draw(&random_resized, &p, &key, 423, 517, &box, &flip);
        assert_int_equal((int)box.x0, expected[i][0]);
        assert_int_equal((int)box.y0, expected[i][1]);
        assert_int_equal((int)box.x1, expected[i][2]);
        assert_int_equal((int)box.y1, expected[i][3]);
        assert_int_equal(flip, expected[i][4]);
    }
}

/* Ten tries fail for certain: the whole width, at the ratio nearest to the image's. */
static void test_fallback(void **state) {
    (void)state;
    lk_preprocess p = preprocess_of(3, 8, 8, LK_RESIZE_NONE, 0);
    lk_augment whole = random_resized;
    whole.scale_min = whole.scale_max = 1;
    lk_sample_key key = {0, 0, 0};
    lk_box box;
    bool flip;
    lk_augment_draw(&whole, &p, &key, 300, 1000, &box, &flip);
    assert_true(box.x0 == 0 && box.x1 == 300 && box.y0 == 300 && box.y1 == 700);
    lk_augment_draw(&whole, &p, &key, 1000, 300, &box, &flip);
    assert_true(box.y0 == 0 && box.y1 == 300 && box.x0 == 300 && box.x1 == 700);
}

static void test_encoded(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image in = {0};
    lk_transformer *t = NULL;
    static uint8_t out[2][48 * 40 * 3];
    make_picture(&in, 130, 95, 3);
    file jpeg = encode_jpeg(&in, 90), png = encode_png(&in);
    lk_preprocess p = preprocess_of(3, 48, 40, LK_RESIZE_SHORT_SIDE, 50);
    check_ok(lk_transformer_create(&t, &p, &err), err);
    check_fails(lk_transform(t, png.bytes, png.size, LK_ENCODING_JPEG, 0, 0, 0, NULL, NULL, out[0], &err), LK_ERR_DATA,
                "is a png, not a jpeg", err);
    /* A lossless file gives what its raw pixels give, in evaluation and in training. */
    for (int64_t i = -1; i < 20; i++) {
        lk_sample_key key = {9, 0, i};
        const lk_augment *augment = i < 0 ? NULL : &random_resized;
        check_ok(lk_transform(t, png.bytes, png.size, LK_ENCODING_PNG, 0, 0, 0, augment, &key, out[0], &err), err);
        check_ok(transform_raw(&p, &in, augment, &key, out[1], &err), err);
        assert_memory_equal(out[0], out[1], sizeof out[0]);
    }
    /* Evaluation proves the whole file; a training crop may end above the damage. */
    check_fails(lk_transform(t, jpeg.bytes, jpeg.size - 30, LK_ENCODING_JPEG, 0, 0, 0, NULL, NULL, out[0], &err),
                LK_ERR_DATA, "truncated", err);
    check_ok(lk_transform(t, jpeg.bytes, jpeg.size, LK_ENCODING_JPEG, 0, 0, 0, NULL, NULL, out[0], &err), err);
    lk_transformer_free(t);
    lk_transformer_free(NULL);
    lk_free(jpeg.bytes);
    lk_free(png.bytes);
    lk_image_free(&in);
}

static void test_refusals(void **state) {
    (void)state;
    lk_error err = {0};
    lk_image in = {0};
    lk_transformer *t = NULL;
    uint8_t out[16 * 16];
    lk_preprocess bad[] = {preprocess_of(2, 8, 8, LK_RESIZE_NONE, 0), preprocess_of(3, 0, 8, LK_RESIZE_NONE, 0),
                           preprocess_of(3, 8, 70000, LK_RESIZE_NONE, 0),
                           preprocess_of(3, 8, 8, LK_RESIZE_SHORT_SIDE, 0),
                           preprocess_of(3, 8, 8, LK_RESIZE_RULE_COUNT, 0)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check_fails(lk_transformer_create(&t, &bad[i], &err), LK_ERR_CONFIG, "", err);
        assert_null(t);
    }
    make_picture(&in, 8, 8, 1);
    lk_augment pad = {.crop = LK_CROP_PAD_RANDOM, .crop_pad = 3};
    lk_preprocess large = preprocess_of(1, 16, 16, LK_RESIZE_SHORT_SIDE, 8);
    check_fails(transform_raw(&large, &in, &pad, &(lk_sample_key){0, 0, 0}, out, &err), LK_ERR_DATA,
                "8 x 8 pixels with 3 of padding is smaller than the crop of 16 x 16", err);
    lk_image_free(&in);
    make_picture(&in, 65500, 1, 1);
    lk_preprocess tall = preprocess_of(1, 16, 16, LK_RESIZE_SHORT_SIDE, 65500);
    check_fails(transform_raw(&tall, &in, NULL, NULL, out, &err), LK_ERR_DATA, "too elongated", err);
    lk_image_free(&in);
}

static void test_names(void **state) {
    (void)state;
    static const char *const rules[] = {"none", "short_side", "stretch"};
    static const char *const crops[] = {"center", "random_resized", "pad_random"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(lk_resize_rule_name((lk_resize_rule)i), rules[i]);
        assert_string_equal(lk_crop_rule_name((lk_crop_rule)i), crops[i]);
    }
    assert_string_equal(lk_resize_rule_name(LK_RESIZE_RULE_COUNT), "unknown");
    assert_string_equal(lk_crop_rule_name(LK_CROP_RULE_COUNT), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),          cmocka_unit_test(test_padding),
        cmocka_unit_test(test_center_boxes), cmocka_unit_test(test_draws_stay_in_the_image),
        cmocka_unit_test(test_pinned_draws), cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_encoded),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
