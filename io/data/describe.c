#include "io/data/describe.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/hdf5_file.h"
#include "io/data/index_hash.h"
#include "io/data/utf8.h"

typedef struct summary {
    int64_t *counts; /* (class_count + 1) x LK_SPLIT_COUNT; the last row: no label */
    int64_t encodings[LK_ENCODING_COUNT], channels[2];
    int64_t bytes, grouped;
    int32_t width_min, width_max, height_min, height_max;
    double width_mean, height_mean;
} summary;

bool lk_dataset_is(const char *path) {
    lk_error ignored = {0};
    hid_t file;
    int fd;
    int64_t bytes;
    char *format = NULL;
    if (lk_hdf5_open(&file, &fd, &bytes, path, &ignored) != LK_OK) return false;
    bool is =
        lk_hdf5_get_text(&format, file, "format", 64, path, &ignored) == LK_OK && strcmp(format, LK_FORMAT_NAME) == 0;
    lk_free(format);
    H5Fclose(file);
    close(fd);
    return is;
}

static lk_status summarise(summary *out, const lk_dataset *dataset, lk_error *err) {
    *out = (summary){.width_min = INT32_MAX, .height_min = INT32_MAX};
    LK_RETURN_IF(LK_NEW(&out->counts, ((int64_t)dataset->class_count + 1) * LK_SPLIT_COUNT, "class counts", err));
    for (int64_t i = 0; i < dataset->count; i++) {
        const lk_sample_info *info = &dataset->samples[i];
        int64_t row = info->label < 0 ? dataset->class_count : info->label;
        out->counts[row * LK_SPLIT_COUNT + info->split]++;
        out->encodings[info->encoding]++;
        out->channels[info->channels == 3]++;
        out->bytes += info->length;
        out->grouped += info->group >= 0;
        if (info->width < out->width_min) out->width_min = info->width;
        if (info->width > out->width_max) out->width_max = info->width;
        if (info->height < out->height_min) out->height_min = info->height;
        if (info->height > out->height_max) out->height_max = info->height;
        out->width_mean += info->width;
        out->height_mean += info->height;
    }
    out->width_mean /= (double)dataset->count;
    out->height_mean /= (double)dataset->count;
    return LK_OK;
}

/* Columns on screen, taking every character that is not a continuation byte as one. */
static int text_columns(const char *text) {
    int columns = 0;
    for (; *text != '\0'; text++) columns += ((unsigned char)*text & 0xc0) != 0x80;
    return columns;
}

static void print_row(FILE *out, const char *name, int width, const int64_t *counts, const bool *shown) {
    int64_t total = 0;
    fprintf(out, "  %s%*s", name, width - text_columns(name), "");
    for (int split = 0; split < LK_SPLIT_COUNT; split++) {
        if (shown[split]) fprintf(out, " %10" PRId64, counts[split]);
        total += counts[split];
    }
    fprintf(out, " %10" PRId64 "\n", total);
}

static void print_table(const lk_dataset *dataset, const summary *s, FILE *out) {
    bool shown[LK_SPLIT_COUNT];
    int width = 9;
    for (int k = 0; k < dataset->class_count; k++) {
        int columns = text_columns(dataset->class_names[k]);
        if (columns > width) width = columns;
    }
    fprintf(out, "  %-*s", width, "class");
    for (int split = 0; split < LK_SPLIT_COUNT; split++) {
        shown[split] = dataset->split_count[split] > 0;
        if (shown[split]) fprintf(out, " %10s", lk_split_name((lk_split)split));
    }
    fprintf(out, " %10s\n", "all");
    for (int k = 0; k < dataset->class_count; k++)
        print_row(out, dataset->class_names[k], width, s->counts + (int64_t)k * LK_SPLIT_COUNT, shown);
    const int64_t *none = s->counts + (int64_t)dataset->class_count * LK_SPLIT_COUNT;
    int64_t unlabelled = 0;
    for (int split = 0; split < LK_SPLIT_COUNT; split++) unlabelled += none[split];
    if (unlabelled > 0) print_row(out, "(none)", width, none, shown);
    print_row(out, "all", width, dataset->split_count, shown);
}

