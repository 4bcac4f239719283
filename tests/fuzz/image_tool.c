/* Runs io/image for the parity tests: one command a line on stdin, answered on stdout by "ok WIDTH HEIGHT CHANNELS
 * TEXT" and the raw pixels, or by "error STATUS MESSAGE".
 *   probe FILE
 *   decode FILE CHANNELS MIN_WIDTH MIN_HEIGHT
 *   region FILE CHANNELS X Y WIDTH HEIGHT
 *   resize FILE CHANNELS INTERPOLATION WIDTH HEIGHT X0 Y0 X1 Y1
 *   transform FILE CHANNELS INTERPOLATION WIDTH HEIGHT RULE RESIZE_SIZE SCALED CROP PAD HFLIP SEED EPOCH POSITION
 *       (CROP "none": evaluation; TEXT: the box and the flip)
 *   draw WIDTH HEIGHT SEED EPOCH POSITION        (RandomResizedCrop's defaults)
 *   mix MIXUP CUTMIX PROBABILITY SHARE WIDTH HEIGHT SEED EPOCH POSITION
 *   effect FILE CHANNELS KIND VALUE [NAME=VALUE ...]        (one step on the decoded image)
 *   steps WIDTH HEIGHT SEED EPOCH POSITION [NAME=VALUE ...]        (TEXT: KIND:VALUE:X:Y:WIDTH:HEIGHT of each step)
 *   augment FILE CHANNELS WIDTH HEIGHT SEED EPOCH POSITION [NAME=VALUE ...]        (TEXT: box, flip, steps)
 *   encode FILE QUALITY        (the pixels are the JPEG's bytes)
 *   bench LIST REPEATS decode|eval|augment SCALED [NAME=VALUE ...]       (file of paths; TEXT: images per second of one
 *       thread)
 * NAME=VALUE sets a field of lk_augment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/memory.h"
#include "core/options.h"
#include "io/image/augment.h"
#include "io/image/transform.h"

typedef struct tool {
    lk_decoder *decoder;
    lk_resizer *resizer;
    char **args;
    int count;
    uint8_t *bytes; /* of the file */
    size_t size;
    lk_image image, result;
    char text[4096];
} tool;

static const char *arg(const tool *t, int i) { return i < t->count ? t->args[i] : "0"; }
static int number(const tool *t, int i) { return atoi(arg(t, i)); }

static lk_status read_file(const char *path, uint8_t **bytes, size_t *size, lk_error *err) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    lk_free(*bytes);
    *bytes = NULL;
    lk_status status = lk_alloc((void **)bytes, length > 0 ? (size_t)length : 0, 1, "a file", err);
    if (status == LK_OK && fread(*bytes, 1, (size_t)length, file) != (size_t)length)
        status = lk_fail_errno(err, "read", path);
    fclose(file);
    *size = (size_t)length;
    return status;
}

static int choice(const char *text, const char *(*name)(int), int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(name(i), text) == 0) return i;
    return -1;
}
static const char *interpolation_name(int i) { return lk_interpolation_name((lk_interpolation)i); }
static const char *resize_rule_name(int i) { return lk_resize_rule_name((lk_resize_rule)i); }
static const char *crop_rule_name(int i) { return lk_crop_rule_name((lk_crop_rule)i); }

static lk_status run_probe(tool *t, lk_error *err) {
    lk_image_info info;
    LK_RETURN_IF(lk_image_probe(&info, t->bytes, t->size, err));
    t->result.width = t->result.height = t->result.channels = 0;
    snprintf(t->text, sizeof t->text, "%s %d %d %d %d", lk_encoding_name(info.encoding), info.width, info.height,
             info.channels, info.orientation);
    return LK_OK;
}

static lk_status run_region(tool *t, lk_error *err) {
    lk_rect want = {number(t, 3), number(t, 4), number(t, 5), number(t, 6)}, got;
    int channels = number(t, 2);
    LK_RETURN_IF(lk_decoder_open(t->decoder, t->bytes, t->size, NULL, err));
    LK_RETURN_IF(lk_decoder_read(t->decoder, &t->image, channels, &want, &got, err));
    LK_RETURN_IF(lk_decoder_finish(t->decoder, err));
    LK_RETURN_IF(lk_image_reserve(&t->result, want.width, want.height, channels, err));
    for (int y = 0; y < want.height; y++)
        memcpy(t->result.pixels + (size_t)y * (size_t)(want.width * channels),
               t->image.pixels +
                   ((size_t)(want.y - got.y + y) * (size_t)got.width + (size_t)(want.x - got.x)) * (size_t)channels,
               (size_t)(want.width * channels));
    return LK_OK;
}

