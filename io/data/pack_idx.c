#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/data/folder.h"
#include "io/data/idx.h"
#include "io/data/pack_items.h"

/* One pair of files. */
typedef struct part {
    char *images, *labels; /* names in the folder; NULL: there is none */
    int32_t count, height, width;
} part;

enum { PART_TRAIN, PART_TEST, PARTS };

/* Is this "PREFIX-images-idx3-ubyte", with "." for the last '-' of some copies, perhaps compressed? */
static bool has_shape(const char *name, const char *prefix, const char *kind) {
    char text[64];
    for (int variant = 0; variant < 4; variant++) {
        snprintf(text, sizeof text, "%s-%s%cidx%d-ubyte%s", prefix, kind, variant < 2 ? '-' : '.',
                 strcmp(kind, "images") == 0 ? 3 : 1, variant % 2 == 0 ? "" : ".gz");
        if (strcmp(name, text) == 0) return true;
    }
    return false;
}

static lk_status match(part parts[PARTS], const char *name, lk_error *err) {
    static const struct {
        const char *prefix;
        int part;
    } prefixes[] = {{"train", PART_TRAIN}, {"t10k", PART_TEST}, {"test", PART_TEST}};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        part *part = &parts[prefixes[i].part];
        char **slot = has_shape(name, prefixes[i].prefix, "images")   ? &part->images
                      : has_shape(name, prefixes[i].prefix, "labels") ? &part->labels
                                                                      : NULL;
        if (slot == NULL) continue;
        if (*slot != NULL)
            return lk_fail(err, LK_ERR_DATA, "both %s and %s are there: remove one of the two", *slot, name);
        return lk_strdup(slot, name, err);
    }
    return LK_OK;
}

static lk_status find_parts(part parts[PARTS], const char *folder, lk_error *err) {
    lk_status status = LK_OK;
    lk_listing listing = {0};
    LK_TRY(lk_listing_read(&listing, folder, err));
    for (int64_t i = 0; i < listing.count; i++) LK_TRY(match(parts, listing.entries[i].name, err));
    for (int p = 0; p < PARTS; p++)
        if ((parts[p].images == NULL) != (parts[p].labels == NULL))
            LK_TRY(lk_fail(err, LK_ERR_DATA, "%s has %s without its %s file: fetch both", folder,
                           parts[p].images != NULL ? parts[p].images : parts[p].labels,
                           parts[p].images != NULL ? "labels" : "images"));
    if (parts[PART_TRAIN].images == NULL && parts[PART_TEST].images == NULL)
        status = lk_fail(err, LK_ERR_DATA, "%s has no IDX files such as train-images-idx3-ubyte.gz", folder);
out:
    lk_listing_free(&listing);
    return status;
}

static lk_status open_idx(lk_idx **out, const char *folder, const char *name, int rank, lk_error *err) {
    char *path = NULL;
    LK_RETURN_IF(lk_format(&path, err, "%s/%s", folder, name));
    lk_status status = lk_idx_open(out, path, rank, err);
    lk_free(path);
    return status;
}

static lk_status check_label(const lk_pack_items *items, bool given, const char *name, int32_t i, uint8_t label,
                             lk_error *err) {
    if (!given || label < items->classes.count) return LK_OK;
    return lk_fail(err, LK_ERR_DATA, "%s: label %d of image %d is out of range for the %d classes given with --classes",
                   name, label, i, items->classes.count);
}

/* Without --classes the classes are the numbers up to the largest label. */
static lk_status extend_classes(lk_pack_items *items, uint8_t label, lk_error *err) {
    char name[16];
    int32_t ignored;
    while (items->classes.count <= label) {
        snprintf(name, sizeof name, "%d", items->classes.count);
        LK_RETURN_IF(lk_names_add(&items->classes, name, &ignored, err));
    }
    return LK_OK;
}

/* Labels are small and are read in full; images stream later. */
static lk_status read_labels(lk_pack_items *items, part *part, const char *folder, lk_split split, bool given,
                             lk_error *err) {
    lk_status status = LK_OK;
    lk_idx *labels = NULL, *images = NULL;
    uint8_t buffer[4096];
    char source[128];
    if (part->images == NULL) return LK_OK;
    LK_TRY(open_idx(&labels, folder, part->labels, 1, err));
    LK_TRY(open_idx(&images, folder, part->images, 3, err));
    const int32_t *dims = lk_idx_dims(images);
    *part = (struct part){part->images, part->labels, dims[0], dims[1], dims[2]};
    if (lk_idx_dims(labels)[0] != part->count)
        LK_TRY(lk_fail(err, LK_ERR_DATA, "%s has %d images, but %s has %d labels: fetch both again", part->images,
                       part->count, part->labels, lk_idx_dims(labels)[0]));
    for (int32_t i = 0; i < part->count; i++) {
        int32_t within = i % (int32_t)sizeof buffer, left = part->count - i;
        if (within == 0)
            LK_TRY(lk_idx_read(labels, buffer, left < (int32_t)sizeof buffer ? left : (int32_t)sizeof buffer, err));
        LK_TRY(check_label(items, given, part->labels, i, buffer[within], err));
        if (!given) LK_TRY(extend_classes(items, buffer[within], err));
        snprintf(source, sizeof source, "%s#%d", part->images, i);
        LK_TRY(lk_pack_items_add(items, source, buffer[within], -1, split, err));
    }
    LK_TRY(lk_idx_end(labels, err));
out:
    lk_idx_free(labels);
    lk_idx_free(images);
    return status;
}