static void print_text(const lk_dataset *dataset, const summary *s, FILE *out) {
    char hash[LK_INDEX_HASH_TEXT];
    lk_index_hash_print(dataset->hash, hash);
    fprintf(out,
            "data set   %s\nformat     %s version %d\nhash       %s\nsamples    %" PRId64 " in %d classes, %" PRId64
            " bytes\nencodings ",
            dataset->path, LK_FORMAT_NAME, LK_FORMAT_VERSION, hash, dataset->count, dataset->class_count, s->bytes);
    for (int e = 0; e < LK_ENCODING_COUNT; e++)
        if (s->encodings[e] > 0) fprintf(out, " %s %" PRId64, lk_encoding_name((lk_encoding)e), s->encodings[e]);
    fprintf(out, "\nchannels  ");
    for (int c = 0; c < 2; c++)
        if (s->channels[c] > 0) fprintf(out, " %s %" PRId64, c == 0 ? "grey" : "colour", s->channels[c]);
    fprintf(out, "\nwidth      %d to %d, mean %.1f\nheight     %d to %d, mean %.1f\n", s->width_min, s->width_max,
            s->width_mean, s->height_min, s->height_max, s->height_mean);
    fprintf(out, "stored as  %s\n", dataset->stored_rule[0] == '\0' ? "packed, bytes untouched" : dataset->stored_rule);
    if (dataset->group_count > 0)
        fprintf(out, "groups     %d, with %" PRId64 " samples\n", dataset->group_count, s->grouped);
    print_table(dataset, s, out);
}

static json_t *counts_json(const int64_t *counts) {
    json_t *object = json_object();
    for (int split = 0; split < LK_SPLIT_COUNT; split++)
        json_object_set_new(object, lk_split_name((lk_split)split), json_integer(counts[split]));
    return object;
}

static json_t *classes_json(const lk_dataset *dataset, const summary *s) {
    json_t *classes = json_array();
    for (int k = 0; k < dataset->class_count; k++)
        json_array_append_new(classes, json_pack("{s:s, s:o}", "name", dataset->class_names[k], "samples",
                                                 counts_json(s->counts + (int64_t)k * LK_SPLIT_COUNT)));
    return classes;
}

static json_t *size_json(int32_t least, int32_t most, double mean) {
    return json_pack("{s:i, s:i, s:f}", "min", (int)least, "max", (int)most, "mean", mean);
}

static json_t *describe_json(const lk_dataset *dataset, const summary *s) {
    char hash[LK_INDEX_HASH_TEXT];
    lk_index_hash_print(dataset->hash, hash);
    json_t *encodings = json_object();
    for (int e = 0; e < LK_ENCODING_COUNT; e++)
        json_object_set_new(encodings, lk_encoding_name((lk_encoding)e), json_integer(s->encodings[e]));
    json_t *rule = dataset->stored_rule[0] == '\0' ? json_null() : json_loads(dataset->stored_rule, 0, NULL);
    if (rule == NULL) rule = json_string(dataset->stored_rule);
    char *path = NULL;
    lk_error ignored = {0};
    if (lk_strdup(&path, dataset->path, &ignored) == LK_OK) lk_utf8_clean(path);
    json_t *root = json_pack(
        "{s:s, s:s*, s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:o}", "format", LK_FORMAT_NAME, "path", path,
        "version", LK_FORMAT_VERSION, "hash", hash, "samples", (json_int_t)dataset->count, "bytes",
        (json_int_t)s->bytes, "splits", counts_json(dataset->split_count), "classes", classes_json(dataset, s),
        "encodings", encodings, "width", size_json(s->width_min, s->width_max, s->width_mean), "height",
        size_json(s->height_min, s->height_max, s->height_mean), "groups", dataset->group_count, "stored_rule", rule);
    lk_free(path);
    return root;
}

lk_status lk_dataset_print(const lk_dataset *dataset, FILE *out, bool json, lk_error *err) {
    lk_status status = LK_OK;
    summary s = {0};
    json_t *root = NULL;
    LK_TRY(summarise(&s, dataset, err));
    if (json) {
        root = describe_json(dataset, &s);
        if (root == NULL) LK_TRY(lk_fail(err, LK_ERR_MEMORY, "cannot describe %s: out of memory", dataset->path));
        if (json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) == 0) fputc('\n', out);
    } else {
        print_text(dataset, &s, out);
    }
    if (fflush(out) != 0 || ferror(out)) status = lk_fail_errno(err, "write", "the description of a data set");
out:
    json_decref(root);
    lk_free(s.counts);
    return status;
}
