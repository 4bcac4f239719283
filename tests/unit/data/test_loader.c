/* The loader: the same pixels for any number of workers, in order, with errors that name the sample. */
#include <pthread.h>
#include <time.h>

#include "core/clock.h"
#include "io/data/loader.h"
#include "support.h"

enum { SET_COUNT = 40, JPEG_SIDE = 48, NOISY_SIDE = 340, INPUT = 32, MICROBATCH = 5 };

enum { NONE = -5 };

/* Colour images of different sizes, as JPEG; samples `bad` and bad + 1 are cut short. noisy: so many bytes each that
 * the loader hands out single rows, else whole microbatches. */
static void write_jpegs(const char *path, int bad, bool noisy) {
    static const char *const classes[] = {"a", "b", "c"};
    lk_error err = {0};
    lk_dataset_writer *writer = NULL;
    const lk_writer_config config = {.class_names = classes, .class_count = 3, .overwrite = true};
    check_ok(lk_dataset_writer_create(&writer, path, &config, &err), err);
    for (int i = 0; i < SET_COUNT; i++) {
        lk_image image = {0};
        uint8_t *bytes = NULL;
        size_t size = 0;
        char source[64];
        int side = noisy ? NOISY_SIDE : JPEG_SIDE, width = side + i % 7, height = side + i % 5;
        uint32_t noise = (uint32_t)i;
        check_ok(lk_image_reserve(&image, width, height, 3, &err), err);
        image.width = width, image.height = height, image.channels = 3;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < 3; c++) {
                    noise = noise * 1664525 + 1013904223;
                    image.pixels[(y * width + x) * 3 + c] =
                        (uint8_t)(noisy ? noise >> 24 : (uint32_t)(x * (c + 1) + y * 2 + i * 5));
                }
        check_ok(lk_image_encode_jpeg(&bytes, &size, &image, noisy ? 100 : 90, &err), err);
        assert_true(!noisy || size > 140000); /* two parts even when cut */
        lk_sample_info info = {.length = (int64_t)size,
                               .width = width,
                               .height = height,
                               .label = i % 3,
                               .group = -1,
                               .encoding = LK_ENCODING_JPEG,
                               .channels = 3,
                               .split = LK_SPLIT_TRAIN};
        if (i == bad || i == bad + 1) info.length = (int64_t)size / 2;
        lk_bytes_hash(bytes, info.length, info.hash);
        snprintf(source, sizeof source, "folder/%d.jpg", i);
        check_ok(lk_dataset_writer_append(writer, &info, source, bytes, &err), err);
        lk_free(bytes);
        lk_image_free(&image);
    }
    check_ok(lk_dataset_writer_finish(writer, &err), err);
    lk_dataset_writer_free(writer);
}

static lk_loader_config config_for(int workers, int prefetch) {
    return (lk_loader_config){.workers = workers,
                              .prefetch = prefetch,
                              .microbatch = MICROBATCH,
                              .preprocess = {.channels = 3,
                                             .height = INPUT,
                                             .width = INPUT,
                                             .resize = LK_RESIZE_SHORT_SIDE,
                                             .resize_size = INPUT,
                                             .interpolation = LK_BILINEAR,
                                             .std = {1, 1, 1, 1}}};
}

static const lk_augment augment = {.crop = LK_CROP_RANDOM_RESIZED,
                                   .scale_min = 0.2,
                                   .scale_max = 1,
                                   .ratio_min = 0.75,
                                   .ratio_max = 4.0 / 3,
                                   .hflip = 0.5};

enum { IMAGE = INPUT * INPUT * 3, REQUESTS = 9 };

typedef struct outcome {
    uint8_t pixels[REQUESTS][MICROBATCH][IMAGE];
    int32_t labels[REQUESTS][MICROBATCH], partner[REQUESTS][MICROBATCH]; /* partner: -9 where nothing is mixed */
    float pixel_share[REQUESTS][MICROBATCH], label_share[REQUESTS][MICROBATCH];
} outcome;

