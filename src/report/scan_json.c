#include <jansson.h>
#include <math.h>

#include "core/memory.h"
#include "report/scan_tables.h"

/* File names may be any bytes, JSON's texts only UTF-8: what is not becomes '?'. */
static json_t *text_json(const char *text) {
    json_t *json = json_string(text);
    char *copy = NULL;
    lk_error ignored = {0};
    if (json != NULL || lk_strdup(&copy, text, &ignored) != LK_OK) return json;
    for (char *at = copy; *at != '\0'; at++)
        if ((unsigned char)*at >= 0x80) *at = '?';
    json = json_string(copy);
    lk_free(copy);
    return json;
}

static json_t *image_json(const lk_scan *s, int64_t image) {
    const lk_fingerprint *f = &s->prints[image];
    int32_t label = lk_scan_source_label(s->source, image);
    json_t *json = json_pack("{s:I, s:o, s:s}", "sample", (json_int_t)image, "source",
                             text_json(lk_scan_source_name(s->source, image)), "split",
                             lk_split_name(lk_scan_source_split(s->source, image)));
    if (label >= 0) json_object_set_new(json, "label", json_string(lk_scan_source_class(s->source, label)));
    if (f->readable) {
        json_object_set_new(json, "width", json_integer(f->width));
        json_object_set_new(json, "height", json_integer(f->height));
    }
    return json;
}

static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *groups_json(const lk_scan *s) {
    json_t *groups = json_array();
    for (size_t g = 0; g < s->group_count; g++) {
        const lk_scan_group *group = &s->groups[g];
        json_t *images = json_array();
        for (int m = 0; m < group->count; m++) {
            const lk_scan_member *member = &s->members[group->first + m];
            json_t *image = image_json(s, member->image);
            json_object_set_new(image, "match", json_string(lk_scan_match_name(member->match)));
            json_object_set_new(image, "correlation", real(member->similarity));
            json_array_append_new(images, image);
        }
        json_array_append_new(
            groups, json_pack("{s:s, s:b, s:b, s:o}", "match", lk_scan_match_name(group->match), "across_splits",
                              group->across_splits, "labels_differ", group->labels_differ, "images", images));
    }
    return groups;
}

static json_t *images_json(const lk_scan *s, const int32_t *list, size_t count) {
    json_t *images = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(images, image_json(s, list[i]));
    return images;
}

static json_t *outliers_json(const lk_scan *s, const lk_scan_outlier *list, size_t count) {
    json_t *images = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *image = image_json(s, list[i].image);
        json_object_set_new(image, "value", real(list[i].value));
        json_object_set_new(image, "deviations", real(list[i].deviations));
        json_array_append_new(images, image);
    }
    return images;
}

static json_t *classes_json(const lk_scan *s) {
    json_t *classes = json_array();
    for (int k = 0; k < s->source->class_count; k++) {
        json_t *item = json_pack("{s:s, s:[]}", "name", s->source->class_names[k], "absent_in");
        for (int split = 0; split < LK_SPLIT_COUNT; split++) {
            json_object_set_new(item, lk_split_name((lk_split)split), json_integer(s->classes[k].counts[split]));
            if (s->classes[k].absent[split])
                json_array_append_new(json_object_get(item, "absent_in"), json_string(lk_split_name((lk_split)split)));
        }
        json_array_append_new(classes, item);
    }
    return classes;
}

static json_t *labels_json(const lk_scan_report *report) {
    json_t *images = json_array();
    for (int64_t i = 0; i < report->labels->count; i++) {
        const lk_label_error *e = &report->labels->errors[i];
        json_t *image = image_json(report->scan, e->image);
        json_object_set_new(image, "suggested", json_string(lk_scan_source_class(report->scan->source, e->suggested)));
        json_object_set_new(image, "given_probability", real(e->given_probability));
        json_object_set_new(image, "probability", real(e->probability));
        json_object_set_new(image, "margin", real(e->margin));
        json_array_append_new(images, image);
    }
    return json_pack("{s:I, s:o}", "judged", (json_int_t)report->labels->judged, "images", images);
}

lk_status lk_scan_report_write_json(const lk_scan_report *report, FILE *out, lk_error *err) {
    const lk_scan *s = report->scan;
    json_t *unreadable = json_array();
    for (size_t i = 0; i < s->unreadable_count; i++) {
        json_t *image = image_json(s, s->unreadable[i].image);
        json_object_set_new(image, "reason", text_json(s->unreadable[i].reason));
        json_array_append_new(unreadable, image);
    }
    json_t *all =
        json_pack("{s:o, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:I, s:I}", "data",
                  text_json(s->source->path), "images", (json_int_t)s->source->count, "findings",
                  (json_int_t)lk_scan_report_findings(report), "seconds", s->seconds, "unreadable", unreadable,
                  "duplicates", groups_json(s), "blank", images_json(s, s->blank, s->blank_count), "grey",
                  images_json(s, s->grey, s->grey_count), "size", outliers_json(s, s->sizes, s->size_count), "aspect",
                  outliers_json(s, s->aspects, s->aspect_count), "classes", classes_json(s), "imbalance",
                  real(s->imbalance), "effective_classes", s->effective_classes, "pairs_compared",
                  (json_int_t)s->compared, "pairs_correlated", (json_int_t)s->correlated);
    if (all != NULL && report->labels != NULL) json_object_set_new(all, "labels", labels_json(report));
    int code = all == NULL ? -1 : json_dumpf(all, out, JSON_INDENT(1));
    json_decref(all);
    if (code != 0) return lk_fail(err, LK_ERR_MEMORY, "the findings cannot be written as JSON");
    fputc('\n', out);
    return LK_OK;
}
