#include "io/data/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/memory.h"

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const lk_entry *)a)->name, ((const lk_entry *)b)->name);
}

static lk_status add_entry(lk_listing *out, DIR *folder, const char *name, lk_error *err) {
    struct stat info;
    LK_RETURN_IF(lk_grow((void **)&out->entries, &out->capacity, (size_t)out->count + 1, sizeof *out->entries,
                         "a folder's entries", err));
    lk_entry *entry = &out->entries[out->count];
    LK_RETURN_IF(lk_strdup(&entry->name, name, err));
    entry->is_hidden = name[0] == '.';
    /* A link that leads nowhere counts as a file, so that opening it gives the reason. */
    entry->is_folder = fstatat(dirfd(folder), name, &info, 0) == 0 && S_ISDIR(info.st_mode);
    out->count++;
    return LK_OK;
}

lk_status lk_listing_read(lk_listing *out, const char *folder, lk_error *err) {
    lk_status status = LK_OK;
    *out = (lk_listing){0};
    DIR *stream = opendir(folder);
    if (stream == NULL) return lk_fail_errno(err, "list", folder);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL && errno != 0) LK_TRY(lk_fail_errno(err, "list", folder));
        if (entry == NULL) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        LK_TRY(add_entry(out, stream, entry->d_name, err));
    }
    if (out->count > 0) qsort(out->entries, (size_t)out->count, sizeof *out->entries, compare_entries);
out:
    closedir(stream);
    return status;
}

void lk_listing_free(lk_listing *listing) {
    for (int64_t i = 0; i < listing->count; i++) lk_free(listing->entries[i].name);
    lk_free(listing->entries);
    *listing = (lk_listing){0};
}

bool lk_name_is_image(const char *name) {
    static const char *const endings[] = {"jpg", "jpeg", "jpe", "jfif", "png",  "webp", "gif", "bmp", "tif", "tiff",
                                          "ppm", "pgm",  "pbm", "heic", "heif", "avif", "jp2", "jxl", "tga"};
    const char *dot = strrchr(name, '.');
    if (dot == NULL || dot == name) return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot + 1, endings[i]) == 0) return true;
    return false;
}
