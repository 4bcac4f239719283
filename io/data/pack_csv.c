#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "io/data/csv.h"
#include "io/data/pack_items.h"

typedef struct columns {
    int path, label, group, split; /* -1: none */
} columns;

static lk_status find_columns(columns *out, const lk_csv *csv, const lk_pack_options *options, lk_error *err) {
    *out = (columns){-1, -1, -1, -1};
    LK_RETURN_IF(lk_csv_find(csv, options->path_column, &out->path, err));
    if (options->group_column != NULL) LK_RETURN_IF(lk_csv_find(csv, options->group_column, &out->group, err));
    if (options->split_column != NULL) LK_RETURN_IF(lk_csv_find(csv, options->split_column, &out->split, err));
    if (options->label_column[0] == '\0') return LK_OK;
    return lk_csv_find(csv, options->label_column, &out->label, err);
}

/* Puts path and line before what a lower function complained about. */
static lk_status at_line(const lk_csv *csv, const char *path, lk_status status, const lk_error *reason, lk_error *err) {
    return lk_fail(err, status, "%s line %lld: %s", path, (long long)lk_csv_line(csv), reason->message);
}

static lk_status take_label(lk_pack_items *items, const char *text, const lk_pack_options *options, int32_t *label,
                            lk_error *err) {
    *label = -1;
    if (text[0] == '\0') return LK_OK;
    *label = lk_names_find(&items->classes, text);
    if (*label >= 0) return LK_OK;
    if (options->classes != NULL)
        return lk_fail(err, LK_ERR_DATA, "the label \"%.80s\" is none of the %d classes given with --classes", text,
                       options->classes->count);
    return lk_names_add(&items->classes, text, label, err);
}

static lk_status take_split(const char *text, bool labelled, lk_split *split, lk_error *err) {
    *split = labelled ? LK_SPLIT_TRAIN : LK_SPLIT_PREDICT;
    if (text == NULL || (text[0] == '\0' && !labelled)) return LK_OK;
    if (text[0] == '\0') return lk_fail(err, LK_ERR_DATA, "a row with a label has no split: fill in the split column");
    LK_RETURN_IF(lk_split_parse(split, text, err));
    if (!labelled) *split = LK_SPLIT_PREDICT;
    return LK_OK;
}

static lk_status take_row(lk_pack_items *items, const lk_csv *csv, const columns *columns,
                          const lk_pack_options *options, lk_error *err) {
    int32_t label = -1, group = -1;
    lk_split split;
    const char *path = lk_csv_field(csv, columns->path);
    if (path[0] == '\0') return lk_fail(err, LK_ERR_DATA, "the path is empty");
    if (columns->label >= 0) LK_RETURN_IF(take_label(items, lk_csv_field(csv, columns->label), options, &label, err));
    const char *name = columns->group < 0 ? "" : lk_csv_field(csv, columns->group);
    if (name[0] != '\0') LK_RETURN_IF(lk_names_add(&items->groups, name, &group, err));
    LK_RETURN_IF(take_split(columns->split < 0 ? NULL : lk_csv_field(csv, columns->split), label >= 0, &split, err));
    return lk_pack_items_add(items, path, label, group, split, err);
}

static lk_status read_rows(lk_pack_items *items, const char *path, const lk_pack_options *options, lk_error *err) {
    lk_status status = LK_OK;
    lk_csv *csv = NULL;
    columns columns;
    bool more = false;
    LK_TRY(lk_csv_open(&csv, path, err));
    LK_TRY(find_columns(&columns, csv, options, err));
    LK_TRY(lk_csv_next(csv, &more, err));
    while (more) {
        lk_error reason = {0};
        status = take_row(items, csv, &columns, options, &reason);
        if (status != LK_OK) LK_TRY(at_line(csv, path, status, &reason, err));
        LK_TRY(lk_csv_next(csv, &more, err));
    }
    if (items->count == 0) status = lk_fail(err, LK_ERR_DATA, "%s names no image: it has a header only", path);
out:
    lk_csv_free(csv);
    return status;
}

static lk_status start_classes(lk_pack_items *items, const lk_pack_options *options, lk_error *err) {
    for (int32_t k = 0, ignored; options->classes != NULL && k < options->classes->count; k++)
        LK_RETURN_IF(lk_names_add(&items->classes, options->classes->names[k], &ignored, err));
    return LK_OK;
}

/* P18: a split column that tears a group apart is the user's decision, but a leak that should be seen. */
static lk_status note_torn_groups(const lk_pack_items *items, lk_pack_report *report, lk_error *err) {
    lk_status status = LK_OK;
    uint8_t *splits = NULL;
    int32_t torn = 0, example = 0;
    LK_TRY(LK_NEW(&splits, items->groups.count, "groups", err));
    for (int64_t i = 0; i < items->count; i++)
        if (items->items[i].group >= 0 && items->items[i].split != LK_SPLIT_PREDICT)
            splits[items->items[i].group] |= (uint8_t)(1u << items->items[i].split);
    for (int32_t g = 0; g < items->groups.count; g++) {
        if ((splits[g] & (splits[g] - 1)) == 0) continue;
        if (torn++ == 0) example = g;
    }
    if (torn > 0)
        status = lk_pack_report_note(report, err,
                                     "%d groups have images in more than one split, such as %s: scores on them will be "
                                     "too good",
                                     torn, items->groups.names[example]);
out:
    lk_free(splits);
    return status;
}

static bool has_labels(const lk_pack_items *items) {
    for (int64_t i = 0; i < items->count; i++)
        if (items->items[i].label >= 0) return true;
    return false;
}

static lk_status divide(lk_pack_items *items, const char *source, const lk_pack_options *options, lk_error *err) {
    bool given = options->split_column != NULL, asked = options->fraction_count > 0 || options->validation > 0;
    if (given && options->fraction_count > 0)
        return lk_fail(err, LK_ERR_CONFIG,
                       "%s has a split column already: leave out --split, or take a part of train with --val", source);
    if (!given && !asked && has_labels(items))
        return lk_fail(err, LK_ERR_CONFIG,
                       "%s: say how to divide the images, as with --split 0.8,0.1,0.1, or which column does with "
                       "--split-col",
                       source);
    return has_labels(items) ? lk_pack_items_split(items, options, err) : LK_OK;
}

lk_status lk_pack_csv_list(lk_pack_items *items, char **root, const char *source, const lk_pack_options *options,
                           lk_error *err) {
    LK_RETURN_IF(start_classes(items, options, err));
    LK_RETURN_IF(read_rows(items, source, options, err));
    if (options->classes == NULL) LK_RETURN_IF(lk_pack_items_sort_classes(items, err));
    if (options->images != NULL) return lk_strdup(root, options->images, err);
    const char *slash = strrchr(source, '/');
    int length = slash == NULL ? 0 : slash == source ? 1 : (int)(slash - source);
    return slash == NULL ? lk_strdup(root, ".", err) : lk_format(root, err, "%.*s", length, source);
}

lk_status lk_pack_csv(const char *source, const char *out, const lk_pack_options *options, lk_pack_report *report,
                      lk_error *err) {
    lk_status status = LK_OK;
    lk_pack_items items = {0};
    char *root = NULL;
    LK_TRY(lk_pack_csv_list(&items, &root, source, options, err));
    LK_TRY(lk_pack_items_check(&items, source, err));
    LK_TRY(divide(&items, source, options, err));
    LK_TRY(note_torn_groups(&items, report, err));
    LK_TRY(lk_pack_items_write(&items, root, out, options, report, err));
out:
    lk_free(root);
    lk_pack_items_free(&items);
    return status;
}
