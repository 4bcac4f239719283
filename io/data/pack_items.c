#include "io/data/pack_items.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

lk_status lk_pack_items_add(lk_pack_items *items, const char *source, int32_t label, int32_t group, lk_split split,
                            lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&items->items, &items->capacity, (size_t)items->count + 1, sizeof *items->items,
                         "the list of images", err));
    lk_pack_item *item = &items->items[items->count];
    *item = (lk_pack_item){NULL, label, group, split};
    LK_RETURN_IF(lk_strdup(&item->source, source, err));
    items->count++;
    return LK_OK;
}

void lk_pack_items_free(lk_pack_items *items) {
    for (int64_t i = 0; i < items->count; i++) lk_free(items->items[i].source);
    lk_free(items->items);
    lk_names_free(&items->classes);
    lk_names_free(&items->groups);
    *items = (lk_pack_items){0};
}

lk_status lk_pack_items_sort_classes(lk_pack_items *items, lk_error *err) {
    int32_t *new_index = NULL;
    LK_RETURN_IF(LK_NEW(&new_index, items->classes.count, "class numbers", err));
    lk_status status = lk_names_sort(&items->classes, new_index, err);
    for (int64_t i = 0; i < items->count && status == LK_OK; i++)
        if (items->items[i].label >= 0) items->items[i].label = new_index[items->items[i].label];
    lk_free(new_index);
    return status;
}

lk_status lk_pack_items_check(const lk_pack_items *items, const char *where, lk_error *err) {
    lk_status status = LK_OK;
    int64_t *counts = NULL, *train = NULL;
    int classes = items->classes.count;
    bool any_train = false, any_label = false;
    LK_TRY(LK_NEW(&counts, classes, "class counts", err));
    LK_TRY(LK_NEW(&train, classes, "class counts", err));
    for (int64_t i = 0; i < items->count; i++) {
        const lk_pack_item *item = &items->items[i];
        if (item->label < 0) continue;
        any_label = true;
        any_train = any_train || item->split == LK_SPLIT_TRAIN;
        counts[item->label]++;
        if (item->split == LK_SPLIT_TRAIN) train[item->label]++;
    }
    if (!any_label && classes == 0) goto out;
    if (classes == 1)
        status = lk_fail(err, LK_ERR_DATA, "%s has one class only (\"%s\"): a classifier needs at least two", where,
                         items->classes.names[0]);
    for (int k = 0; k < classes && status == LK_OK; k++) {
        if (counts[k] == 0)
            status = lk_fail(err, LK_ERR_DATA, "%s: the class \"%s\" is empty: add images or remove it", where,
                             items->classes.names[k]);
        else if (any_train && train[k] == 0)
            status = lk_fail(err, LK_ERR_DATA, "%s: the class \"%s\" has no training image: move some to train", where,
                             items->classes.names[k]);
    }
out:
    lk_free(counts);
    lk_free(train);
    return status;
}

void lk_pack_report_free(lk_pack_report *report) {
    for (int64_t i = 0; i < report->note_count; i++) lk_free(report->notes[i]);
    for (int64_t i = 0; i < report->bad_count; i++) lk_free(report->bad[i]);
    lk_free(report->notes);
    lk_free(report->bad);
    *report = (lk_pack_report){0};
}

lk_status lk_pack_report_note(lk_pack_report *report, lk_error *err, const char *format, ...) {
    char text[LK_ERROR_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    LK_RETURN_IF(lk_grow((void **)&report->notes, &report->notes_capacity, (size_t)report->note_count + 1,
                         sizeof *report->notes, "notes", err));
    LK_RETURN_IF(lk_strdup(&report->notes[report->note_count], text, err));
    report->note_count++;
    return LK_OK;
}
