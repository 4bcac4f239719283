#include "io/image/mix.h"

#include <math.h>
#include <string.h>

static int32_t clamp(int32_t value, int32_t most) { return value < 0 ? 0 : value > most ? most : value; }

static void draw_box(lk_mix_choice *out, const lk_random_key *key, uint64_t position, int32_t width, int32_t height) {
    int32_t x = (int32_t)lk_random_below(key, position, LK_DRAW_MIX_CENTER_X, (uint64_t)width);
    int32_t y = (int32_t)lk_random_below(key, position, LK_DRAW_MIX_CENTER_Y, (uint64_t)height);
    double half = 0.5 * sqrt(1 - out->lambda);
    int32_t half_width = (int32_t)(half * width), half_height = (int32_t)(half * height);
    int32_t x0 = clamp(x - half_width, width), x1 = clamp(x + half_width, width);
    int32_t y0 = clamp(y - half_height, height), y1 = clamp(y + half_height, height);
    out->box = (lk_rect){x0, y0, x1 - x0, y1 - y0};
    out->lambda = 1 - (double)out->box.width * out->box.height / ((double)width * height);
}

void lk_mix_draw(lk_mix_choice *out, const lk_mix *mix, uint64_t seed, uint32_t epoch, int64_t position, int32_t width,
                 int32_t height) {
    const lk_random_key key = {seed, epoch, LK_RANDOM_MIX};
    uint64_t index = (uint64_t)position;
    *out = (lk_mix_choice){.kind = LK_MIX_NONE, .lambda = 1};
    if (mix->mixup <= 0 && mix->cutmix <= 0) return;
    if (!(lk_random_uniform_double(&key, index, LK_DRAW_MIX) < mix->probability)) return;
    out->kind = mix->cutmix > 0 ? LK_MIX_CUTMIX : LK_MIX_MIXUP;
    bool both = mix->mixup > 0 && mix->cutmix > 0;
    if (both && !(lk_random_uniform_double(&key, index, LK_DRAW_MIX_KIND) < mix->cutmix_share))
        out->kind = LK_MIX_MIXUP;
    double alpha = out->kind == LK_MIX_MIXUP ? mix->mixup : mix->cutmix;
    out->lambda = lk_random_beta(&key, index, LK_DRAW_MIX_LAMBDA, alpha, alpha);
    if (out->kind == LK_MIX_CUTMIX) draw_box(out, &key, index, width, height);
}

/* Rows of `box` between an image and a packed copy, or between two images. */
static void copy_box(uint8_t *to, size_t to_stride, const uint8_t *from, size_t from_stride, int32_t rows,
                     size_t bytes) {
    for (int32_t y = 0; y < rows; y++) memcpy(to + (size_t)y * to_stride, from + (size_t)y * from_stride, bytes);
}

void lk_mix_paste(const lk_mix_choice *choice, uint8_t *images, int64_t rows, int32_t width, int32_t height,
                  int channels, uint8_t *scratch) {
    const lk_rect *box = &choice->box;
    if (choice->kind != LK_MIX_CUTMIX || box->width < 1 || box->height < 1 || rows < 2) return;
    size_t stride = (size_t)width * (size_t)channels, image = stride * (size_t)height;
    size_t bytes = (size_t)box->width * (size_t)channels;
    uint8_t *corner = images + (size_t)box->y * stride + (size_t)box->x * (size_t)channels;
    /* From the last row to the first, each partner is still whole when its box is taken; row 0's is saved before. */
    copy_box(scratch, bytes, corner + (size_t)(rows - 1) * image, stride, box->height, bytes);
    for (int64_t row = rows - 1; row > 0; row--)
        copy_box(corner + (size_t)row * image, stride, corner + (size_t)lk_mix_partner(row, rows) * image, stride,
                 box->height, bytes);
    copy_box(corner, stride, scratch, bytes, box->height, bytes);
}