/* REQUESTS microbatches of 5 (the last: 3) samples, some drawn more than once. */
static void make_requests(lk_load_request *requests, int64_t *samples) {
    for (int i = 0; i < REQUESTS * MICROBATCH; i++) samples[i] = (i * 7) % SET_COUNT;
    for (int r = 0; r < REQUESTS; r++)
        requests[r] = (lk_load_request){100 + r, r == REQUESTS - 1 ? 3 : MICROBATCH, samples + r * MICROBATCH,
                                        (int64_t)r * MICROBATCH, 2};
}

static void load_all(outcome *out, const lk_dataset *set, int workers, int prefetch, const lk_augment *how) {
    lk_error err = {0};
    lk_loader *loader = NULL;
    lk_load_request requests[REQUESTS];
    int64_t samples[REQUESTS * MICROBATCH];
    const lk_loader_config config = config_for(workers, prefetch);
    make_requests(requests, samples);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    check_ok(lk_loader_submit(loader, requests, 4, how, 9, &err), err);
    check_ok(lk_loader_submit(loader, requests + 4, REQUESTS - 4, how, 9, &err), err);
    for (int r = 0; r < REQUESTS; r++) {
        lk_microbatch got;
        check_ok(lk_loader_next(loader, &got, &err), err);
        assert_int_equal(got.tag, 100 + r);
        assert_int_equal(got.rows, requests[r].rows);
        assert_ptr_equal(got.samples, requests[r].samples);
        memcpy(out->pixels[r], got.images, sizeof out->pixels[r]);
        memcpy(out->labels[r], got.labels, sizeof out->labels[r]);
        for (int row = 0; row < MICROBATCH; row++) {
            out->partner[r][row] = got.partner == NULL ? -9 : got.partner[row];
            out->pixel_share[r][row] = got.partner == NULL ? 0 : got.pixel_share[row];
            out->label_share[r][row] = got.partner == NULL ? 0 : got.label_share[row];
        }
        lk_loader_release(loader, &got);
    }
    lk_microbatch none;
    check_fails(lk_loader_next(loader, &none, &err), LK_ERR_INTERNAL, "nobody queued", err);
    lk_loader_free(loader);
}

/* P16: pixels are a function of the request, not of who made them; 1, 2 and 7 workers, 1 to 4 ahead. */
static void test_workers(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, true);
    check_ok(lk_dataset_open(&set, path, &err), err);
    outcome *one = malloc(sizeof *one), *other = malloc(sizeof *other);
    for (int evaluation = 0; evaluation < 2; evaluation++) {
        load_all(one, set, 1, 1, evaluation ? NULL : &augment);
        load_all(other, set, 2, 3, evaluation ? NULL : &augment);
        assert_memory_equal(one, other, sizeof *one);
        load_all(other, set, 7, 4, evaluation ? NULL : &augment);
        assert_memory_equal(one, other, sizeof *one);
    }
    for (int r = 0; r < REQUESTS; r++)
        for (int row = 0; row < MICROBATCH; row++)
            assert_int_equal(one->labels[r][row],
                             r == REQUESTS - 1 && row >= 3 ? -1 : (r * MICROBATCH + row) * 7 % SET_COUNT % 3);
    for (int row = 3; row < MICROBATCH; row++)
        for (int p = 0; p < IMAGE; p++) assert_int_equal(one->pixels[REQUESTS - 1][row][p], 0);
    free(one);
    free(other);
    lk_dataset_free(set);
}

/* What one mixed microbatch must be, by hand from the unmixed one. Returns its kind. */
static lk_mix_kind check_mixed(const outcome *got, const outcome *plain, const lk_augment *how, int r) {
    lk_mix_choice choice;
    int rows = r == REQUESTS - 1 ? 3 : MICROBATCH;
    lk_mix_draw(&choice, &how->mix, 9, 2, (int64_t)r * MICROBATCH, INPUT, INPUT);
    for (int row = 0; row < MICROBATCH; row++) {
        bool mixed = choice.kind != LK_MIX_NONE && row < rows;
        int partner = !mixed ? row : row == 0 ? rows - 1 : row - 1;
        assert_int_equal(got->partner[r][row], choice.kind == LK_MIX_NONE ? -9 : partner);
        assert_int_equal(got->labels[r][row], plain->labels[r][row]);
        if (choice.kind == LK_MIX_NONE) continue;
        float share = mixed ? (float)choice.lambda : 1;
        assert_true(got->label_share[r][row] == share);
        assert_true(got->pixel_share[r][row] == (choice.kind == LK_MIX_MIXUP ? share : 1));
        for (int p = 0; p < IMAGE; p++) {
            int x = p / 3 % INPUT - choice.box.x, y = p / 3 / INPUT - choice.box.y;
            bool inside = x >= 0 && x < choice.box.width && y >= 0 && y < choice.box.height;
            int from = choice.kind == LK_MIX_CUTMIX && inside ? partner : row;
            assert_int_equal(got->pixels[r][row][p], plain->pixels[r][from][p]);
        }
    }
    return choice.kind;
}

