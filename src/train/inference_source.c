#include "train/inference_source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/half.h"
#include "core/memory.h"

#define MODEL_GROUP "/model/"
#define GROUP_LENGTH (sizeof MODEL_GROUP - 1)

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

/* Checkpoints are told by their first bytes, since links and backups have any name. */
static lk_status find_format(lk_model_format *out, const char *path, lk_error *err) {
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return lk_fail_errno(err, "open", path);
    uint8_t magic[LK_TORCH_HEAD] = {0};
    errno = 0;
    size_t size = fread(magic, 1, sizeof magic, file);
    int code = ferror(file) ? errno : 0;
    fclose(file);
    errno = code;
    if (code != 0) return lk_fail_errno(err, "read", path);
    *out = LK_MODEL_CHECKPOINT;
    if (size >= 8 && memcmp(magic, "LKCKPT01", 8) == 0) return LK_OK;
    *out = LK_MODEL_TORCH;
    if (lk_torch_is_file(magic, size) || ends_with(path, ".pth") || ends_with(path, ".pt")) return LK_OK;
    *out = LK_MODEL_SAFETENSORS;
    if (ends_with(path, ".safetensors")) return LK_OK;
    *out = LK_MODEL_ONNX;
    if (ends_with(path, ".onnx")) return LK_OK;
    *out = LK_MODEL_CHECKPOINT; /* whose reader says what is wrong */
    if (ends_with(path, ".h5")) return LK_OK;
    return lk_fail(err, LK_ERR_DATA,
                   "%s is not a trained model: give a checkpoint, a .safetensors, a .pth or an .onnx file", path);
}

lk_status lk_model_source_open(lk_model_source *out, const char *path, lk_error *err) {
    *out = (lk_model_source){.path = path};
    LK_RETURN_IF(find_format(&out->format, path, err));
    switch (out->format) {
        case LK_MODEL_CHECKPOINT: return lk_checkpoint_open(&out->checkpoint, path, err);
        case LK_MODEL_SAFETENSORS: return lk_safetensors_open(&out->safetensors, path, err);
        case LK_MODEL_ONNX: return lk_onnx_open(&out->onnx, path, err);
        case LK_MODEL_TORCH: return lk_torch_file_open(&out->torch, path, err);
    }
    return lk_fail(err, LK_ERR_INTERNAL, "%s has an unknown format", path);
}

void lk_model_source_close(lk_model_source *source) {
    lk_checkpoint_free(source->checkpoint);
    lk_safetensors_free(source->safetensors);
    lk_onnx_free(source->onnx);
    lk_torch_file_free(source->torch);
    *source = (lk_model_source){0};
}

const char *lk_model_source_text(const lk_model_source *source, const char *name) {
    switch (source->format) {
        case LK_MODEL_CHECKPOINT: return lk_checkpoint_text(source->checkpoint, name);
        case LK_MODEL_SAFETENSORS: return lk_safetensors_metadata(source->safetensors, name);
        case LK_MODEL_ONNX: return lk_onnx_get_metadata(source->onnx, name);
        case LK_MODEL_TORCH: return NULL;
    }
    return NULL;
}

/* Checkpoints are sorted by name, so the tensors of the model are neighbours; index of the first. */
static int first_of_model(const lk_checkpoint *checkpoint) {
    int i = 0, count = lk_checkpoint_count(checkpoint);
    while (i < count && strncmp(lk_checkpoint_get(checkpoint, i)->name, MODEL_GROUP, GROUP_LENGTH) != 0) i++;
    return i;
}

int lk_model_source_count(const lk_model_source *source) {
    if (source->format == LK_MODEL_SAFETENSORS) return lk_safetensors_count(source->safetensors);
    if (source->format == LK_MODEL_ONNX) return lk_onnx_initializer_count(source->onnx);
    if (source->format == LK_MODEL_TORCH) return lk_torch_file_count(source->torch);
    int first = first_of_model(source->checkpoint), end = first;
    while (end < lk_checkpoint_count(source->checkpoint) &&
           strncmp(lk_checkpoint_get(source->checkpoint, end)->name, MODEL_GROUP, GROUP_LENGTH) == 0)
        end++;
    return end - first;
}