/* Copies the images of one part, whose items begin at `first`. */
static lk_status write_part(lk_dataset_writer *writer, const lk_pack_items *items, int64_t first, const part *part,
                            const char *folder, const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    lk_idx *images = NULL;
    uint8_t *pixels = NULL;
    int64_t bytes = (int64_t)part->height * part->width;
    if (part->images == NULL) return LK_OK;
    if (bytes > LK_IMAGE_MAX_PIXELS)
        return lk_fail(err, LK_ERR_DATA, "%s has images of %d x %d pixels, too many", part->images, part->width,
                       part->height);
    LK_TRY(open_idx(&images, folder, part->images, 3, err));
    LK_TRY(LK_NEW(&pixels, bytes, "an image", err));
    for (int32_t i = 0; i < part->count; i++) {
        const lk_pack_item *item = &items->items[first + i];
        LK_TRY(lk_idx_read(images, pixels, bytes, err));
        lk_sample_info info = {.length = bytes,
                               .width = part->width,
                               .height = part->height,
                               .label = item->label,
                               .group = -1,
                               .encoding = LK_ENCODING_RAW,
                               .channels = 1,
                               .split = (uint8_t)item->split};
        lk_bytes_hash(pixels, bytes, info.hash);
        LK_TRY(lk_dataset_writer_append(writer, &info, item->source, pixels, err));
        if (options->progress != NULL) lk_progress_update(options->progress, first + i + 1);
        if (i % 256 == 0 && options->stop != NULL && options->stop(options->stop_user))
            LK_TRY(lk_fail(err, LK_STOPPED, "stopped: nothing is written; run it again to pack"));
    }
    LK_TRY(lk_idx_end(images, err));
out:
    lk_free(pixels);
    lk_idx_free(images);
    return status;
}

static lk_status write_parts(const lk_pack_items *items, const part parts[PARTS], const char *folder, const char *out,
                             const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    lk_dataset_writer *writer = NULL;
    const lk_writer_config config = {
        (const char *const *)items->classes.names, items->classes.count, NULL, 0, "", options->overwrite};
    LK_TRY(lk_dataset_writer_create(&writer, out, &config, err));
    if (options->progress != NULL)
        lk_progress_start(options->progress, options->progress->out, "pack", "images", items->count);
    int64_t first = 0;
    for (int p = 0; p < PARTS && status == LK_OK; first += parts[p++].count)
        status = write_part(writer, items, first, &parts[p], folder, options, err);
    if (options->progress != NULL && status == LK_OK) lk_progress_finish(options->progress);
    if (options->progress != NULL && status != LK_OK) lk_progress_clear(options->progress);
    if (status != LK_OK) goto out;
    LK_TRY(lk_dataset_writer_finish(writer, err));
out:
    lk_dataset_writer_free(writer);
    return status;
}

lk_status lk_pack_idx(const char *source, const char *out, const lk_pack_options *options, lk_pack_report *report,
                      lk_error *err) {
    lk_status status = LK_OK;
    lk_pack_items items = {0};
    part parts[PARTS] = {{0}};
    bool given = options->classes != NULL;
    if (options->short_side > 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "--short-side does not go with IDX files, whose images are stored as they are");
    for (int32_t k = 0, ignored; given && k < options->classes->count; k++)
        LK_TRY(lk_names_add(&items.classes, options->classes->names[k], &ignored, err));
    LK_TRY(find_parts(parts, source, err));
    LK_TRY(read_labels(&items, &parts[PART_TRAIN], source, LK_SPLIT_TRAIN, given, err));
    LK_TRY(read_labels(&items, &parts[PART_TEST], source, LK_SPLIT_TEST, given, err));
    LK_TRY(lk_pack_items_check(&items, source, err));
    LK_TRY(lk_pack_items_split(&items, options, err));
    LK_TRY(write_parts(&items, parts, source, out, options, err));
    for (int64_t p = 0; p < PARTS; p++)
        report->source_bytes += (int64_t)parts[p].count * parts[p].height * parts[p].width;
out:
    for (int p = 0; p < PARTS; p++) {
        lk_free(parts[p].images);
        lk_free(parts[p].labels);
    }
    lk_pack_items_free(&items);
    return status;
}

static lk_status detect_folder(lk_pack_source *out, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    lk_listing listing = {0};
    part found[PARTS] = {{0}};
    *out = LK_PACK_FOLDER;
    LK_TRY(lk_listing_read(&listing, path, err));
    for (int64_t i = 0; i < listing.count; i++) LK_TRY(match(found, listing.entries[i].name, err));
    for (int p = 0; p < PARTS; p++)
        if (found[p].images != NULL || found[p].labels != NULL) *out = LK_PACK_IDX;
out:
    for (int p = 0; p < PARTS; p++) {
        lk_free(found[p].images);
        lk_free(found[p].labels);
    }
    lk_listing_free(&listing);
    return status;
}

lk_status lk_pack_detect(lk_pack_source *out, const char *path, lk_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) return lk_fail_errno(err, "open", path);
    if (S_ISDIR(info.st_mode)) return detect_folder(out, path, err);
    const char *dot = strrchr(path, '.');
    *out = LK_PACK_CSV;
    if (dot != NULL && (strcasecmp(dot, ".csv") == 0 || strcasecmp(dot, ".txt") == 0)) return LK_OK;
    return lk_fail(err, LK_ERR_DATA, "%s is neither a folder nor a .csv file: give one of them", path);
}
