/* Listing of folders in an order that does not depend on the file system. */
#ifndef LK_IO_DATA_FOLDER_H
#define LK_IO_DATA_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct lk_entry {
    char *name;
    bool is_folder; /* links are followed */
    bool is_hidden; /* starts with '.' */
} lk_entry;

typedef struct lk_listing {
    lk_entry *entries; /* sorted bytewise by name */
    size_t capacity;
    int64_t count;
} lk_listing;

/* Everything but "." and "..". Owner: the caller, with lk_listing_free, also after an error. Errors: LK_ERR_IO. */
LK_MUST_CHECK lk_status lk_listing_read(lk_listing *out, const char *folder, lk_error *err);
void lk_listing_free(lk_listing *listing); /* frees the content, not the struct */

/* Does the name end as that of an image, one that cannot be decoded (.gif, .bmp, .tiff, .heic) included? */
bool lk_name_is_image(const char *name);

#endif
