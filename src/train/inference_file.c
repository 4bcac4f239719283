#include "train/inference_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "train/export.h"
#include "train/inference_source.h"

#define MAX_GOLDEN 4096

static lk_status build_graph(lk_model_file *file, const char *path, lk_error *err) {
    const lk_preprocess *p = &file->meta.preprocess;
    lk_model_spec spec = {.channels = p->channels, .h = p->height, .w = p->width, .classes = file->meta.class_count};
    memcpy(spec.mean, p->mean, sizeof spec.mean);
    memcpy(spec.std, p->std, sizeof spec.std);
    lk_error reason = {0};
    lk_status status = lk_model_build(&file->graph, file->meta.architecture, &spec, &reason);
    if (status == LK_OK || status == LK_ERR_MEMORY)
        return status == LK_OK ? LK_OK : lk_fail(err, status, "%s", reason.message);
    return lk_fail(err, LK_ERR_DATA, "%.300s: its architecture cannot be built: %.600s", path, reason.message);
}

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

/* ONNX graphs have no use for the counter of batches, so its files lack it. */
static bool is_stored(const lk_model_source *source, const char *name) {
    return source->format != LK_MODEL_ONNX || !ends_with(name, ".num_batches_tracked");
}

static int compare_names(const void *key, const void *item) { return strcmp(key, *(const char *const *)item); }

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names the first tensor of the file that the architecture does not have. */
static lk_status check_extra(const lk_model_file *file, const lk_model_source *source, lk_error *err) {
    const char **names = NULL;
    size_t count = (size_t)file->tensor_count;
    LK_RETURN_IF(lk_alloc((void **)&names, count, sizeof *names, "names of tensors", err));
    for (size_t i = 0; i < count; i++) names[i] = file->tensors[i].name;
    qsort(names, count, sizeof *names, compare_texts);
    lk_status status = LK_OK;
    for (int i = 0; i < lk_model_source_count(source) && status == LK_OK; i++) {
        lk_named_tensor found = lk_model_source_get(source, i);
        if (bsearch(found.name, names, count, sizeof *names, compare_names) == NULL)
            status = lk_fail(err, LK_ERR_DATA, "%s has a tensor '%.100s' that its architecture %s does not have",
                             source->path, found.name, file->meta.architecture);
    }
    lk_free(names);
    return status;
}

static lk_status read_tensors(lk_model_file *file, const lk_model_source *source, lk_error *err) {
    LK_RETURN_IF(lk_state_dict_list(&file->tensors, &file->tensor_count, file->graph, err));
    /* What the file holds bounds what is allocated. */
    for (int i = 0; i < file->tensor_count; i++) {
        lk_named_tensor *t = &file->tensors[i];
        bool stored = is_stored(source, t->name);
        if (stored) LK_RETURN_IF(lk_model_source_check(source, t->name, &t->tensor, err));
        LK_RETURN_IF(lk_alloc(&t->tensor.data, (size_t)lk_shape_count(&t->tensor.shape), lk_dtype_size(t->tensor.dtype),
                              "the tensors of a model", err));
        if (stored) LK_RETURN_IF(lk_model_source_read(source, t->name, &t->tensor, err));
    }
    return source->format == LK_MODEL_ONNX ? LK_OK : check_extra(file, source, err);
}

/* Allocates and reads; what the file holds bounds the allocation. */
static lk_status read_stored(void **out, lk_checkpoint *c, const char *name, lk_dtype dtype, const lk_shape *shape,
                             const char *path, lk_error *err) {
    const lk_named_tensor *found = lk_checkpoint_find(c, name);
    if (found == NULL || found->tensor.dtype != dtype || !lk_shape_equal(&found->tensor.shape, shape)) {
        char text[96];
        return lk_fail(err, LK_ERR_DATA, "%s: its golden samples need %s as %s %s", path, name, lk_dtype_name(dtype),
                       lk_shape_print(shape, text, sizeof text));
    }
    LK_RETURN_IF(lk_alloc(out, (size_t)lk_shape_count(shape), lk_dtype_size(dtype), "golden samples", err));
    return lk_checkpoint_read(c, name, dtype, shape, *out, err);
}

