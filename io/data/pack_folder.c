#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/data/folder.h"
#include "io/data/pack_items.h"
#include "io/data/utf8.h"

enum { DEPTH_MAX = 32 }; /* folders in folders; also ends circles of links */

typedef struct scan {
    const char *root;
    lk_pack_items *items;
    lk_pack_report *report;
    int64_t others;        /* files that are no images */
    const char *one_other; /* owner: scan; an example */
} scan;

static lk_status join(char **out, const char *a, const char *b, lk_error *err) {
    return a[0] == '\0' ? lk_strdup(out, b, err) : lk_format(out, err, "%s/%s", a, b);
}

static lk_status list(lk_listing *out, const scan *scan, const char *below, lk_error *err) {
    char *path = NULL;
    *out = (lk_listing){0};
    LK_RETURN_IF(below[0] == '\0' ? lk_strdup(&path, scan->root, err) : join(&path, scan->root, below, err));
    lk_status status = lk_listing_read(out, path, err);
    lk_free(path);
    return status;
}

static lk_status ignore_hidden(scan *scan, const char *below, const lk_entry *entry, lk_error *err) {
    return lk_pack_report_note(scan->report, err, "ignored the hidden %s %s%s%s", entry->is_folder ? "folder" : "file",
                               below, below[0] == '\0' ? "" : "/", entry->name);
}

static lk_status take_file(scan *scan, const char *below, const lk_entry *entry, int32_t label, lk_split split,
                           lk_error *err) {
    char *source = NULL;
    LK_RETURN_IF(join(&source, below, entry->name, err));
    lk_status status = LK_OK;
    if (lk_name_is_image(entry->name)) {
        status = lk_pack_items_add(scan->items, source, label, -1, split, err);
    } else {
        scan->others++;
        if (scan->one_other == NULL) {
            scan->one_other = source;
            source = NULL;
        }
    }
    lk_free(source);
    return status;
}

/* All images in and below a folder: its files first, then its folders, each sorted. */
static lk_status take_folder(scan *scan, const char *below, int32_t label, lk_split split, int depth, lk_error *err) {
    lk_status status = LK_OK;
    lk_listing listing = {0};
    char *inner = NULL;
    if (depth > DEPTH_MAX)
        return lk_fail(err, LK_ERR_DATA, "%s/%s lies more than %d folders deep: is it a circle of links?", scan->root,
                       below, DEPTH_MAX);
    LK_TRY(list(&listing, scan, below, err));
    for (int folders = 0; folders < 2; folders++) {
        for (int64_t i = 0; i < listing.count; i++) {
            const lk_entry *entry = &listing.entries[i];
            if (entry->is_folder != (folders == 1)) continue;
            if (entry->is_hidden) {
                LK_TRY(ignore_hidden(scan, below, entry, err));
            } else if (!entry->is_folder) {
                LK_TRY(take_file(scan, below, entry, label, split, err));
            } else {
                LK_TRY(join(&inner, below, entry->name, err));
                LK_TRY(take_folder(scan, inner, label, split, depth + 1, err));
                lk_free(inner);
                inner = NULL;
            }
        }
    }
out:
    lk_free(inner);
    lk_listing_free(&listing);
    return status;
}

static bool has_visible_folder(const lk_listing *listing) {
    for (int64_t i = 0; i < listing->count; i++)
        if (listing->entries[i].is_folder && !listing->entries[i].is_hidden) return true;
    return false;
}

static lk_status take_class(scan *scan, const char *below, const char *name, lk_split split, bool may_add,
                            lk_error *err) {
    lk_names *classes = &scan->items->classes;
    int32_t label = lk_names_find(classes, name);
    if (label < 0 && !may_add)
        return lk_fail(err, LK_ERR_DATA,
                       "%s/%s is a class that the training folder does not have: rename the folder, or add it there",
                       scan->root, below);
    LK_RETURN_IF(lk_names_add(classes, name, &label, err));
    int64_t before = scan->items->count;
    LK_RETURN_IF(take_folder(scan, below, label, split, 1, err));
    if (scan->items->count == before)
        return lk_fail(err, LK_ERR_DATA,
                       "%s/%s has no image: an empty class cannot be learned; fill or remove the folder", scan->root,
                       below);
    return LK_OK;
}

