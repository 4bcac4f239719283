#include "train/meta.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/options.h"
#include "io/model/checkpoint.h"
#include "nn/model.h"
#include "train/meta_decision.h"

#define META_FORMAT "lockstep-meta"
#define META_VERSION 1
#define MAX_CLASSES 100000
#define MAX_SIDE 16384
#define MAX_SAMPLES (INT64_C(1) << 50)

static json_t *describe_floats(const float *values, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static json_t *describe_preprocess(const lk_preprocess *p) {
    json_t *json = json_pack("{s:s, s:i, s:i, s:s, s:s}", "colour", p->channels == 3 ? "RGB" : "grey", "height",
                             (int)p->height, "width", (int)p->width, "decode", p->scaled_decode ? "scaled" : "exact",
                             "resize", lk_resize_rule_name(p->resize));
    if (p->resize == LK_RESIZE_SHORT_SIDE) json_object_set_new(json, "resize_size", json_integer(p->resize_size));
    json_object_set_new(json, "interpolation", json_string(lk_interpolation_name(p->interpolation)));
    json_object_set_new(json, "crop", json_string(lk_crop_rule_name(LK_CROP_CENTER)));
    json_object_set_new(json, "mean", describe_floats(p->mean, p->channels));
    json_object_set_new(json, "std", describe_floats(p->std, p->channels));
    return json;
}

static json_t *describe_counts(const lk_meta *meta) {
    json_t *list = json_array();
    for (int i = 0; i < meta->class_count; i++)
        json_array_append_new(list, json_integer((json_int_t)meta->training_counts[i]));
    return list;
}

lk_status lk_meta_write(char **out, const lk_meta *meta, lk_error *err) {
    *out = NULL;
    char hash[33];
    snprintf(hash, sizeof hash, "%016llx%016llx", (unsigned long long)meta->dataset_hash[0],
             (unsigned long long)meta->dataset_hash[1]);
    json_t *names = json_array();
    bool complete = true;
    for (int i = 0; i < meta->class_count; i++)
        complete = complete && json_array_append_new(names, json_string(meta->class_names[i])) == 0;
    json_t *json = json_pack("{s:s, s:i, s:s, s:s, s:o, s:o, s:s, s:s}", "format", META_FORMAT, "version", META_VERSION,
                             "program", meta->program, "architecture", meta->architecture, "class_names", names,
                             "preprocess", describe_preprocess(&meta->preprocess), "stored_rule",
                             meta->stored_rule == NULL ? "" : meta->stored_rule, "dataset_hash", hash);
    if (json != NULL && meta->training_counts != NULL)
        complete = complete && json_object_set_new(json, "training_counts", describe_counts(meta)) == 0;
    if (json != NULL && meta->ema_decay > 0)
        complete = complete && json_object_set_new(json, "ema_decay", json_real(meta->ema_decay)) == 0;
    if (json != NULL && meta->decision != NULL)
        complete = complete && json_object_set_new(json, "decision", lk_meta_describe_decision(meta->decision)) == 0;
    /* Nine digits carry a float32 exactly. */
    char *text = complete && json != NULL ? json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    if (text == NULL)
        return lk_fail(err, LK_ERR_MEMORY, "cannot describe the model as JSON: a name is not UTF-8 or memory is short");
    lk_status status = lk_format(out, err, "%s\n", text);
    free(text);
    return status;
}

/* Where parsing stands, for messages. */
typedef struct reader {
    const json_t *json;
    const char *where;
    lk_error *err;
} reader;

LK_MUST_CHECK static lk_status fail_field(const reader *r, const char *field, const char *reason) {
    return lk_fail(r->err, LK_ERR_DATA, "%s: the description of the model is not valid: '%s' %s", r->where, field,
                   reason);
}

static lk_status read_text(const reader *r, const char *field, char **out) {
    const char *text = json_string_value(json_object_get(r->json, field));
    if (text == NULL) return fail_field(r, field, "is missing or not a text");
    return lk_strdup(out, text, r->err);
}

static lk_status read_int(const reader *r, const char *field, int64_t min, int64_t max, int32_t *out) {
    const json_t *value = json_object_get(r->json, field);
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
        return fail_field(r, field, "is missing or out of range");
    *out = (int32_t)json_integer_value(value);
    return LK_OK;
}

/* Index of the text among `count` names. */
static lk_status read_choice(const reader *r, const char *field, const char *(*name)(int), int count, int *out) {
    const char *text = json_string_value(json_object_get(r->json, field));
    for (int i = 0; text != NULL && i < count; i++) {
        if (strcmp(text, name(i)) != 0) continue;
        *out = i;
        return LK_OK;
    }
    return fail_field(r, field, "is missing or none that this program knows");
}

static lk_status read_floats(const reader *r, const char *field, bool positive, int count, float *out) {
    const json_t *list = json_object_get(r->json, field);
    if (!json_is_array(list) || json_array_size(list) != (size_t)count)
        return fail_field(r, field, "is not a list of one number per channel");
    for (int i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        out[i] = (float)json_number_value(value);
        if (!json_is_number(value) || !isfinite(out[i]) || (positive && !(out[i] > 0)))
            return fail_field(r, field, "holds something other than a valid number");
    }
    return LK_OK;
}

static const char *resize_name(int i) { return lk_resize_rule_name((lk_resize_rule)i); }
static const char *interpolation_name(int i) { return lk_interpolation_name((lk_interpolation)i); }
static const char *colour_name(int i) { return i == 0 ? "grey" : "RGB"; }
static const char *decode_name(int i) { return i == 0 ? "exact" : "scaled"; }
static const char *crop_name(int i) { return lk_crop_rule_name((lk_crop_rule)i); }

static lk_status read_preprocess(const reader *outer, lk_preprocess *p) {
    reader r = *outer;
    r.json = json_object_get(outer->json, "preprocess");
    int colour = 0, decode = 0, resize = 0, interpolation = 0, crop = 0;
    LK_RETURN_IF(read_choice(&r, "colour", colour_name, 2, &colour));
    LK_RETURN_IF(read_int(&r, "height", 1, MAX_SIDE, &p->height));
    LK_RETURN_IF(read_int(&r, "width", 1, MAX_SIDE, &p->width));
    LK_RETURN_IF(read_choice(&r, "decode", decode_name, 2, &decode));
    LK_RETURN_IF(read_choice(&r, "resize", resize_name, LK_RESIZE_RULE_COUNT, &resize));
    if (resize == LK_RESIZE_SHORT_SIDE) LK_RETURN_IF(read_int(&r, "resize_size", 1, MAX_SIDE, &p->resize_size));
    LK_RETURN_IF(read_choice(&r, "interpolation", interpolation_name, LK_INTERPOLATION_COUNT, &interpolation));
    LK_RETURN_IF(read_choice(&r, "crop", crop_name, 1, &crop)); /* the first rule is the only one of evaluation */
    p->channels = colour == 0 ? 1 : 3;
    p->scaled_decode = decode != 0;
    p->resize = (lk_resize_rule)resize;
    p->interpolation = (lk_interpolation)interpolation;
    LK_RETURN_IF(read_floats(&r, "mean", false, p->channels, p->mean));
    return read_floats(&r, "std", true, p->channels, p->std);
}

static int compare_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lk_status check_unique(const reader *r, const lk_meta *meta) {
    const char **sorted = NULL;
    size_t count = (size_t)meta->class_count;
    LK_RETURN_IF(lk_alloc((void **)&sorted, count, sizeof *sorted, "class names", r->err));
    memcpy(sorted, meta->class_names, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_text);
    lk_status status = LK_OK;
    for (size_t i = 1; i < count && status == LK_OK; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0) status = fail_field(r, "class_names", "holds a name twice");
    lk_free(sorted);
    return status;
}

static lk_status read_classes(const reader *r, lk_meta *meta) {
    const json_t *names = json_object_get(r->json, "class_names");
    if (!json_is_array(names) || json_array_size(names) < 2 || json_array_size(names) > MAX_CLASSES)
        return fail_field(r, "class_names", "is not a list of 2 to 100000 names");
    LK_RETURN_IF(lk_alloc((void **)&meta->class_names, json_array_size(names), sizeof(char *), "class names", r->err));
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL || name[0] == '\0') return fail_field(r, "class_names", "holds something other than a name");
        LK_RETURN_IF(lk_strdup(&meta->class_names[i], name, r->err));
        meta->class_count++;
    }
    return check_unique(r, meta);
}