/* P16: mixing is a function of the request: partners, shares and pasted boxes, for any number of workers. */
static void test_mixing(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_augment mixed = augment;
    mixed.mix = (lk_mix){.mixup = 0.4, .cutmix = 1, .probability = 0.7, .cutmix_share = 0.5};
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, true);
    check_ok(lk_dataset_open(&set, path, &err), err);
    outcome *plain = malloc(sizeof *plain), *one = malloc(sizeof *one), *other = malloc(sizeof *other);
    load_all(plain, set, 2, 2, &augment);
    load_all(one, set, 1, 1, &mixed);
    load_all(other, set, 2, 3, &mixed);
    assert_memory_equal(one, other, sizeof *one);
    load_all(other, set, 7, 4, &mixed);
    assert_memory_equal(one, other, sizeof *one);
    bool seen[3] = {false, false, false};
    for (int r = 0; r < REQUESTS; r++) seen[check_mixed(one, plain, &mixed, r)] = true;
    assert_true(seen[LK_MIX_NONE] && seen[LK_MIX_MIXUP] && seen[LK_MIX_CUTMIX]);
    free(plain);
    free(one);
    free(other);
    lk_dataset_free(set);
}

/* The loader's pixels are those of lk_transform called by hand. */
static void test_equals_transform(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_transformer *transformer = NULL;
    const lk_loader_config config = config_for(2, 2);
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, false);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_ok(lk_transformer_create(&transformer, &config.preprocess, &err), err);
    outcome *got = malloc(sizeof *got);
    load_all(got, set, 2, 2, &augment);
    for (int i = 0; i < MICROBATCH; i++) {
        uint8_t bytes[65536], expected[IMAGE];
        int64_t sample = (2 * MICROBATCH + i) * 7 % SET_COUNT;
        const lk_sample_info *info = &set->samples[sample];
        const lk_sample_key key = {9, 2, 2 * MICROBATCH + i};
        check_ok(lk_dataset_read(set, sample, bytes, &err), err);
        check_ok(lk_transform(transformer, bytes, (size_t)info->length, LK_ENCODING_JPEG, info->width, info->height, 3,
                              &augment, &key, expected, &err),
                 err);
        assert_memory_equal(got->pixels[2][i], expected, IMAGE);
    }
    free(got);
    lk_transformer_free(transformer);
    lk_dataset_free(set);
}

/* P16: one sample at every position of an epoch, and again in the next epoch: every image differs. */
static void test_drawn_twice(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_loader *loader = NULL;
    const lk_loader_config config = config_for(2, 2);
    const int64_t samples[MICROBATCH] = {3, 3, 3, 3, 3};
    uint8_t seen[4 * MICROBATCH][IMAGE];
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, false);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    for (int r = 0; r < 4; r++) {
        const lk_load_request request = {r, MICROBATCH, samples, r % 2 * MICROBATCH, (uint32_t)(r / 2)};
        check_ok(lk_loader_submit(loader, &request, 1, &augment, 9, &err), err);
    }
    for (int r = 0; r < 4; r++) {
        lk_microbatch got;
        check_ok(lk_loader_next(loader, &got, &err), err);
        memcpy(seen[r * MICROBATCH], got.images, MICROBATCH * IMAGE);
        lk_loader_release(loader, &got);
    }
    for (int i = 0; i < 4 * MICROBATCH; i++)
        for (int j = 0; j < i; j++) assert_memory_not_equal(seen[i], seen[j], IMAGE);
    lk_loader_free(loader);
    lk_dataset_free(set);
}

