/* Shared by jobs/preview*.c only. */
#ifndef LK_JOBS_PREVIEW_H
#define LK_JOBS_PREVIEW_H

#include "io/image/image.h"

enum { LK_CAPTION_LINES = 2, LK_CAPTION_SIZE = 96 };

/* One picture of the grid and what stands below it. */
typedef struct lk_preview_cell {
    const uint8_t *pixels; /* height x width x channels; borrowed */
    char caption[LK_CAPTION_LINES][LK_CAPTION_SIZE];
} lk_preview_cell;

typedef struct lk_preview_grid {
    int rows, columns;
    int32_t width, height; /* of a picture */
    int channels;
    const lk_preview_cell *cells; /* rows x columns; pixels NULL: left empty; borrowed */
} lk_preview_grid;

/* Draws the grid; small pictures are enlarged by a whole factor. Owner of the pixels: the caller, with lk_image_free.
 * Errors: LK_ERR_CONFIG for a picture beyond LK_IMAGE_MAX_SIDE or LK_IMAGE_MAX_PIXELS; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_preview_draw(lk_image *out, const lk_preview_grid *grid, lk_error *err);

#endif
