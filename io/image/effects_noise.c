/* Gaussian blur and Gaussian noise. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "io/image/effects.h"

enum { BLUR_SIZE_MAX = 255 };

/* Source: torchvision, _get_gaussian_kernel1d, in float32. */
static void make_kernel(float *kernel, int size, double sigma) {
    float sum = 0;
    for (int i = 0; i < size; i++) {
        float x = ((float)i - (float)(size - 1) * 0.5F) / (float)sigma;
        kernel[i] = expf(-0.5F * x * x);
        sum += kernel[i];
    }
    for (int i = 0; i < size; i++) kernel[i] /= sum;
}

/* Index -1 is 1, index n is n - 2. */
static int32_t reflect(int32_t i, int32_t n) { return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i; }

static void blur_rows(const lk_image *in, const float *kernel, int size, float *out) {
    for (int32_t y = 0; y < in->height; y++)
        for (int32_t x = 0; x < in->width; x++)
            for (int c = 0; c < in->channels; c++) {
                const uint8_t *row = in->pixels + (int64_t)y * in->width * in->channels + c;
                float sum = 0;
                for (int k = 0; k < size; k++)
                    sum += kernel[k] * (float)row[reflect(x + k - size / 2, in->width) * in->channels];
                *out++ = sum;
            }
}

static void blur_columns(const float *in, const float *kernel, int size, lk_image *out, float *line) {
    int64_t stride = (int64_t)out->width * out->channels;
    for (int32_t y = 0; y < out->height; y++) {
        memset(line, 0, (size_t)stride * sizeof *line);
        for (int k = 0; k < size; k++) {
            const float *from = in + reflect(y + k - size / 2, out->height) * stride;
            for (int64_t i = 0; i < stride; i++) line[i] += kernel[k] * from[i];
        }
        for (int64_t i = 0; i < stride; i++) out->pixels[y * stride + i] = (uint8_t)rintf(line[i]);
    }
}

lk_status lk_effect_blur(lk_image *image, lk_image *scratch, int size, double sigma, lk_error *err) {
    float kernel[BLUR_SIZE_MAX];
    if (size < 1 || size > BLUR_SIZE_MAX || size / 2 >= image->width || size / 2 >= image->height)
        return lk_fail(err, LK_ERR_CONFIG, "a blur of %d pixels does not fit an image of %d x %d", size, image->width,
                       image->height);
    make_kernel(kernel, size, sigma);
    /* The scratch image's bytes hold the float32 values between the passes, and one line more. */
    LK_RETURN_IF(lk_image_reserve(scratch, (int64_t)image->width * (int64_t)sizeof(float), image->height + 1,
                                  image->channels, err));
    float *rows = (float *)(void *)scratch->pixels,
          *line = rows + (int64_t)image->width * image->height * image->channels;
    blur_rows(image, kernel, size, rows);
    blur_columns(rows, kernel, size, image, line);
    return LK_OK;
}

/* A uniform of (0, 1] out of 32 bits, so that its logarithm is finite. */
static float uniform_open(uint32_t word) { return (float)((word >> 8) + 1) * 0x1p-24F; }

void lk_effect_normals(const lk_random_key *key, uint64_t index, uint32_t sub, int64_t first, float out[4]) {
    uint32_t words[4];
    lk_random_words(key, index, sub + (uint32_t)(first / 4), words);
    for (int pair = 0; pair < 2; pair++) {
        float radius = sqrtf(-2.0F * logf(uniform_open(words[2 * pair])));
        float angle = 6.28318530717958648F * (float)(words[2 * pair + 1] >> 8) * 0x1p-24F;
        out[2 * pair] = radius * cosf(angle);
        out[2 * pair + 1] = radius * sinf(angle);
    }
}

void lk_effect_noise(lk_image *image, double sigma, const lk_random_key *key, uint64_t index, uint32_t sub) {
    int64_t count = (int64_t)image->width * image->height * image->channels;
    float scale = (float)(sigma * 255);
    for (int64_t i = 0; i < count; i += 4) {
        float normals[4];
        lk_effect_normals(key, index, sub, i, normals);
        for (int64_t k = 0; k < 4 && i + k < count; k++) {
            int value = image->pixels[i + k] + (int)(normals[k] * scale);
            image->pixels[i + k] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    }
}