/* P14: the first bad row's source path and reason, whoever decodes it; what follows is not affected. */
static void test_bad_sample(void **state) {
    char path[320], first[LK_ERROR_SIZE] = "";
    lk_error err = {0};
    lk_dataset *set = NULL;
    path_in(path, state, "a.h5");
    write_jpegs(path, 12, true); /* 12 and 13 are cut */
    check_ok(lk_dataset_open(&set, path, &err), err);
    for (int workers = 1; workers <= 7; workers += 3) {
        lk_loader *loader = NULL;
        const lk_loader_config config = config_for(workers, 3);
        const int64_t samples[3 * MICROBATCH] = {0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24};
        lk_load_request requests[3];
        for (int r = 0; r < 3; r++)
            requests[r] = (lk_load_request){r, MICROBATCH, samples + r * MICROBATCH, r * MICROBATCH, 0};
        check_ok(lk_loader_create(&loader, set, &config, &err), err);
        for (int round = 0; round < 20; round++) {
            lk_microbatch got;
            check_ok(lk_loader_submit(loader, requests, 3, &augment, 1, &err), err);
            check_ok(lk_loader_next(loader, &got, &err), err);
            lk_loader_release(loader, &got);
            assert_int_equal(lk_loader_next(loader, &got, &err), LK_ERR_DATA);
            assert_non_null(strstr(err.message, "folder/12.jpg"));
            if (first[0] == '\0') strcpy(first, err.message);
            assert_string_equal(first, err.message);
            lk_error_clear(&err);
            check_ok(lk_loader_next(loader, &got, &err), err);
            assert_int_equal(got.tag, 2);
            lk_loader_release(loader, &got);
        }
        lk_loader_free(loader);
    }
    lk_dataset_free(set);
}

typedef struct taker {
    lk_loader *loader;
    const int64_t *samples;
    int taken[600]; /* by tag */
    pthread_t thread;
    int rounds;
    bool in_order;
} taker;

static void *take(void *argument) {
    taker *t = argument;
    int64_t last = -1;
    t->in_order = true;
    for (int i = 0; i < t->rounds; i++) {
        lk_error err = {0};
        lk_microbatch got;
        if (lk_loader_next(t->loader, &got, &err) != LK_OK) return argument;
        t->taken[got.tag]++;
        t->in_order = t->in_order && got.tag > last && got.samples == t->samples + got.tag;
        last = got.tag;
        lk_loader_release(t->loader, &got);
    }
    return NULL;
}

/* Three threads take at once: each request comes out exactly once, to each thread in order. */
static void test_concurrent_takers(void **state) {
    enum { TAKERS = 3, EACH = 200 };
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_loader *loader = NULL;
    lk_loader_config config = config_for(2, 2);
    static taker takers[TAKERS];
    static int64_t samples[TAKERS * EACH + MICROBATCH];
    config.preprocess = (lk_preprocess){.channels = 1, .height = SIDE, .width = SIDE};
    path_in(path, state, "a.h5");
    write_set(path, SET_COUNT);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    for (int i = 0; i < TAKERS * EACH; i++) samples[i] = i % SET_COUNT;
    for (int i = 0; i < TAKERS * EACH; i++) {
        const lk_load_request request = {i, 1 + i % MICROBATCH, samples + i, i, 0};
        check_ok(lk_loader_submit(loader, &request, 1, NULL, 1, &err), err);
    }
    for (int t = 0; t < TAKERS; t++) {
        takers[t] = (taker){.loader = loader, .samples = samples, .rounds = EACH};
        assert_int_equal(pthread_create(&takers[t].thread, NULL, take, &takers[t]), 0);
    }
    for (int t = 0; t < TAKERS; t++) {
        void *failed = NULL;
        pthread_join(takers[t].thread, &failed);
        assert_null(failed);
        assert_true(takers[t].in_order);
    }
    for (int i = 0; i < TAKERS * EACH; i++)
        assert_int_equal(takers[0].taken[i] + takers[1].taken[i] + takers[2].taken[i], 1);
    lk_loader_free(loader);
    lk_dataset_free(set);
}

/* Pixel memory that counts what is taken and fails at a given allocation. */
typedef struct counted_memory {
    int taken, held, fail_at;
    int64_t bytes;
} counted_memory;