/* Optional. */
static lk_status read_counts(const reader *r, lk_meta *meta) {
    const json_t *list = json_object_get(r->json, "training_counts");
    if (list == NULL) return LK_OK;
    if (!json_is_array(list) || json_array_size(list) != (size_t)meta->class_count)
        return fail_field(r, "training_counts", "is not a list of one number per class");
    LK_RETURN_IF(LK_NEW(&meta->training_counts, meta->class_count, "class counts", r->err));
    for (int i = 0; i < meta->class_count; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > MAX_SAMPLES)
            return fail_field(r, "training_counts", "holds something other than a number of samples");
        meta->training_counts[i] = json_integer_value(value);
    }
    return LK_OK;
}

/* Optional: a file that holds a moving average says of which decay. */
static lk_status read_average(const reader *r, lk_meta *meta) {
    const json_t *decay = json_object_get(r->json, "ema_decay");
    meta->ema_decay = json_number_value(decay);
    if (decay == NULL || (json_is_number(decay) && meta->ema_decay > 0 && meta->ema_decay < 1)) return LK_OK;
    return fail_field(r, "ema_decay", "is not a number between 0 and 1");
}

/* Optional. */
static lk_status read_decision(const reader *r, lk_meta *meta) {
    const json_t *json = json_object_get(r->json, "decision");
    const char *reason = NULL;
    if (json == NULL) return LK_OK;
    LK_RETURN_IF(lk_meta_read_decision(&meta->decision, &reason, json, meta->class_count, r->err));
    return reason == NULL ? LK_OK : fail_field(r, "decision", reason);
}

