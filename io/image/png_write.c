#include <spng.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/image/image.h"

/* libspng's buffer comes from malloc; ours must go through lk_free. */
static lk_status take_buffer(spng_ctx *context, uint8_t **bytes, size_t *size, lk_error *err) {
    int code = 0;
    void *buffer = spng_get_png_buffer(context, size, &code);
    if (buffer == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot encode a PNG: %s", spng_strerror(code));
    lk_status status = lk_alloc((void **)bytes, *size, 1, "a PNG", err);
    if (status == LK_OK) memcpy(*bytes, buffer, *size);
    free(buffer);
    return status;
}

lk_status lk_image_encode_png(uint8_t **bytes, size_t *size, const lk_image *image, lk_error *err) {
    *bytes = NULL;
    spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
    if (context == NULL) return lk_fail(err, LK_ERR_MEMORY, "no memory for a PNG encoder");
    struct spng_ihdr header = {
        .width = (uint32_t)image->width,
        .height = (uint32_t)image->height,
        .bit_depth = 8,
        .color_type = image->channels == 3 ? SPNG_COLOR_TYPE_TRUECOLOR : SPNG_COLOR_TYPE_GRAYSCALE};
    size_t length = (size_t)image->width * (size_t)image->height * (size_t)image->channels;
    int code = spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
    if (code == 0) code = spng_set_ihdr(context, &header);
    if (code == 0) code = spng_encode_image(context, image->pixels, length, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    lk_status status = code == 0 ? take_buffer(context, bytes, size, err)
                                 : lk_fail(err, LK_ERR_INTERNAL, "cannot encode a PNG of %d x %d pixels: %s",
                                           image->width, image->height, spng_strerror(code));
    spng_ctx_free(context);
    return status;
}