static lk_status run_resize(tool *t, lk_error *err) {
    int channels = number(t, 2), interpolation = choice(arg(t, 3), interpolation_name, LK_INTERPOLATION_COUNT);
    int width = number(t, 4), height = number(t, 5);
    lk_box box = {atof(arg(t, 6)), atof(arg(t, 7)), atof(arg(t, 8)), atof(arg(t, 9))};
    LK_RETURN_IF(lk_image_decode(t->decoder, &t->image, t->bytes, t->size, channels, 0, 0, err));
    LK_RETURN_IF(lk_image_reserve(&t->result, width, height, channels, err));
    return lk_resize(t->resizer, &t->image, box.x1 > 0 ? &box : NULL, width, height, (lk_interpolation)interpolation,
                     t->result.pixels, (size_t)(width * channels), err);
}

static lk_status run_transform(tool *t, lk_error *err) {
    lk_preprocess p = {.channels = number(t, 2),
                       .width = number(t, 4),
                       .height = number(t, 5),
                       .resize_size = number(t, 7),
                       .scaled_decode = number(t, 8) != 0};
    p.interpolation = (lk_interpolation)choice(arg(t, 3), interpolation_name, LK_INTERPOLATION_COUNT);
    p.resize = (lk_resize_rule)choice(arg(t, 6), resize_rule_name, LK_RESIZE_RULE_COUNT);
    lk_augment augment = {.scale_min = 0.08,
                          .scale_max = 1,
                          .ratio_min = 3.0 / 4,
                          .ratio_max = 4.0 / 3,
                          .crop_pad = number(t, 10),
                          .hflip = atof(arg(t, 11))};
    lk_sample_key key = {strtoull(arg(t, 12), NULL, 10), (uint32_t)number(t, 13), number(t, 14)};
    bool training = strcmp(arg(t, 9), "none") != 0;
    if (training) augment.crop = (lk_crop_rule)choice(arg(t, 9), crop_rule_name, LK_CROP_RULE_COUNT);
    lk_image_info info;
    LK_RETURN_IF(lk_image_probe(&info, t->bytes, t->size, err));
    LK_RETURN_IF(lk_image_reserve(&t->result, p.width, p.height, p.channels, err));
    memset(t->result.pixels, 0xAB, t->result.capacity);
    lk_transformer *transformer = NULL;
    LK_RETURN_IF(lk_transformer_create(&transformer, &p, err));
    lk_status status = lk_transform(transformer, t->bytes, t->size, info.encoding, 0, 0, 0, training ? &augment : NULL,
                                    &key, t->result.pixels, err);
    lk_transformer_free(transformer);
    lk_box box;
    bool flip;
    lk_augment_draw(training ? &augment : NULL, &p, &key, info.width, info.height, &box, &flip);
    snprintf(t->text, sizeof t->text, "%g %g %g %g %d", box.x0, box.y0, box.x1, box.y1, flip);
    return status;
}

static lk_status run_draw(tool *t, lk_error *err) {
    (void)err;
    lk_preprocess p = {.channels = 3, .width = 224, .height = 224};
    lk_augment augment = {.crop = LK_CROP_RANDOM_RESIZED,
                          .scale_min = 0.08,
                          .scale_max = 1,
                          .ratio_min = 3.0 / 4,
                          .ratio_max = 4.0 / 3,
                          .hflip = 0.5};
    lk_sample_key key = {strtoull(arg(t, 3), NULL, 10), (uint32_t)number(t, 4), number(t, 5)};
    lk_box box;
    bool flip;
    lk_augment_draw(&augment, &p, &key, number(t, 1), number(t, 2), &box, &flip);
    t->result.width = t->result.height = t->result.channels = 0;
    snprintf(t->text, sizeof t->text, "%g %g %g %g %d", box.x0, box.y0, box.x1, box.y1, flip);
    return LK_OK;
}

