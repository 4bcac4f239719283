/* The grid of a preview, pixel by pixel. */
#include <string.h>

#include "io/image/draw.h"
#include "jobs/preview.h"

enum { GAP = 6, WHITE = 255, LINE_GAP = 3, LEAST_SIDE = 112, LARGE_SIDE = 180 };

/* Sizes in pixels of the picture. */
typedef struct layout {
    int zoom, letter;                /* factors of pictures and of letters */
    int64_t cell_width, cell_height; /* with caption, without the gap */
    int64_t picture_width, picture_height;
} layout;

static layout make_layout(const lk_preview_grid *grid) {
    layout l = {.zoom = 1, .letter = 1};
    int32_t side = grid->width < grid->height ? grid->width : grid->height;
    while (side * l.zoom < LEAST_SIDE) l.zoom++;
    l.picture_width = (int64_t)grid->width * l.zoom;
    l.picture_height = (int64_t)grid->height * l.zoom;
    if (l.picture_width >= LARGE_SIDE) l.letter = 2;
    l.cell_width = l.picture_width;
    l.cell_height = l.picture_height + (int64_t)LK_CAPTION_LINES * (LK_GLYPH_HEIGHT * l.letter + LINE_GAP) + LINE_GAP;
    return l;
}

static void draw_picture(lk_image *out, const lk_preview_grid *grid, const layout *l, const uint8_t *pixels,
                         int64_t left, int64_t top) {
    for (int64_t y = 0; y < l->picture_height; y++)
        for (int64_t x = 0; x < l->picture_width; x++) {
            const uint8_t *from = pixels + (y / l->zoom * grid->width + x / l->zoom) * grid->channels;
            uint8_t *to = out->pixels + (((top + y) * out->width) + left + x) * 3;
            for (int c = 0; c < 3; c++) to[c] = from[grid->channels == 3 ? c : 0];
        }
}

/* Letters that do not fit into the cell are left out. */
static void draw_text(lk_image *out, const layout *l, const char *text, int64_t left, int64_t top) {
    const lk_rgb black = {0, 0, 0};
    lk_draw_text(out, left, top, l->letter, text, l->cell_width / ((int64_t)LK_GLYPH_ADVANCE * l->letter), black);
}

lk_status lk_preview_draw(lk_image *out, const lk_preview_grid *grid, lk_error *err) {
    layout l = make_layout(grid);
    int64_t width = GAP + grid->columns * (l.cell_width + GAP), height = GAP + grid->rows * (l.cell_height + GAP);
    if (width > LK_IMAGE_MAX_SIDE || height > LK_IMAGE_MAX_SIDE || width * height > LK_IMAGE_MAX_PIXELS)
        return lk_fail(err, LK_ERR_CONFIG,
                       "a preview of %lld x %lld pixels is too large: ask for fewer --samples or --draws",
                       (long long)width, (long long)height);
    LK_RETURN_IF(lk_image_reserve(out, width, height, 3, err));
    memset(out->pixels, WHITE, (size_t)width * (size_t)height * 3);
    for (int i = 0; i < grid->rows * grid->columns; i++) {
        const lk_preview_cell *cell = &grid->cells[i];
        int64_t left = GAP + i % grid->columns * (l.cell_width + GAP),
                top = GAP + i / grid->columns * (l.cell_height + GAP);
        if (cell->pixels == NULL) continue;
        draw_picture(out, grid, &l, cell->pixels, left, top);
        for (int line = 0; line < LK_CAPTION_LINES; line++)
            draw_text(out, &l, cell->caption[line], left,
                      top + l.picture_height + LINE_GAP + (int64_t)line * (LK_GLYPH_HEIGHT * l.letter + LINE_GAP));
    }
    return LK_OK;
}
