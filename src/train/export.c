#include "train/export.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "io/model/safetensors.h"

lk_status lk_export_safetensors(const lk_model_file *file, const char *path, lk_error *err) {
    char *golden = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_golden_print(&golden, file, err));
    /* "format" is what the Python packages look for. */
    lk_named_text metadata[] = {{"format", "pt"}, {"meta", file->meta_text}, {"golden", golden}};
    LK_TRY(lk_safetensors_write(path, file->tensors, file->tensor_count, metadata, golden == NULL ? 2 : 3, err));
    LK_TRY(lk_meta_write_beside(path, &file->meta, err));
out:
    lk_free(golden);
    return status;
}

lk_status lk_export_onnx(const lk_model_file *file, bool pixels, const char *path, lk_error *err) {
    lk_onnx *onnx = NULL;
    char *golden = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_export_onnx_graph(&onnx, file->graph, file->tensors, file->tensor_count, pixels, err));
    LK_TRY(lk_golden_print(&golden, file, err));
    LK_TRY(lk_onnx_metadata(onnx, "meta", file->meta_text, err));
    if (golden != NULL) LK_TRY(lk_onnx_metadata(onnx, "golden", golden, err));
    LK_TRY(lk_onnx_write(onnx, path, err));
    LK_TRY(lk_meta_write_beside(path, &file->meta, err));
out:
    lk_onnx_free(onnx);
    lk_free(golden);
    return status;
}

/* Adds the golden samples behind the model's tensors. */
static int add_golden(lk_named_tensor *tensors, int count, const lk_model_file *file) {
    const lk_graph *g = file->graph;
    int64_t n = file->golden_count;
    if (n == 0) return count;
    tensors[count++] = (lk_named_tensor){
        "/golden/images", {LK_U8, lk_shape_of(4, n, g->in_h, g->in_w, g->in_channels), file->golden_images}};
    tensors[count++] =
        (lk_named_tensor){"/golden/logits", {LK_F32, lk_shape_of(2, n, g->classes), file->golden_logits}};
    tensors[count++] = (lk_named_tensor){"/golden/samples", {LK_I64, lk_shape_of(1, n), file->golden_samples}};
    return count;
}

lk_status lk_export_checkpoint(const lk_model_file *file, const char *path, lk_error *err) {
    lk_named_tensor *tensors = NULL;
    char **names = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&tensors, file->tensor_count + 3, "the tensors of a checkpoint", err));
    LK_TRY(lk_alloc((void **)&names, (size_t)file->tensor_count, sizeof *names, "the names of a checkpoint", err));
    for (int i = 0; i < file->tensor_count; i++) {
        LK_TRY(lk_format(&names[i], err, "/model/%s", file->tensors[i].name));
        tensors[i] = (lk_named_tensor){names[i], file->tensors[i].tensor};
    }
    lk_named_text texts[3] = {{"meta", file->meta_text}};
    int text_count = 1;
    if (file->job != NULL) texts[text_count++] = (lk_named_text){"job", file->job};
    if (file->arithmetic != NULL) texts[text_count++] = (lk_named_text){"arithmetic", file->arithmetic};
    LK_TRY(lk_checkpoint_write(path, tensors, add_golden(tensors, file->tensor_count, file), texts, text_count, err));
    LK_TRY(lk_meta_write_beside(path, &file->meta, err));
out:
    for (int i = 0; names != NULL && i < file->tensor_count; i++) lk_free(names[i]);
    lk_free(names);
    lk_free(tensors);
    return status;
}
