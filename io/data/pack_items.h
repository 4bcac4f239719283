/* What the packers have in common: the list of samples before any is read. */
#ifndef LK_IO_DATA_PACK_ITEMS_H
#define LK_IO_DATA_PACK_ITEMS_H

#include "io/data/pack.h"

typedef struct lk_pack_item {
    char *source;  /* path below the root, '/' between parts */
    int32_t label; /* -1: none */
    int32_t group; /* -1: none */
    lk_split split;
} lk_pack_item;

typedef struct lk_pack_items {
    lk_pack_item *items;
    size_t capacity;
    int64_t count;
    lk_names classes, groups;
} lk_pack_items;

/* source is copied. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_pack_items_add(lk_pack_items *items, const char *source, int32_t label, int32_t group,
                                          lk_split split, lk_error *err);
void lk_pack_items_free(lk_pack_items *items); /* frees the content, not the struct */

/* Renumbers the classes after lk_names_sort. Errors: LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_pack_items_sort_classes(lk_pack_items *items, lk_error *err);

/* Are the classes fit to train on? Labelled samples need at least two classes, each with a training sample when any
 * split is train, and each with a sample anyhow. where: the source, for the message. Errors: LK_ERR_DATA naming the
 * class. */
LK_MUST_CHECK lk_status lk_pack_items_check(const lk_pack_items *items, const char *where, lk_error *err);

/* Divides samples among splits, stratified by class, whole groups at a time (P18), drawn from the seed alone: by
 * options->fractions all labelled samples, by options->validation those of train. Nothing when neither is given.
 * Errors: LK_ERR_CONFIG, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_pack_items_split(lk_pack_items *items, const lk_pack_options *options, lk_error *err);

/* The samples that lk_pack_folder and lk_pack_csv would pack, before any is read, divided or refused for its class.
 * *root: where their paths start; owner: the caller, with lk_free. Errors as theirs. */
LK_MUST_CHECK lk_status lk_pack_folder_list(lk_pack_items *items, const char *source, const lk_pack_options *options,
                                            lk_pack_report *report, lk_error *err);
LK_MUST_CHECK lk_status lk_pack_csv_list(lk_pack_items *items, char **root, const char *source,
                                         const lk_pack_options *options, lk_error *err);

/* Reads, checks, perhaps resizes all items on all cores and writes them in order. Errors as lk_pack_folder. */
LK_MUST_CHECK lk_status lk_pack_items_write(const lk_pack_items *items, const char *root, const char *out,
                                            const lk_pack_options *options, lk_pack_report *report, lk_error *err);

#endif
