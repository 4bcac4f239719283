/* Trained models as text and as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "core/text.h"
#include "io/model/checkpoint.h"
#include "jobs/inspect.h"
#include "train/inference_file.h"

#define NAME_COLUMNS 48
#define MAX_CLASSES_SHOWN 50

/* What both kinds of file are printed from; all borrowed. */
typedef struct view {
    const char *path, *kind;
    int64_t bytes;
    const lk_meta *meta;
    const char *meta_text, *state, *job, *arithmetic, *choices; /* NULL: the file has none */
    int64_t golden;
    int count;
    const lk_named_tensor *const *tensors;
    int64_t parameters;
} view;

static int64_t tensor_bytes(const lk_tensor *t) { return lk_shape_count(&t->shape) * (int64_t)lk_dtype_size(t->dtype); }

/* Parameters are what a state_dict holds beside the statistics of BatchNorm. */
static bool is_parameter(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot != NULL && (strcmp(dot, ".weight") == 0 || strcmp(dot, ".bias") == 0);
}

static void print_classes(const lk_meta *meta) {
    printf("classes      %d:", meta->class_count);
    for (int i = 0; i < meta->class_count && i < MAX_CLASSES_SHOWN; i++) {
        char name[4 * NAME_COLUMNS + 1];
        int width = lk_text_width(meta->class_names[i]);
        printf("%s %s", i == 0 ? "" : ",",
               lk_text_fit(meta->class_names[i], width < NAME_COLUMNS ? width : NAME_COLUMNS - 1, name, sizeof name));
    }
    printf("%s\n", meta->class_count > MAX_CLASSES_SHOWN ? ", ..." : "");
}

static void print_numbers(const char *title, const float *values, int count) {
    printf("%s", title);
    for (int i = 0; i < count; i++) printf("%s%g", i == 0 ? " " : ", ", (double)values[i]);
}

static void print_meta(const view *v) {
    const lk_preprocess *p = &v->meta->preprocess;
    char program[4 * NAME_COLUMNS + 1];
    printf("model        %s: %d classes, %lld parameters\n", v->meta->architecture, v->meta->class_count,
           (long long)v->parameters);
    int width = lk_text_width(v->meta->program);
    if (v->meta->ema_decay > 0) printf("weights      moving average (EMA) of decay %g\n", v->meta->ema_decay);
    printf("written by   %s\n",
           lk_text_fit(v->meta->program, width < NAME_COLUMNS ? width : NAME_COLUMNS - 1, program, sizeof program));
    printf("input        %s %d x %d, decode %s, resize %s", p->channels == 3 ? "RGB" : "grey", p->height, p->width,
           p->scaled_decode ? "scaled" : "exact", lk_resize_rule_name(p->resize));
    if (p->resize == LK_RESIZE_SHORT_SIDE) printf(" %d", p->resize_size);
    printf(" (%s)", lk_interpolation_name(p->interpolation));
    print_numbers(", mean", p->mean, p->channels);
    print_numbers(", std", p->std, p->channels);
    printf("\ndata set     %016llx%016llx\n", (unsigned long long)v->meta->dataset_hash[0],
           (unsigned long long)v->meta->dataset_hash[1]);
    print_classes(v->meta);
    char decision[512];
    if (v->meta->decision != NULL)
        printf("decision     %s\n", lk_decision_print(v->meta->decision, decision, sizeof decision));
}

/* The state is a JSON object of the training loop: its plain values, one a line. */
static void print_state(const char *text) {
    json_t *state = json_loads(text, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(state, key, value) {
        char *dump = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
        if (dump != NULL) printf("state        %s %s\n", key, dump);
        free(dump);
    }
    json_decref(state);
}

static void print_text(const view *v) {
    printf("%s: %s, %.1f MB\n", v->path, v->kind, (double)v->bytes / 1e6);
    print_meta(v);
    if (v->state != NULL) print_state(v->state);
    if (v->arithmetic != NULL) {
        char line[4 * 100 + 1];
        int width = lk_text_width(v->arithmetic);
        printf("arithmetic   %s\n", lk_text_fit(v->arithmetic, width < 100 ? width : 99, line, sizeof line));
    }
    if (v->choices != NULL) {
        int choices = -1; /* the first line says what it is */
        for (const char *at = v->choices; *at != '\0'; at++) choices += *at == '\n';
        if (choices > 0) printf("engines      of %d passes (--json lists them)\n", choices);
    }
    printf("golden       %lld samples\n", (long long)v->golden);
    int64_t bytes = 0;
    for (int i = 0; i < v->count; i++) bytes += tensor_bytes(&v->tensors[i]->tensor);
    printf("tensors      %d, %.1f MB\n", v->count, (double)bytes / 1e6);
    for (int i = 0; i < v->count; i++) {
        char name[4 * NAME_COLUMNS + 1], shape[96];
        printf("  %s %-8s %12lld bytes  %s\n", lk_text_fit(v->tensors[i]->name, NAME_COLUMNS, name, sizeof name),
               lk_dtype_name(v->tensors[i]->tensor.dtype), (long long)tensor_bytes(&v->tensors[i]->tensor),
               lk_shape_print(&v->tensors[i]->tensor.shape, shape, sizeof shape));
    }
}

static json_t *describe_tensors(const view *v) {
    json_t *list = json_array();
    for (int i = 0; i < v->count; i++) {
        const lk_named_tensor *t = v->tensors[i];
        json_t *shape = json_array();
        for (int d = 0; d < t->tensor.shape.rank; d++)
            json_array_append_new(shape, json_integer(t->tensor.shape.dims[d]));
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "dtype", lk_dtype_name(t->tensor.dtype), "shape",
                            shape, "bytes", (json_int_t)tensor_bytes(&t->tensor)));
    }
    return list;
}