/* A folder whose folders are classes. Images beside them belong to no class, which is a mistake, not an option. */
static lk_status take_classes(scan *scan, const char *below, const lk_listing *listing, lk_split split, bool may_add,
                              lk_error *err) {
    lk_status status = LK_OK;
    char *inner = NULL;
    for (int64_t i = 0; i < listing->count; i++) {
        const lk_entry *entry = &listing->entries[i];
        if (entry->is_hidden) {
            LK_TRY(ignore_hidden(scan, below, entry, err));
            continue;
        }
        LK_TRY(join(&inner, below, entry->name, err));
        if (entry->is_folder)
            LK_TRY(take_class(scan, inner, entry->name, split, may_add, err));
        else if (lk_name_is_image(entry->name))
            LK_TRY(
                lk_fail(err, LK_ERR_DATA, "%s/%s lies beside the class folders: move it into one", scan->root, inner));
        else
            LK_TRY(take_file(scan, below, entry, -1, split, err));
        lk_free(inner);
        inner = NULL;
    }
out:
    lk_free(inner);
    return status;
}

/* One split's folder: class folders, or images without labels. */
static lk_status take_split(scan *scan, const char *below, lk_split split, lk_error *err) {
    lk_status status = LK_OK;
    lk_listing listing = {0};
    int64_t before = scan->items->count;
    LK_TRY(list(&listing, scan, below, err));
    if (split != LK_SPLIT_PREDICT && has_visible_folder(&listing)) {
        LK_TRY(take_classes(scan, below, &listing, split, split == LK_SPLIT_TRAIN, err));
    } else {
        LK_TRY(take_folder(scan, below, -1, LK_SPLIT_PREDICT, 1, err));
        if (split != LK_SPLIT_PREDICT && scan->items->count > before)
            LK_TRY(lk_pack_report_note(scan->report, err,
                                       "the images of %s have no class folders: they became the split predict", below));
    }
    if (scan->items->count == before)
        status = lk_fail(err, LK_ERR_DATA, "%s/%s has no image: fill or remove the folder", scan->root, below);
out:
    lk_listing_free(&listing);
    return status;
}

/* train first, so that its folders fix the classes. Every visible folder must be a split. */
static lk_status take_splits(scan *scan, const lk_listing *listing, lk_error *err) {
    const char *folders[LK_SPLIT_COUNT] = {NULL};
    for (int64_t i = 0; i < listing->count; i++) {
        const lk_entry *entry = &listing->entries[i];
        lk_split split;
        lk_error ignored = {0};
        if (entry->is_hidden) {
            LK_RETURN_IF(ignore_hidden(scan, "", entry, err));
        } else if (!entry->is_folder) {
            if (lk_name_is_image(entry->name))
                return lk_fail(err, LK_ERR_DATA, "%s/%s lies beside the split folders: move it into one", scan->root,
                               entry->name);
            LK_RETURN_IF(take_file(scan, "", entry, -1, LK_SPLIT_PREDICT, err));
        } else if (lk_split_parse(&split, entry->name, &ignored) != LK_OK) {
            return lk_fail(err, LK_ERR_DATA,
                           "%s/%s is neither train, validation, test nor predict, but lies beside train: move it away",
                           scan->root, entry->name);
        } else if (folders[split] != NULL) {
            return lk_fail(err, LK_ERR_DATA, "%s has both %s and %s: keep one of them", scan->root, folders[split],
                           entry->name);
        } else {
            folders[split] = entry->name;
        }
    }
    for (int split = 0; split < LK_SPLIT_COUNT; split++)
        if (folders[split] != NULL) LK_RETURN_IF(take_split(scan, folders[split], (lk_split)split, err));
    return LK_OK;
}

