#include "train/confusion_image.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "io/image/draw.h"

enum { LABELLED = 40, MOST_LETTERS = 16, GAP = 4, SCALE = 2, CELLS = 800, LEAST_CELL = 2, MOST_CELL = 64 };

static const lk_rgb WHITE = {255, 255, 255}, BLACK = {0, 0, 0}, GREY = {217, 217, 217}, BLUE = {0, 114, 178};

/* Sizes in pixels. */
typedef struct layout {
    int64_t cell, margin, title; /* a cell's side; for class names, left and on top; for the axis' name */
} layout;

static layout make_layout(const char *const *class_names, int classes) {
    layout l = {.cell = CELLS / classes};
    if (l.cell < LEAST_CELL) l.cell = LEAST_CELL;
    if (l.cell > MOST_CELL) l.cell = MOST_CELL;
    if (classes > LABELLED) return l;
    size_t longest = 1;
    for (int k = 0; k < classes; k++)
        if (strlen(class_names[k]) > longest) longest = strlen(class_names[k]);
    if (longest > MOST_LETTERS) longest = MOST_LETTERS;
    l.margin = (int64_t)longest * LK_GLYPH_ADVANCE * SCALE + GAP;
    l.title = (int64_t)LK_GLYPH_HEIGHT * SCALE + GAP;
    return l;
}

static uint8_t blend(uint8_t from, uint8_t to, double share) { return (uint8_t)(from + (to - from) * share + 0.5); }

static void draw_cell(lk_image *out, int64_t left, int64_t top, int64_t side, double share, int64_t count) {
    const lk_rgb color = {blend(WHITE.r, BLUE.r, share), blend(WHITE.g, BLUE.g, share), blend(WHITE.b, BLUE.b, share)};
    char text[24];
    int64_t line = side >= 8 ? 1 : 0; /* of background between cells */
    lk_draw_fill(out, left, top, side - line, side - line, color);
    int length = count > 0 ? snprintf(text, sizeof text, "%lld", (long long)count) : 0;
    if (length == 0) return;
    int scale = SCALE;
    while (scale > 0 && length * LK_GLYPH_ADVANCE * scale > side) scale--;
    if (scale == 0 || LK_GLYPH_HEIGHT * scale > side) return;
    lk_draw_text(out, left + (side - (int64_t)length * LK_GLYPH_ADVANCE * scale) / 2,
                 top + (side - (int64_t)LK_GLYPH_HEIGHT * scale) / 2, scale, text, length, share > 0.9 ? WHITE : BLACK);
}

static void draw_names(lk_image *out, const layout *l, const char *const *class_names, int classes) {
    int64_t origin = l->title + l->margin, half = (l->cell - LK_GLYPH_HEIGHT * SCALE) / 2;
    for (int k = 0; k < classes; k++) {
        lk_draw_text(out, l->title, origin + k * l->cell + half, SCALE, class_names[k], MOST_LETTERS, BLACK);
        lk_draw_text_up(out, origin + k * l->cell + half, origin - GAP, SCALE, class_names[k], MOST_LETTERS, BLACK);
    }
    lk_draw_text(out, origin, 0, SCALE, "predicted", MOST_LETTERS, BLACK);
    lk_draw_text_up(out, 0, out->height - GAP, SCALE, "true", MOST_LETTERS, BLACK);
}

lk_status lk_confusion_draw(lk_image *out, const int64_t *confusion, const char *const *class_names, int classes,
                            lk_error *err) {
    if (classes < 1 || classes > LK_CONFUSION_CLASSES)
        return lk_fail(err, LK_ERR_CONFIG, "a confusion matrix of %d classes is not drawn: at most %d are", classes,
                       LK_CONFUSION_CLASSES);
    layout l = make_layout(class_names, classes);
    int64_t origin = l.title + l.margin, side = origin + classes * l.cell;
    LK_RETURN_IF(lk_image_reserve(out, side, side, 3, err));
    lk_draw_fill(out, 0, 0, side, side, WHITE);
    lk_draw_fill(out, origin, origin, classes * l.cell, classes * l.cell, GREY); /* lines between cells */
    for (int row = 0; row < classes; row++) {
        const int64_t *counts = confusion + (int64_t)row * classes;
        int64_t sum = 0;
        for (int k = 0; k < classes; k++) sum += counts[k];
        for (int k = 0; k < classes; k++)
            draw_cell(out, origin + k * l.cell, origin + row * l.cell, l.cell,
                      sum > 0 ? (double)counts[k] / (double)sum : 0, counts[k]);
    }
    if (classes <= LABELLED) draw_names(out, &l, class_names, classes);
    return LK_OK;
}