static lk_status counted_alloc(void *context, void **out, int64_t bytes, const char *what, lk_error *err) {
    counted_memory *memory = context;
    if (++memory->taken == memory->fail_at) return lk_fail(err, LK_ERR_MEMORY, "no room for %s", what);
    memory->held++;
    memory->bytes = bytes;
    *out = malloc((size_t)bytes);
    memset(*out, 0xcb, (size_t)bytes); /* fresh memory is undefined */
    return LK_OK;
}

static void counted_release(void *context, void *p) {
    ((counted_memory *)context)->held--;
    free(p);
}

/* Pixels lie where the caller says, the same as on the heap, rows that were not asked for zero; all goes back. */
static void test_pixel_memory(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    counted_memory memory = {0};
    uint8_t plain[REQUESTS][MICROBATCH * IMAGE];
    lk_load_request requests[REQUESTS];
    int64_t samples[REQUESTS * MICROBATCH];
    lk_microbatch got;
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, false);
    make_requests(requests, samples);
    check_ok(lk_dataset_open(&set, path, &err), err);
    for (int counted = 0; counted < 2; counted++) {
        lk_loader *loader = NULL;
        lk_loader_config config = config_for(2, 2);
        if (counted) config.pixels = (lk_pixel_memory){&memory, counted_alloc, counted_release};
        check_ok(lk_loader_create(&loader, set, &config, &err), err);
        check_ok(lk_loader_submit(loader, requests, REQUESTS, &augment, 1, &err), err);
        for (int r = 0; r < REQUESTS; r++) {
            check_ok(lk_loader_next(loader, &got, &err), err);
            if (!counted) memcpy(plain[r], got.images, sizeof plain[r]);
            assert_memory_equal(got.images, plain[r], sizeof plain[r]);
            lk_loader_release(loader, &got);
        }
        lk_loader_free(loader);
    }
    assert_int_equal(memory.bytes, MICROBATCH * IMAGE);
    assert_true(memory.taken > 0);
    assert_int_equal(memory.held, 0);
    lk_loader *loader = NULL;
    lk_loader_config config = config_for(1, 1);
    memory = (counted_memory){.fail_at = 1};
    config.pixels = (lk_pixel_memory){&memory, counted_alloc, counted_release};
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    check_ok(lk_loader_submit(loader, requests, 1, NULL, 1, &err), err);
    memory.fail_at = 2;
    check_fails(lk_loader_next(loader, &got, &err), LK_ERR_MEMORY, "no room for the pixels", err);
    lk_loader_free(loader);
    assert_int_equal(memory.held, 0);
    lk_dataset_free(set);
}

/* Taking without waiting gives the same microbatches in the same order, and leaves errors to those that wait. */
static void test_try_next(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_loader *loader = NULL;
    const lk_loader_config config = config_for(2, 2);
    lk_load_request requests[REQUESTS];
    int64_t samples[REQUESTS * MICROBATCH];
    lk_microbatch got = {0};
    path_in(path, state, "a.h5");
    write_jpegs(path, 8, false); /* 8 and 9 are cut */
    make_requests(requests, samples);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    assert_false(lk_loader_try_next(loader, &got)); /* nothing is queued */
    check_ok(lk_loader_submit(loader, requests, REQUESTS, NULL, 1, &err), err);
    int bad = 0;
    for (int r = 0; r < REQUESTS; r++) {
        bool holds_bad = false;
        for (int64_t i = 0; i < requests[r].rows; i++) holds_bad |= requests[r].samples[i] / 2 == 4;
        for (int tries = 0; !lk_loader_try_next(loader, &got); tries++) {
            if (tries < 100 || !holds_bad) {
                struct timespec pause = {.tv_nsec = 1000000};
                nanosleep(&pause, NULL);
                continue;
            }
            assert_int_equal(lk_loader_next(loader, &got, &err), LK_ERR_DATA);
            bad++;
            break;
        }
        if (holds_bad) continue;
        assert_int_equal(got.tag, 100 + r);
        lk_loader_release(loader, &got);
    }
    assert_true(bad > 0);
    assert_false(lk_loader_try_next(loader, &got));
    lk_loader_free(loader);
    lk_dataset_free(set);
}