static lk_status read_golden_tensors(lk_model_file *file, lk_checkpoint *c, const char *path, lk_error *err) {
    const lk_named_tensor *images = lk_checkpoint_find(c, "/golden/images");
    if (images == NULL) return LK_OK;
    int64_t n = images->tensor.shape.rank > 0 ? images->tensor.shape.dims[0] : 0;
    if (n < 1 || n > MAX_GOLDEN)
        return lk_fail(err, LK_ERR_DATA, "%s: /golden/images must hold 1 to %d images", path, MAX_GOLDEN);
    const lk_graph *g = file->graph;
    lk_shape image = lk_shape_of(4, n, g->in_h, g->in_w, g->in_channels), logits = lk_shape_of(2, n, g->classes);
    lk_shape samples = lk_shape_of(1, n);
    LK_RETURN_IF(read_stored((void **)&file->golden_images, c, "/golden/images", LK_U8, &image, path, err));
    LK_RETURN_IF(read_stored((void **)&file->golden_logits, c, "/golden/logits", LK_F32, &logits, path, err));
    LK_RETURN_IF(read_stored((void **)&file->golden_samples, c, "/golden/samples", LK_I64, &samples, path, err));
    file->golden_count = n;
    return LK_OK;
}

static lk_status read_golden(lk_model_file *file, const lk_model_source *source, lk_error *err) {
    if (source->format == LK_MODEL_CHECKPOINT) return read_golden_tensors(file, source->checkpoint, source->path, err);
    const char *text = lk_model_source_text(source, "golden");
    return text == NULL ? LK_OK : lk_golden_parse(file, text, source->path, err);
}

/* The graph in an ONNX file must be what this program writes for the architecture, or running ours proves nothing. */
static lk_status check_onnx(lk_model_file *file, const lk_model_source *source, lk_error *err) {
    if (source->format != LK_MODEL_ONNX) return LK_OK;
    file->pixels_input = lk_onnx_has_input(source->onnx, "pixels");
    lk_onnx *expected = NULL;
    lk_status status =
        lk_export_onnx_graph(&expected, file->graph, file->tensors, file->tensor_count, file->pixels_input, err);
    if (status == LK_OK) status = lk_onnx_check_graph(source->onnx, expected, source->path, err);
    lk_onnx_free(expected);
    return status;
}

static lk_status read_text(char **out, const lk_model_source *source, const char *name, lk_error *err) {
    const char *text = source->format == LK_MODEL_CHECKPOINT ? lk_model_source_text(source, name) : NULL;
    return text == NULL ? LK_OK : lk_strdup(out, text, err);
}

lk_status lk_model_file_open(lk_model_file *out, const char *path, lk_error *err) {
    *out = (lk_model_file){0};
    lk_model_source source;
    lk_status status = LK_OK;
    LK_TRY(lk_model_source_open(&source, path, err));
    out->format = source.format;
    const char *meta = lk_model_source_text(&source, "meta");
    if (meta == NULL) {
        status =
            lk_fail(err, LK_ERR_DATA,
                    "%s does not say which model it holds: it has no 'meta'; only files of this program do. Make a "
                    "checkpoint of other weights with 'lockstep convert --model NAME'",
                    path);
        goto out;
    }
    LK_TRY(lk_meta_parse(&out->meta, meta, path, err));
    LK_TRY(lk_strdup(&out->meta_text, meta, err));
    LK_TRY(read_text(&out->job, &source, "job", err));
    LK_TRY(read_text(&out->arithmetic, &source, "arithmetic", err));
    LK_TRY(build_graph(out, path, err));
    LK_TRY(read_tensors(out, &source, err));
    LK_TRY(check_onnx(out, &source, err));
    LK_TRY(read_golden(out, &source, err));
out:
    lk_model_source_close(&source);
    if (status != LK_OK) lk_model_file_free(out);
    return status;
}

void lk_model_file_free(lk_model_file *file) {
    lk_meta_free(&file->meta);
    lk_free(file->meta_text);
    lk_free(file->job);
    lk_free(file->arithmetic);
    lk_graph_free(file->graph);
    lk_state_dict_free(file->tensors, file->tensor_count);
    lk_free(file->golden_images);
    lk_free(file->golden_logits);
    lk_free(file->golden_samples);
    *file = (lk_model_file){0};
}
