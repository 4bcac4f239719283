/* Tables of 256, one per channel: posterize, solarize, autocontrast, equalize. */
#include <string.h>

#include "io/image/effects.h"

static void map_channel(lk_image *image, int channel, const uint8_t table[256]) {
    size_t count = (size_t)image->width * (size_t)image->height, step = (size_t)image->channels;
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = image->pixels + i * step + channel;
        *p = table[*p];
    }
}

static void count_channel(const lk_image *image, int channel, int64_t histogram[256]) {
    size_t count = (size_t)image->width * (size_t)image->height, step = (size_t)image->channels;
    memset(histogram, 0, 256 * sizeof *histogram);
    for (size_t i = 0; i < count; i++) histogram[image->pixels[i * step + (size_t)channel]]++;
}

void lk_effect_posterize(lk_image *image, int bits) {
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = (uint8_t)(i & ~((1 << (8 - bits)) - 1));
    for (int c = 0; c < image->channels; c++) map_channel(image, c, table);
}

void lk_effect_solarize(lk_image *image, double threshold) {
    uint8_t table[256];
    for (int i = 0; i < 256; i++) table[i] = (uint8_t)(i < threshold ? i : 255 - i);
    for (int c = 0; c < image->channels; c++) map_channel(image, c, table);
}

void lk_effect_autocontrast(lk_image *image) {
    for (int c = 0; c < image->channels; c++) {
        int64_t histogram[256];
        uint8_t table[256];
        int low = 0, high = 255;
        count_channel(image, c, histogram);
        while (low < 255 && histogram[low] == 0) low++;
        while (high > 0 && histogram[high] == 0) high--;
        if (high <= low) continue;
        double scale = 255.0 / (high - low), offset = -low * scale;
        for (int i = 0; i < 256; i++) {
            int value = (int)(i * scale + offset);
            table[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
        map_channel(image, c, table);
    }
}

void lk_effect_equalize(lk_image *image) {
    for (int c = 0; c < image->channels; c++) {
        int64_t histogram[256], sum = (int64_t)image->width * image->height;
        uint8_t table[256];
        int last = 255;
        count_channel(image, c, histogram);
        while (last > 0 && histogram[last] == 0) last--;
        /* One level alone gives a step of 0 too. */
        int64_t step = (sum - histogram[last]) / 255, n = step / 2;
        if (step == 0) continue;
        for (int i = 0; i < 256; i++) {
            int64_t value = n / step;
            table[i] = (uint8_t)(value > 255 ? 255 : value);
            n += histogram[i];
        }
        map_channel(image, c, table);
    }
}
