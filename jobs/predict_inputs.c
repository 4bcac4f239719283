/* What predict is asked to look at: images, folders, CSV lists, data sets. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/data/csv.h"
#include "io/data/folder.h"
#include "jobs/predict.h"

enum { MAX_DEPTH = 64 };

static lk_status add_item(lk_predict_inputs *inputs, const lk_predict_item *item, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)&inputs->items, &inputs->capacity, (size_t)inputs->count + 1, sizeof *item,
                         "the list of images", err));
    inputs->items[inputs->count++] = *item;
    return LK_OK;
}

/* name and file are copied. */
static lk_status add_file(lk_predict_inputs *inputs, const char *name, const char *file, lk_error *err) {
    lk_status status = LK_OK;
    lk_predict_item item = {0};
    LK_TRY(lk_strdup(&item.owned_name, name, err));
    item.name = item.owned_name;
    LK_TRY(lk_strdup(&item.file, file, err));
    LK_TRY(add_item(inputs, &item, err));
    return LK_OK;
out:
    lk_free(item.owned_name);
    lk_free(item.file);
    return status;
}

static lk_status add_folder(lk_predict_inputs *inputs, const char *folder, int depth, lk_error *err) {
    lk_status status = LK_OK;
    lk_listing listing = {0};
    char *path = NULL;
    size_t length = strlen(folder);
    const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";
    if (depth == MAX_DEPTH)
        return lk_fail(err, LK_ERR_DATA, "%s is nested more than %d folders deep: do links form a loop?", folder,
                       MAX_DEPTH);
    LK_TRY(lk_listing_read(&listing, folder, err));
    for (int64_t i = 0; i < listing.count; i++) {
        const lk_entry *entry = &listing.entries[i];
        if (entry->is_hidden) continue;
        LK_TRY(lk_format(&path, err, "%s%s%s", folder, slash, entry->name));
        if (entry->is_folder) {
            LK_TRY(add_folder(inputs, path, depth + 1, err));
        } else if (lk_name_is_image(entry->name)) {
            LK_TRY(add_file(inputs, path, path, err));
        } else {
            inputs->ignored++;
        }
        lk_free(path);
        path = NULL;
    }
out:
    lk_free(path);
    lk_listing_free(&listing);
    return status;
}

/* Path of a CSV's row: absolute, or from the folder given, or from that of the CSV file. */
static lk_status row_path(char **out, const char *csv, const char *images, const char *field, lk_error *err) {
    if (field[0] == '/') return lk_strdup(out, field, err);
    if (images != NULL) return lk_format(out, err, "%s/%s", images, field);
    const char *slash = strrchr(csv, '/');
    if (slash == NULL) return lk_strdup(out, field, err);
    return lk_format(out, err, "%.*s/%s", (int)(slash - csv), csv, field);
}

static lk_status add_csv(lk_predict_inputs *inputs, const char *path, const lk_predict_rules *rules, lk_error *err) {
    lk_status status = LK_OK;
    lk_csv *csv = NULL;
    char *file = NULL;
    int column;
    bool more = false;
    LK_TRY(lk_csv_open(&csv, path, err));
    LK_TRY(lk_csv_find(csv, rules->path_column, &column, err));
    for (;;) {
        LK_TRY(lk_csv_next(csv, &more, err));
        if (!more) break;
        const char *field = lk_csv_field(csv, column);
        LK_TRY(row_path(&file, path, rules->images, field, err));
        LK_TRY(add_file(inputs, field, file, err));
        lk_free(file);
        file = NULL;
    }
out:
    lk_free(file);
    lk_csv_free(csv);
    return status;
}

static lk_status add_dataset(lk_predict_inputs *inputs, const char *path, const lk_predict_rules *rules,
                             lk_error *err) {
    lk_dataset *dataset = NULL;
    LK_RETURN_IF(lk_grow((void **)&inputs->datasets, &inputs->dataset_capacity, (size_t)inputs->dataset_count + 1,
                         sizeof *inputs->datasets, "the list of data sets", err));
    LK_RETURN_IF(lk_dataset_open(&dataset, path, err));
    inputs->datasets[inputs->dataset_count++] = dataset;
    for (int64_t i = 0; i < dataset->count; i++) {
        if (rules->split >= 0 && dataset->samples[i].split != rules->split) continue;
        lk_predict_item item = {.name = dataset->sources[i], .dataset = dataset, .sample = i};
        LK_RETURN_IF(add_item(inputs, &item, err));
    }
    return LK_OK;
}

static bool ends_in(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcasecmp(text + length - tail, ending) == 0;
}

lk_status lk_predict_inputs_add(lk_predict_inputs *inputs, const char *path, const lk_predict_rules *rules,
                                lk_error *err) {
    struct stat info;
    int64_t before = inputs->count;
    /* A missing image is left to the policy for bad images; a missing list of images is not. */
    bool exists = stat(path, &info) == 0;
    const char *what = "images";
    if (exists && S_ISDIR(info.st_mode)) {
        LK_RETURN_IF(add_folder(inputs, path, 0, err));
    } else if (ends_in(path, ".csv")) {
        what = "rows";
        LK_RETURN_IF(add_csv(inputs, path, rules, err));
    } else if (ends_in(path, ".h5") || ends_in(path, ".hdf5")) {
        what = rules->split < 0 ? "samples" : "samples of that split";
        LK_RETURN_IF(add_dataset(inputs, path, rules, err));
    } else {
        LK_RETURN_IF(add_file(inputs, path, path, err));
    }
    if (inputs->count > before) return LK_OK;
    return lk_fail(err, LK_ERR_DATA, "%s holds no %s: there is nothing to predict", path, what);
}

void lk_predict_inputs_free(lk_predict_inputs *inputs) {
    for (int64_t i = 0; i < inputs->count; i++) {
        lk_free(inputs->items[i].owned_name);
        lk_free(inputs->items[i].file);
    }
    for (int i = 0; i < inputs->dataset_count; i++) lk_dataset_free(inputs->datasets[i]);
    lk_free(inputs->items);
    lk_free(inputs->datasets);
}
