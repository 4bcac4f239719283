/* One image on its way into a data set: read, checked, perhaps resized, hashed. */
#ifndef LK_IO_DATA_PACK_WORKER_H
#define LK_IO_DATA_PACK_WORKER_H

#include "io/data/pack_items.h"
#include "io/image/resize.h"

/* What one thread needs. */
typedef struct lk_pack_worker {
    lk_decoder *decoder;
    lk_resizer *resizer;
    lk_image decoded, resized;
} lk_pack_worker;
LK_MUST_CHECK lk_status lk_pack_worker_init(lk_pack_worker *worker, lk_error *err);
void lk_pack_worker_free(lk_pack_worker *worker); /* frees the content, not the struct */

/* What comes of one image. The buffer is used again for the next. */
typedef struct lk_pack_result {
    lk_sample_info info; /* offset unset */
    uint8_t *bytes;
    size_t capacity;
    int64_t source_bytes;
    lk_error error; /* the reason, without the path */
} lk_pack_result;

/* Fills result->info and bytes from the file root/item->source. Any thread. Errors, in result->error: LK_ERR_DATA and
 * LK_ERR_IO (an unreadable image), LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_pack_process(lk_pack_worker *worker, const lk_pack_item *item, const char *root,
                                        const lk_pack_options *options, lk_pack_result *result);

/* Size of an image whose short side becomes short_side. Source: torchvision, Resize(int). Pure. */
void lk_pack_short_side(int32_t width, int32_t height, int32_t short_side, int32_t *new_width, int32_t *new_height);

#endif
