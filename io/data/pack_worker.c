#include "io/data/pack_worker.h"

#include <string.h>

#include "core/memory.h"
#include "io/data/sample_file.h"

lk_status lk_pack_worker_init(lk_pack_worker *worker, lk_error *err) {
    *worker = (lk_pack_worker){0};
    LK_RETURN_IF(lk_decoder_create(&worker->decoder, err));
    return lk_resizer_create(&worker->resizer, err);
}

void lk_pack_worker_free(lk_pack_worker *worker) {
    lk_decoder_free(worker->decoder);
    lk_resizer_free(worker->resizer);
    lk_image_free(&worker->decoded);
    lk_image_free(&worker->resized);
}

void lk_pack_short_side(int32_t width, int32_t height, int32_t short_side, int32_t *new_width, int32_t *new_height) {
    int32_t least = width < height ? width : height, most = width < height ? height : width;
    int32_t longer = (int32_t)((int64_t)short_side * most / least);
    *new_width = width < height ? short_side : longer;
    *new_height = width < height ? longer : short_side;
}

/* Puts an image's pixels, or a new JPEG of them, in place of the bytes. */
static lk_status store_image(const lk_image *image, const lk_pack_options *options, lk_pack_result *result) {
    lk_error *err = &result->error;
    result->info.width = image->width;
    result->info.height = image->height;
    result->info.channels = (uint8_t)image->channels;
    uint8_t *encoded = NULL;
    const uint8_t *bytes = image->pixels;
    size_t size = (size_t)image->width * (size_t)image->height * (size_t)image->channels;
    if (options->raw) {
        result->info.encoding = LK_ENCODING_RAW;
    } else {
        LK_RETURN_IF(lk_image_encode_jpeg(&encoded, &size, image, options->quality, err));
        result->info.encoding = LK_ENCODING_JPEG;
        bytes = encoded;
    }
    lk_status status = lk_grow((void **)&result->bytes, &result->capacity, size, 1, "an image", err);
    if (status == LK_OK) {
        memcpy(result->bytes, bytes, size);
        result->info.length = (int64_t)size;
    }
    lk_free(encoded);
    return status;
}

static lk_status resize(lk_pack_worker *worker, const lk_pack_options *options, lk_pack_result *result) {
    const lk_image *image = &worker->decoded;
    int32_t width = 0, height = 0;
    lk_pack_short_side(image->width, image->height, options->short_side, &width, &height);
    LK_RETURN_IF(lk_image_reserve(&worker->resized, width, height, image->channels, &result->error));
    worker->resized.width = width;
    worker->resized.height = height;
    worker->resized.channels = image->channels;
    LK_RETURN_IF(lk_resize(worker->resizer, image, NULL, width, height, LK_BILINEAR, worker->resized.pixels,
                           (size_t)width * (size_t)image->channels, &result->error));
    return store_image(&worker->resized, options, result);
}

lk_status lk_pack_process(lk_pack_worker *worker, const lk_pack_item *item, const char *root,
                          const lk_pack_options *options, lk_pack_result *result) {
    lk_error_clear(&result->error);
    result->info = (lk_sample_info){.label = item->label, .group = item->group, .split = (uint8_t)item->split};
    result->source_bytes = 0;
    LK_RETURN_IF(lk_sample_file_read(&result->bytes, &result->capacity, &result->info.length, root, item->source,
                                     &result->error));
    result->source_bytes = result->info.length;
    lk_image_info probed;
    LK_RETURN_IF(lk_image_probe(&probed, result->bytes, (size_t)result->info.length, &result->error));
    result->info.encoding = (uint8_t)probed.encoding;
    result->info.channels = (uint8_t)probed.channels;
    result->info.width = probed.width;
    result->info.height = probed.height;
    int32_t least = probed.width < probed.height ? probed.width : probed.height;
    bool shrink = options->short_side > 0 && least > options->short_side;
    if (options->verify || options->raw || shrink)
        LK_RETURN_IF(lk_image_decode(worker->decoder, &worker->decoded, result->bytes, (size_t)result->info.length,
                                     probed.channels, 0, 0, &result->error));
    if (shrink)
        LK_RETURN_IF(resize(worker, options, result));
    else if (options->raw)
        LK_RETURN_IF(store_image(&worker->decoded, options, result));
    lk_bytes_hash(result->bytes, result->info.length, result->info.hash);
    return LK_OK;
}