/* mix MIXUP CUTMIX PROBABILITY SHARE WIDTH HEIGHT SEED EPOCH POSITION */
static lk_status run_mix(tool *t, lk_error *err) {
    (void)err;
    lk_mix mix = {atof(arg(t, 1)), atof(arg(t, 2)), atof(arg(t, 3)), atof(arg(t, 4))};
    lk_mix_choice choice;
    lk_mix_draw(&choice, &mix, strtoull(arg(t, 7), NULL, 10), (uint32_t)number(t, 8), number(t, 9), number(t, 5),
                number(t, 6));
    t->result.width = t->result.height = t->result.channels = 0;
    snprintf(t->text, sizeof t->text, "%d %.17g %d %d %d %d", choice.kind, choice.lambda, choice.box.x, choice.box.y,
             choice.box.width, choice.box.height);
    return LK_OK;
}

static lk_status run_encode(tool *t, lk_error *err) {
    LK_RETURN_IF(lk_image_decode(t->decoder, &t->image, t->bytes, t->size, 3, 0, 0, err));
    uint8_t *bytes = NULL;
    size_t size = 0;
    LK_RETURN_IF(lk_image_encode_jpeg(&bytes, &size, &t->image, number(t, 2), err));
    lk_status status = lk_image_reserve(&t->result, 1, 1, (int)size, err);
    if (status == LK_OK) memcpy(t->result.pixels, bytes, size);
    lk_free(bytes);
    return status;
}