lk_named_tensor lk_model_source_get(const lk_model_source *source, int i) {
    if (source->format == LK_MODEL_SAFETENSORS) return *lk_safetensors_get(source->safetensors, i);
    if (source->format == LK_MODEL_ONNX) return lk_onnx_get_initializer(source->onnx, i);
    if (source->format == LK_MODEL_TORCH) return *lk_torch_file_get(source->torch, i);
    lk_named_tensor tensor = *lk_checkpoint_get(source->checkpoint, first_of_model(source->checkpoint) + i);
    tensor.name += GROUP_LENGTH;
    return tensor;
}

/* The tensor called `name`, and its place in the list where the format has one. */
static bool find(const lk_model_source *source, const char *name, lk_named_tensor *out, int *place) {
    if (source->format == LK_MODEL_CHECKPOINT) {
        char full[512];
        snprintf(full, sizeof full, MODEL_GROUP "%s", name);
        const lk_named_tensor *found = lk_checkpoint_find(source->checkpoint, full);
        if (found != NULL) *out = *found;
        return found != NULL;
    }
    int count = lk_model_source_count(source);
    for (int i = 0; i < count; i++) {
        *out = lk_model_source_get(source, i);
        *place = i;
        if (strcmp(out->name, name) == 0) return true;
    }
    return false;
}

static lk_status copy_data(const lk_model_source *source, const lk_named_tensor *from, int place, void *into,
                           lk_error *err) {
    if (source->format == LK_MODEL_CHECKPOINT)
        return lk_checkpoint_read(source->checkpoint, from->name, from->tensor.dtype, &from->tensor.shape, into, err);
    if (source->format == LK_MODEL_TORCH) return lk_torch_file_read(source->torch, place, into, err);
    size_t bytes = (size_t)lk_shape_count(&from->tensor.shape) * lk_dtype_size(from->tensor.dtype);
    if (bytes > 0) memcpy(into, from->tensor.data, bytes);
    return LK_OK;
}

static float to_float(const void *values, lk_dtype dtype, int64_t i) {
    if (dtype == LK_F64) return (float)((const double *)values)[i];
    uint16_t bits = ((const uint16_t *)values)[i];
    return dtype == LK_F16 ? lk_half_widen(bits) : lk_bf16_widen(bits);
}

static lk_status copy_converted(const lk_model_source *source, const lk_named_tensor *from, int place, float *into,
                                lk_error *err) {
    int64_t count = lk_shape_count(&from->tensor.shape);
    void *values = NULL;
    LK_RETURN_IF(lk_alloc(&values, (size_t)count, lk_dtype_size(from->tensor.dtype), "a tensor", err));
    lk_status status = copy_data(source, from, place, values, err);
    for (int64_t i = 0; status == LK_OK && i < count; i++) into[i] = to_float(values, from->tensor.dtype, i);
    lk_free(values);
    return status;
}

static bool is_converted(lk_dtype from, lk_dtype to) {
    return to == LK_F32 && (from == LK_F64 || from == LK_F16 || from == LK_BF16);
}

static lk_status find_checked(const lk_model_source *source, const char *name, const lk_tensor *wanted,
                              lk_named_tensor *from, int *place, lk_error *err) {
    if (!find(source, name, from, place))
        return lk_fail(err, LK_ERR_DATA, "%s has no tensor '%s', which its architecture needs", source->path, name);
    lk_dtype dtype = from->tensor.dtype;
    if ((dtype == wanted->dtype || is_converted(dtype, wanted->dtype)) &&
        lk_shape_equal(&from->tensor.shape, &wanted->shape))
        return LK_OK;
    char has[96], needs[96];
    return lk_fail(err, LK_ERR_DATA, "%s: tensor '%s' is %s %s, its architecture needs %s %s", source->path, name,
                   lk_dtype_name(dtype), lk_shape_print(&from->tensor.shape, has, sizeof has),
                   lk_dtype_name(wanted->dtype), lk_shape_print(&wanted->shape, needs, sizeof needs));
}

lk_status lk_model_source_check(const lk_model_source *source, const char *name, const lk_tensor *wanted,
                                lk_error *err) {
    lk_named_tensor from;
    int place = -1;
    return find_checked(source, name, wanted, &from, &place, err);
}

lk_status lk_model_source_read(const lk_model_source *source, const char *name, lk_tensor *into, lk_error *err) {
    lk_named_tensor from = {0};
    int place = -1;
    LK_RETURN_IF(find_checked(source, name, into, &from, &place, err));
    if (is_converted(from.tensor.dtype, into->dtype)) return copy_converted(source, &from, place, into->data, err);
    return copy_data(source, &from, place, into->data, err);
}
