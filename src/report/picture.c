#include "report/picture.h"

#include <string.h>

#include "core/memory.h"
#include "io/image/resize.h"
#include "io/model/base64.h"
#include "report/html.h"

enum { QUALITY = 75, SMALL_QUALITY = 95 };

static lk_status shrink(const lk_image *image, lk_image *small, lk_error *err) {
    lk_resizer *resizer;
    int32_t longest = image->width > image->height ? image->width : image->height;
    int32_t width = image->width * LK_PICTURE_SIDE / longest, height = image->height * LK_PICTURE_SIDE / longest;
    LK_RETURN_IF(lk_image_reserve(small, width < 1 ? 1 : width, height < 1 ? 1 : height, image->channels, err));
    LK_RETURN_IF(lk_resizer_create(&resizer, err));
    lk_status status = lk_resize(resizer, image, NULL, small->width, small->height, LK_BILINEAR, small->pixels,
                                 (size_t)small->width * (size_t)small->channels, err);
    lk_resizer_free(resizer);
    return status;
}

lk_status lk_picture_write(FILE *out, const lk_image *image, const char *alt, size_t *bytes, lk_error *err) {
    lk_status status = LK_OK;
    lk_image small = {0};
    uint8_t *jpeg = NULL;
    char *text = NULL;
    size_t size;
    bool tiny = image->width <= LK_PICTURE_SMALL && image->height <= LK_PICTURE_SMALL;
    if (!tiny) LK_TRY(shrink(image, &small, err));
    LK_TRY(lk_image_encode_jpeg(&jpeg, &size, tiny ? image : &small, tiny ? SMALL_QUALITY : QUALITY, err));
    LK_TRY(lk_base64_encode(&text, jpeg, size, err));
    fprintf(out, "<img loading=\"lazy\"%s src=\"data:image/jpeg;base64,%s\" alt=\"", tiny ? " class=\"small\"" : "",
            text);
    lk_html_text(out, alt);
    fputs("\">", out);
    if (bytes != NULL) *bytes += strlen(text);
out:
    lk_image_free(&small);
    lk_free(jpeg);
    lk_free(text);
    return status;
}
