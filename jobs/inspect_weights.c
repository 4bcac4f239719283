/* Weights without a description of their model: .pth, and .safetensors of other programs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "core/text.h"
#include "jobs/inspect.h"
#include "train/weights.h"
#include "train/weights_import.h"

#define NAME_COLUMNS 48

static json_t *describe(const lk_model_source *source) {
    json_t *list = json_array();
    for (int i = 0; i < lk_model_source_count(source); i++) {
        lk_named_tensor t = lk_model_source_get(source, i);
        json_t *shape = json_array();
        for (int d = 0; d < t.tensor.shape.rank; d++)
            json_array_append_new(shape, json_integer(t.tensor.shape.dims[d]));
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", t.name, "dtype", lk_dtype_name(t.tensor.dtype), "shape", shape));
    }
    return list;
}

static lk_status print_json(const lk_model_source *source, int64_t elements, lk_error *err) {
    json_t *json = json_pack("{s:s, s:s, s:I, s:o}", "path", source->path, "kind", "weights", "elements",
                             (json_int_t)elements, "tensors", describe(source));
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (text == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot describe %s as JSON: out of memory", source->path);
    puts(text);
    free(text);
    return LK_OK;
}

static void print_text(const lk_model_source *source, int64_t elements, int64_t bytes) {
    const char *key = source->torch == NULL ? "" : lk_torch_file_key(source->torch);
    printf("%s: weights of %s, %.1f MB\n", source->path, source->torch != NULL ? "PyTorch" : "safetensors",
           (double)bytes / 1e6);
    if (key[0] != '\0') printf("state dict   under '%s'\n", key);
    printf("tensors      %d, %lld elements\n", lk_model_source_count(source), (long long)elements);
    for (int i = 0; i < lk_model_source_count(source); i++) {
        lk_named_tensor t = lk_model_source_get(source, i);
        char name[4 * NAME_COLUMNS + 1], shape[96];
        printf("  %s %-8s  %s\n", lk_text_fit(t.name, NAME_COLUMNS, name, sizeof name), lk_dtype_name(t.tensor.dtype),
               lk_shape_print(&t.tensor.shape, shape, sizeof shape));
    }
}

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length > tail && strcmp(text + length - tail, ending) == 0;
}

lk_status lk_inspect_is_weights(bool *out, const char *path, lk_error *err) {
    uint8_t head[LK_TORCH_HEAD] = {0};
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    size_t size = fread(head, 1, sizeof head, file);
    fclose(file);
    *out = lk_torch_is_file(head, size) || ends_with(path, ".pth") || ends_with(path, ".pt");
    if (*out || !ends_with(path, ".safetensors")) return LK_OK;
    lk_safetensors *weights;
    LK_RETURN_IF(lk_safetensors_open(&weights, path, err));
    *out = lk_safetensors_metadata(weights, "meta") == NULL;
    lk_safetensors_free(weights);
    return LK_OK;
}

lk_status lk_inspect_weights(const char *path, bool json, lk_error *err) {
    lk_model_source source;
    struct stat info = {0};
    int64_t elements = 0;
    lk_status status = LK_OK;
    LK_TRY(lk_model_source_open(&source, path, err));
    if (stat(path, &info) != 0) LK_TRY(lk_fail_errno(err, "examine", path));
    for (int i = 0; i < lk_model_source_count(&source); i++) {
        lk_named_tensor t = lk_model_source_get(&source, i);
        elements += lk_shape_count(&t.tensor.shape);
    }
    if (json)
        LK_TRY(print_json(&source, elements, err));
    else
        print_text(&source, elements, info.st_size);
out:
    lk_model_source_close(&source);
    return status;
}

/* The classifier is that of the file, so that it counts as loaded. */
lk_status lk_inspect_match(const char *path, const char *architecture, lk_error *err) {
    lk_weights weights = {0};
    lk_graph *graph = NULL;
    char *summary = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_weights_graph(&graph, path, architecture, NULL, err));
    LK_TRY(lk_weights_open(&weights, path, architecture, graph, NULL, err));
    LK_TRY(lk_weights_summary(&summary, &weights, err));
    puts(summary);
    lk_weights_list(&weights, stdout);
out:
    if (graph != NULL) lk_weights_close(&weights);
    lk_graph_free(graph);
    lk_free(summary);
    return status;
}