static lk_status print_json(const view *v, lk_error *err) {
    json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:I, s:o*, s:o*, s:s*, s:s*, s:s*, s:o}", "path", v->path, "kind",
                             v->kind, "bytes", (json_int_t)v->bytes, "parameters", (json_int_t)v->parameters, "golden",
                             (json_int_t)v->golden, "meta", json_loads(v->meta_text, 0, NULL), "state",
                             v->state == NULL ? NULL : json_loads(v->state, 0, NULL), "job", v->job, "arithmetic",
                             v->arithmetic, "choices", v->choices, "tensors", describe_tensors(v));
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (text == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot describe %s as JSON: out of memory", v->path);
    puts(text);
    free(text);
    return LK_OK;
}

static lk_status print_view(view *v, bool json, lk_error *err) {
    struct stat info;
    if (stat(v->path, &info) != 0) return lk_fail_errno(err, "examine", v->path);
    v->bytes = info.st_size;
    if (json) return print_json(v, err);
    print_text(v);
    return LK_OK;
}

lk_status lk_inspect_checkpoint(const char *path, bool json, lk_error *err) {
    lk_checkpoint *c = NULL;
    lk_meta meta = {0};
    const lk_named_tensor **tensors = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_checkpoint_open(&c, path, err));
    view v = {.path = path, .kind = "checkpoint", .count = lk_checkpoint_count(c), .meta = &meta};
    v.meta_text = lk_checkpoint_text(c, "meta");
    if (v.meta_text == NULL)
        LK_TRY(lk_fail(err, LK_ERR_DATA, "%s does not say which model it holds: it has no 'meta'", path));
    LK_TRY(lk_meta_parse(&meta, v.meta_text, path, err));
    LK_TRY(lk_alloc((void **)&tensors, (size_t)v.count, sizeof *tensors, "the tensors of a checkpoint", err));
    for (int i = 0; i < v.count; i++) {
        tensors[i] = lk_checkpoint_get(c, i);
        if (strncmp(tensors[i]->name, "/model/", 7) == 0 && is_parameter(tensors[i]->name))
            v.parameters += lk_shape_count(&tensors[i]->tensor.shape);
    }
    v.tensors = tensors;
    v.state = lk_checkpoint_text(c, "state");
    v.job = lk_checkpoint_text(c, "job");
    v.arithmetic = lk_checkpoint_text(c, "arithmetic");
    v.choices = lk_checkpoint_text(c, "choices");
    const lk_named_tensor *golden = lk_checkpoint_find(c, "/golden/images");
    v.golden = golden == NULL || golden->tensor.shape.rank == 0 ? 0 : golden->tensor.shape.dims[0];
    LK_TRY(print_view(&v, json, err));
out:
    lk_checkpoint_free(c);
    lk_meta_free(&meta);
    lk_free(tensors);
    return status;
}

lk_status lk_inspect_export(const char *path, bool json, lk_error *err) {
    lk_model_file file;
    const lk_named_tensor **tensors = NULL;
    LK_RETURN_IF(lk_model_file_open(&file, path, err));
    view v = {.path = path,
              .kind = file.format == LK_MODEL_ONNX ? "ONNX" : "safetensors",
              .meta = &file.meta,
              .meta_text = file.meta_text,
              .golden = file.golden_count};
    lk_status status = LK_OK;
    LK_TRY(lk_alloc((void **)&tensors, (size_t)file.tensor_count, sizeof *tensors, "the tensors of a model", err));
    for (int i = 0; i < file.tensor_count; i++) {
        const lk_named_tensor *t = &file.tensors[i];
        if (file.format == LK_MODEL_ONNX && t->tensor.dtype == LK_I64) continue; /* counters are not stored there */
        tensors[v.count++] = t;
        if (is_parameter(t->name)) v.parameters += lk_shape_count(&t->tensor.shape);
    }
    v.tensors = tensors;
    LK_TRY(print_view(&v, json, err));
out:
    lk_free(tensors);
    lk_model_file_free(&file);
    return status;
}