static bool has_train_folder(const lk_listing *listing) {
    for (int64_t i = 0; i < listing->count; i++) {
        lk_split split;
        lk_error ignored = {0};
        const lk_entry *entry = &listing->entries[i];
        if (entry->is_folder && lk_split_parse(&split, entry->name, &ignored) == LK_OK && split == LK_SPLIT_TRAIN)
            return true;
    }
    return false;
}

static lk_status scan_root(scan *scan, const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    lk_listing listing = {0};
    LK_TRY(list(&listing, scan, "", err));
    if (has_train_folder(&listing)) {
        if (options->fraction_count > 0)
            LK_TRY(lk_fail(err, LK_ERR_CONFIG,
                           "%s has split folders already: leave out --split, or take a part of train with --val",
                           scan->root));
        LK_TRY(take_splits(scan, &listing, err));
    } else if (has_visible_folder(&listing)) {
        if (options->fraction_count == 0 && options->validation <= 0 && !options->undivided)
            LK_TRY(
                lk_fail(err, LK_ERR_CONFIG,
                        "%s has class folders but no train folder: say how to divide it, as with --split 0.8,0.1,0.1",
                        scan->root));
        LK_TRY(take_classes(scan, "", &listing, LK_SPLIT_TRAIN, true, err));
    } else {
        LK_TRY(take_folder(scan, "", -1, LK_SPLIT_PREDICT, 0, err));
        LK_TRY(lk_pack_report_note(scan->report, err, "%s has no class folders: its images became the split predict",
                                   scan->root));
    }
    if (scan->items->count == 0) LK_TRY(lk_fail(err, LK_ERR_DATA, "%s has no image", scan->root));
    if (scan->others > 0)
        LK_TRY(lk_pack_report_note(scan->report, err, "ignored %lld files that are no images, such as %s",
                                   (long long)scan->others, scan->one_other));
out:
    lk_listing_free(&listing);
    return status;
}

/* A class without a validation or test image is legal (P3), but seldom meant. */
static lk_status note_missing(const lk_pack_items *items, lk_pack_report *report, lk_error *err) {
    lk_status status = LK_OK;
    int classes = items->classes.count;
    int64_t *counts = NULL, totals[LK_SPLIT_COUNT] = {0};
    LK_TRY(LK_NEW(&counts, (int64_t)classes * LK_SPLIT_COUNT, "class counts", err));
    for (int64_t i = 0; i < items->count; i++) {
        if (items->items[i].label < 0) continue;
        counts[(int64_t)items->items[i].split * classes + items->items[i].label]++;
        totals[items->items[i].split]++;
    }
    for (int split = LK_SPLIT_VALIDATION; split <= LK_SPLIT_TEST; split++)
        for (int k = 0; k < classes && totals[split] > 0; k++)
            if (counts[(int64_t)split * classes + k] == 0)
                LK_TRY(lk_pack_report_note(report, err, "the class %s has no image in %s", items->classes.names[k],
                                           lk_split_name((lk_split)split)));
out:
    lk_free(counts);
    return status;
}

lk_status lk_pack_folder_list(lk_pack_items *items, const char *source, const lk_pack_options *options,
                              lk_pack_report *report, lk_error *err) {
    scan scan = {.root = source, .items = items, .report = report};
    if (options->classes != NULL)
        return lk_fail(err, LK_ERR_CONFIG, "--classes does not go with folders, whose names are the classes");
    lk_status status = scan_root(&scan, options, err);
    lk_free((void *)scan.one_other);
    return status;
}

lk_status lk_pack_folder(const char *source, const char *out, const lk_pack_options *options, lk_pack_report *report,
                         lk_error *err) {
    lk_status status = LK_OK;
    lk_pack_items items = {0};
    LK_TRY(lk_pack_folder_list(&items, source, options, report, err));
    LK_TRY(lk_pack_items_check(&items, source, err));
    LK_TRY(lk_pack_items_split(&items, options, err));
    LK_TRY(note_missing(&items, report, err));
    LK_TRY(lk_pack_items_write(&items, source, out, options, report, err));
out:
    lk_pack_items_free(&items);
    return status;
}