/* Holding more microbatches than are made ahead must not block. */
static void test_hold_many(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_loader *loader = NULL;
    const lk_loader_config config = config_for(2, 1);
    lk_load_request requests[REQUESTS];
    int64_t samples[REQUESTS * MICROBATCH];
    lk_microbatch held[REQUESTS];
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, false);
    make_requests(requests, samples);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    check_ok(lk_loader_submit(loader, requests, REQUESTS, NULL, 1, &err), err);
    for (int r = 0; r < REQUESTS; r++) check_ok(lk_loader_next(loader, &held[r], &err), err);
    for (int r = 0; r < REQUESTS; r++) {
        for (int other = 0; other < r; other++) assert_ptr_not_equal(held[r].images, held[other].images);
        assert_int_equal(held[r].tag, 100 + r);
    }
    for (int r = 0; r < REQUESTS; r++) lk_loader_release(loader, &held[r]);
    assert_true(lk_loader_take_wait_seconds(loader) > 0);
    assert_true(lk_loader_take_wait_seconds(loader) == 0);
    lk_loader_free(loader);
    lk_dataset_free(set);
}

/* Cancelling at random moments: afterwards the sample list may go, and new requests come out whole. */
static void test_cancel(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_loader *loader = NULL;
    const lk_loader_config config = config_for(3, 3);
    path_in(path, state, "a.h5");
    write_jpegs(path, NONE, false);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    for (int round = 0; round < 60; round++) {
        lk_load_request requests[REQUESTS];
        int64_t *samples = malloc(REQUESTS * MICROBATCH * sizeof *samples);
        lk_microbatch got;
        make_requests(requests, samples);
        check_ok(lk_loader_submit(loader, requests, REQUESTS, &augment, (uint64_t)round, &err), err);
        for (int i = 0; i < round % 4; i++) {
            check_ok(lk_loader_next(loader, &got, &err), err);
            assert_int_equal(got.tag, 100 + i);
            lk_loader_release(loader, &got);
        }
        usleep((useconds_t)(round * 37 % 1500));
        lk_loader_cancel(loader);
        free(samples);
        check_fails(lk_loader_next(loader, &got, &err), LK_ERR_INTERNAL, "nobody queued", err);
    }
    lk_loader_cancel(loader);
    lk_loader_free(loader); /* with nothing queued */
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    lk_load_request requests[REQUESTS];
    int64_t samples[REQUESTS * MICROBATCH];
    make_requests(requests, samples);
    check_ok(lk_loader_submit(loader, requests, REQUESTS, &augment, 1, &err), err);
    lk_loader_free(loader); /* with work under way */
    lk_loader_free(NULL);
    lk_dataset_free(set);
}

static void test_refusals(void **state) {
    char path[320];
    lk_error err = {0};
    lk_dataset *set = NULL;
    lk_loader *loader = NULL;
    lk_loader_config config = config_for(0, 1);
    path_in(path, state, "a.h5");
    write_set(path, SET_COUNT);
    check_ok(lk_dataset_open(&set, path, &err), err);
    check_fails(lk_loader_create(&loader, set, &config, &err), LK_ERR_CONFIG, "at least 1 worker", err);
    config = config_for(1, 1);
    config.preprocess.height = 0;
    check_fails(lk_loader_create(&loader, set, &config, &err), LK_ERR_CONFIG, "0 x 32 pixels", err);
    config = config_for(1, 1);
    check_ok(lk_loader_create(&loader, set, &config, &err), err);
    const int64_t samples[2] = {0, SET_COUNT};
    lk_load_request request = {0, 2, samples, 0, 0};
    check_fails(lk_loader_submit(loader, &request, 1, NULL, 0, &err), LK_ERR_INTERNAL, "sample 40 was asked", err);
    request.rows = MICROBATCH + 1;
    check_fails(lk_loader_submit(loader, &request, 1, NULL, 0, &err), LK_ERR_INTERNAL, "microbatch of 6", err);
    lk_loader_free(loader);
    lk_dataset_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_workers, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_mixing, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_equals_transform, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_drawn_twice, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_bad_sample, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_concurrent_takers, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_pixel_memory, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_try_next, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_hold_many, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_cancel, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