#define AT(field) offsetof(lk_augment, field)
#define NUM(field) \
    { .name = #field, .type = LK_OPTION_DOUBLE, .offset = AT(field) }
#define CHOICE(field) \
    { .name = #field, .type = LK_OPTION_CHOICE, .offset = AT(field), .choices = field##_names }
static const char *const crop_names[] = {"center", "random_resized", "pad_random", NULL};
static const char *const policy_names[] = {"none", "rand", "trivial", NULL};
static const char *const erase_fill_names[] = {"mean", "noise", "black", NULL};
static const lk_option FIELDS[] = {
    NUM(scale_min),
    NUM(scale_max),
    NUM(ratio_min),
    NUM(ratio_max),
    NUM(hflip),
    NUM(vflip),
    NUM(rotate),
    NUM(jitter),
    NUM(brightness),
    NUM(contrast),
    NUM(saturation),
    NUM(hue),
    NUM(grayscale),
    NUM(blur),
    NUM(blur_min),
    NUM(blur_max),
    NUM(noise),
    NUM(noise_sigma),
    NUM(erase),
    NUM(erase_scale_min),
    NUM(erase_scale_max),
    NUM(erase_ratio_min),
    NUM(erase_ratio_max),
    CHOICE(crop),
    CHOICE(policy),
    CHOICE(erase_fill),
    {.name = "bilinear", .type = LK_OPTION_BOOL, .offset = AT(bilinear)},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };

/* NAME=VALUE from argument `first` on. */
static lk_status read_augment(tool *t, int first, lk_augment *out, lk_error *err) {
    *out = (lk_augment){.crop = LK_CROP_RANDOM_RESIZED,
                        .scale_min = 0.08,
                        .scale_max = 1,
                        .ratio_min = 3.0 / 4,
                        .ratio_max = 4.0 / 3,
                        .policy_ops = 2,
                        .policy_magnitude = 9,
                        .policy_bins = 31,
                        .jitter = 1,
                        .blur_size = 5,
                        .blur_min = 0.1,
                        .blur_max = 2,
                        .noise_sigma = 0.1,
                        .erase_scale_min = 0.02,
                        .erase_scale_max = 0.33,
                        .erase_ratio_min = 0.3,
                        .erase_ratio_max = 3.3};
    for (int i = first; i < t->count; i++) {
        char *value = strchr(t->args[i], '=');
        if (value == NULL) return lk_fail(err, LK_ERR_USAGE, "%s is not NAME=VALUE", t->args[i]);
        *value++ = '\0';
        if (strcmp(t->args[i], "fill") == 0) {
            unsigned r, g, b;
            if (sscanf(value, "%u,%u,%u", &r, &g, &b) != 3) return lk_fail(err, LK_ERR_USAGE, "fill takes R,G,B");
            out->fill[0] = (uint8_t)r, out->fill[1] = (uint8_t)g, out->fill[2] = (uint8_t)b;
        } else if (strcmp(t->args[i], "policy_ops") == 0) {
            out->policy_ops = atoi(value);
        } else if (strcmp(t->args[i], "policy_magnitude") == 0) {
            out->policy_magnitude = atoi(value);
        } else if (strcmp(t->args[i], "policy_bins") == 0) {
            out->policy_bins = atoi(value);
        } else if (strcmp(t->args[i], "blur_size") == 0) {
            out->blur_size = atoi(value);
        } else {
            LK_RETURN_IF(lk_options_set(FIELDS, FIELD_COUNT, out, t->args[i], value, "argument", err));
        }
    }
    return LK_OK;
}

static const lk_preprocess PREPROCESS = {.channels = 3,
                                         .resize = LK_RESIZE_SHORT_SIDE,
                                         .resize_size = 256,
                                         .mean = {0.485F, 0.456F, 0.406F},
                                         .std = {0.229F, 0.224F, 0.225F}};
static const char *step_name(int i) { return lk_step_kind_name((lk_step_kind)i); }

static lk_status run_effect(tool *t, lk_error *err) {
    lk_augment augment;
    lk_image scratch = {0};
    lk_sample_key key = {1, 0, 0};
    lk_steps steps = {.count = 1};
    lk_preprocess p = PREPROCESS;
    p.channels = number(t, 2);
    LK_RETURN_IF(read_augment(t, 5, &augment, err));
    int kind = choice(arg(t, 3), step_name, LK_STEP_COUNT);
    if (kind < 0) return lk_fail(err, LK_ERR_USAGE, "there is no step %s", arg(t, 3));
    steps.steps[0] = (lk_step){.kind = (lk_step_kind)kind, .value = atof(arg(t, 4))};
    LK_RETURN_IF(lk_image_decode(t->decoder, &t->result, t->bytes, t->size, p.channels, 0, 0, err));
    lk_status status = lk_steps_apply(&steps, &augment, &p, &key, &t->result, &scratch, err);
    lk_image_free(&scratch);
    return status;
}

static void print_steps(tool *t, const lk_augment *augment, const lk_sample_key *key, int width, int height) {
    lk_steps steps;
    lk_steps_draw(&steps, augment, key, width, height);
    for (int i = 0; i < steps.count; i++) {
        const lk_step *s = &steps.steps[i];
        size_t used = strlen(t->text);
        snprintf(t->text + used, sizeof t->text - used, "%s%s:%.17g:%d:%d:%d:%d", used > 0 ? " " : "",
                 lk_step_kind_name(s->kind), s->value, s->box.x, s->box.y, s->box.width, s->box.height);
    }
}

static lk_status run_steps(tool *t, lk_error *err) {
    lk_augment augment;
    LK_RETURN_IF(read_augment(t, 6, &augment, err));
    lk_sample_key key = {strtoull(arg(t, 3), NULL, 10), (uint32_t)number(t, 4), number(t, 5)};
    t->result.width = t->result.height = t->result.channels = 0;
    print_steps(t, &augment, &key, number(t, 1), number(t, 2));
    return LK_OK;
}

static lk_status run_augment(tool *t, lk_error *err) {
    lk_augment augment;
    lk_preprocess p = PREPROCESS;
    lk_image_info info;
    lk_transformer *transformer = NULL;
    LK_RETURN_IF(read_augment(t, 8, &augment, err));
    lk_sample_key key = {strtoull(arg(t, 5), NULL, 10), (uint32_t)number(t, 6), number(t, 7)};
    p.channels = number(t, 2);
    p.width = number(t, 3);
    p.height = number(t, 4);
    LK_RETURN_IF(lk_image_probe(&info, t->bytes, t->size, err));
    LK_RETURN_IF(lk_image_reserve(&t->result, p.width, p.height, p.channels, err));
    LK_RETURN_IF(lk_transformer_create(&transformer, &p, err));
    lk_status status =
        lk_transform(transformer, t->bytes, t->size, info.encoding, 0, 0, 0, &augment, &key, t->result.pixels, err);
    lk_transformer_free(transformer);
    lk_box box;
    bool flip;
    lk_augment_draw(&augment, &p, &key, info.width, info.height, &box, &flip);
    snprintf(t->text, sizeof t->text, "%g %g %g %g %d", box.x0, box.y0, box.x1, box.y1, flip);
    print_steps(t, &augment, &key, p.width, p.height);
    return status;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static lk_status bench_one(tool *t, lk_transformer *transformer, const char *mode, const lk_augment *augment, int i,
                           lk_error *err) {
    if (strcmp(mode, "decode") == 0) return lk_image_decode(t->decoder, &t->image, t->bytes, t->size, 3, 0, 0, err);
    lk_sample_key key = {1, 0, i};
    return lk_transform(transformer, t->bytes, t->size, LK_ENCODING_JPEG, 0, 0, 0,
                        strcmp(mode, "eval") == 0 ? NULL : augment, &key, t->result.pixels, err);
}

static lk_status run_bench(tool *t, lk_error *err) {
    lk_preprocess p = {.channels = 3,
                       .width = 224,
                       .height = 224,
                       .resize = LK_RESIZE_SHORT_SIDE,
                       .resize_size = 256,
                       .scaled_decode = number(t, 4) != 0};
    lk_augment augment;
    LK_RETURN_IF(read_augment(t, 5, &augment, err));
    augment.hflip = 0.5;
    lk_transformer *transformer = NULL;
    lk_status status = LK_OK;
    FILE *list = fopen(arg(t, 1), "r");
    char path[4096];
    double spent = 0;
    int images = 0;
    if (list == NULL) return lk_fail_errno(err, "open", arg(t, 1));
    LK_TRY(lk_transformer_create(&transformer, &p, err));
    LK_TRY(lk_image_reserve(&t->result, 224, 224, 3, err));
    while (fgets(path, sizeof path, list) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        LK_TRY(read_file(path, &t->bytes, &t->size, err));
        double start = seconds_now();
        for (int r = 0; r < number(t, 2); r++, images++)
            LK_TRY(bench_one(t, transformer, arg(t, 3), &augment, images, err));
        spent += seconds_now() - start;
    }
    t->result.width = t->result.height = t->result.channels = 0;
    snprintf(t->text, sizeof t->text, "%.1f", images / spent);
out:
    fclose(list);
    lk_transformer_free(transformer);
    return status;
}

static lk_status run(tool *t, lk_error *err) {
    const char *command = arg(t, 0);
    if (strcmp(command, "draw") == 0) return run_draw(t, err);
    if (strcmp(command, "mix") == 0) return run_mix(t, err);
    if (strcmp(command, "steps") == 0) return run_steps(t, err);
    if (strcmp(command, "bench") == 0) return run_bench(t, err);
    LK_RETURN_IF(read_file(arg(t, 1), &t->bytes, &t->size, err));
    if (strcmp(command, "probe") == 0) return run_probe(t, err);
    if (strcmp(command, "decode") == 0)
        return lk_image_decode(t->decoder, &t->result, t->bytes, t->size, number(t, 2), number(t, 3), number(t, 4),
                               err);
    if (strcmp(command, "region") == 0) return run_region(t, err);
    if (strcmp(command, "resize") == 0) return run_resize(t, err);
    if (strcmp(command, "transform") == 0) return run_transform(t, err);
    if (strcmp(command, "encode") == 0) return run_encode(t, err);
    if (strcmp(command, "effect") == 0) return run_effect(t, err);
    if (strcmp(command, "augment") == 0) return run_augment(t, err);
    return lk_fail(err, LK_ERR_USAGE, "unknown command %s", command);
}

static void answer(tool *t) {
    lk_error err = {0};
    t->text[0] = '\0';
    lk_status status = run(t, &err);
    if (status != LK_OK)
        printf("error %s %s\n", lk_status_name(status), err.message);
    else {
        const lk_image *r = &t->result;
        printf("ok %d %d %d %s\n", r->width, r->height, r->channels, t->text);
        fwrite(r->pixels, (size_t)r->channels, (size_t)r->width * (size_t)r->height, stdout);
    }
    fflush(stdout);
}

int main(void) {
    enum { MOST = 64 };
    lk_error err = {0};
    tool t = {0};
    char *args[MOST], line[8192];
    t.args = args;
    if (lk_decoder_create(&t.decoder, &err) != LK_OK || lk_resizer_create(&t.resizer, &err) != LK_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *rest = line;
        for (t.count = 0; t.count < MOST && (args[t.count] = strtok_r(NULL, " \n", &rest)) != NULL;) t.count++;
        if (t.count > 0) answer(&t);
    }
    lk_free(t.bytes);
    lk_image_free(&t.image);
    lk_image_free(&t.result);
    lk_decoder_free(t.decoder);
    lk_resizer_free(t.resizer);
    return 0;
}