static lk_status read_architecture(const reader *r, lk_meta *meta) {
    LK_RETURN_IF(read_text(r, "architecture", &meta->architecture));
    if (lk_model_find(meta->architecture) != NULL) return LK_OK;
    return lk_fail(
        r->err, LK_ERR_DATA,
        "%s: its architecture '%.64s' is none that this program (%s) knows; use the program that wrote it (%.64s)",
        r->where, meta->architecture, LK_VERSION, meta->program);
}

static lk_status read_hash(const reader *r, lk_meta *meta) {
    const char *text = json_string_value(json_object_get(r->json, "dataset_hash"));
    if (text == NULL || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
        return fail_field(r, "dataset_hash", "is not a text of 32 hexadecimal digits");
    char half[17] = "";
    for (int i = 0; i < 2; i++) {
        memcpy(half, text + 16 * i, 16);
        meta->dataset_hash[i] = strtoull(half, NULL, 16);
    }
    return LK_OK;
}

static lk_status read_all(const reader *r, lk_meta *meta) {
    const char *format = json_string_value(json_object_get(r->json, "format"));
    if (format == NULL || strcmp(format, META_FORMAT) != 0) return fail_field(r, "format", "is not " META_FORMAT);
    const json_t *version = json_object_get(r->json, "version");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return fail_field(r, "version", "is not a positive whole number");
    if (json_integer_value(version) > META_VERSION)
        return lk_fail(
            r->err, LK_ERR_DATA,
            "%s: the description of the model has version %lld, this program (%s) reads up to %d; use a newer "
            "lockstep",
            r->where, (long long)json_integer_value(version), LK_VERSION, META_VERSION);
    LK_RETURN_IF(read_text(r, "program", &meta->program));
    LK_RETURN_IF(read_architecture(r, meta));
    LK_RETURN_IF(read_classes(r, meta));
    LK_RETURN_IF(read_preprocess(r, &meta->preprocess));
    LK_RETURN_IF(read_text(r, "stored_rule", &meta->stored_rule));
    LK_RETURN_IF(read_counts(r, meta));
    LK_RETURN_IF(read_average(r, meta));
    LK_RETURN_IF(read_decision(r, meta));
    return read_hash(r, meta);
}

lk_status lk_meta_parse(lk_meta *out, const char *text, const char *where, lk_error *err) {
    *out = (lk_meta){0};
    json_error_t reason;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &reason);
    if (json == NULL)
        return lk_fail(err, LK_ERR_DATA, "%s: the description of the model does not parse: %s", where, reason.text);
    reader r = {json, where, err};
    lk_status status = read_all(&r, out);
    json_decref(json);
    if (status != LK_OK) lk_meta_free(out);
    return status;
}

void lk_meta_free(lk_meta *meta) {
    lk_free(meta->architecture);
    for (int i = 0; i < meta->class_count; i++) lk_free(meta->class_names[i]);
    lk_free(meta->class_names);
    lk_free(meta->stored_rule);
    lk_free(meta->training_counts);
    lk_free(meta->program);
    lk_decision_free(meta->decision);
    lk_free(meta->decision);
    *meta = (lk_meta){0};
}

lk_status lk_meta_write_beside(const char *path, const lk_meta *meta, lk_error *err) {
    char *json = NULL, *beside = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_meta_write(&json, meta, err));
    LK_TRY(lk_format(&beside, err, "%s.json", path));
    LK_TRY(lk_text_write(beside, json, err));
out:
    lk_free(json);
    lk_free(beside);
    return status;
}
