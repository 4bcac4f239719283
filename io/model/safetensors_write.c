#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "io/model/atomic.h"
#include "io/model/safetensors.h"

static const char *dtype_code(lk_dtype dtype) {
    switch (dtype) {
        case LK_F32: return "F32";
        case LK_F64: return "F64";
        case LK_BF16: return "BF16";
        case LK_F16: return "F16";
        case LK_I64: return "I64";
        case LK_I32: return "I32";
        case LK_U8: return "U8";
        case LK_TF32:
        case LK_DTYPE_COUNT: break;
    }
    return "";
}

static int64_t tensor_bytes(const lk_tensor *tensor) {
    return lk_shape_count(&tensor->shape) * (int64_t)lk_dtype_size(tensor->dtype);
}

/* Wide elements first, so that every tensor is aligned to its element. */
static int compare_width(const void *a, const void *b) {
    const lk_named_tensor *x = *(const lk_named_tensor *const *)a, *y = *(const lk_named_tensor *const *)b;
    size_t wide_x = lk_dtype_size(x->tensor.dtype), wide_y = lk_dtype_size(y->tensor.dtype);
    if (wide_x != wide_y) return wide_x > wide_y ? -1 : 1;
    return strcmp(x->name, y->name);
}

static json_t *describe_tensor(const lk_tensor *tensor, int64_t at) {
    json_t *shape = json_array();
    for (int d = 0; d < tensor->shape.rank; d++) json_array_append_new(shape, json_integer(tensor->shape.dims[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_code(tensor->dtype), "shape", shape, "data_offsets",
                     (json_int_t)at, (json_int_t)(at + tensor_bytes(tensor)));
}

/* The JSON header, padded with spaces to a multiple of 8. Owner of *out: the caller, with lk_free. */
static lk_status make_header(char **out, const lk_named_tensor **order, int count, const lk_named_text *metadata,
                             int metadata_count, const char *path, lk_error *err) {
    json_t *header = json_object(), *texts = json_object();
    bool complete = header != NULL && texts != NULL;
    for (int i = 0; i < metadata_count && complete; i++)
        complete = json_object_get(texts, metadata[i].name) == NULL &&
                   json_object_set_new(texts, metadata[i].name, json_string(metadata[i].text)) == 0;
    if (metadata_count > 0) complete = complete && json_object_set(header, "__metadata__", texts) == 0;
    int64_t at = 0;
    for (int i = 0; i < count && complete; i++) {
        complete = json_object_get(header, order[i]->name) == NULL &&
                   json_object_set_new(header, order[i]->name, describe_tensor(&order[i]->tensor, at)) == 0;
        at += tensor_bytes(&order[i]->tensor);
    }
    char *text = complete ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    json_decref(texts);
    lk_status status;
    if (text == NULL)
        status = lk_fail(err, LK_ERR_INTERNAL, "cannot describe the content of %s: a name occurs twice or is not UTF-8",
                         path);
    else
        status = lk_format(out, err, "%s%.*s", text, (int)((8 - strlen(text) % 8) % 8), "       ");
    free(text);
    return status;
}

lk_status lk_safetensors_write(const char *path, const lk_named_tensor *tensors, int tensor_count,
                               const lk_named_text *metadata, int metadata_count, lk_error *err) {
    const lk_named_tensor **order = NULL;
    char *header = NULL;
    lk_atomic_file file = {.fd = -1};
    lk_status status = LK_OK;
    LK_TRY(lk_alloc((void **)&order, (size_t)tensor_count, sizeof *order, "the order of tensors", err));
    for (int i = 0; i < tensor_count; i++) order[i] = &tensors[i];
    qsort(order, (size_t)tensor_count, sizeof *order, compare_width);
    LK_TRY(make_header(&header, order, tensor_count, metadata, metadata_count, path, err));
    LK_TRY(lk_atomic_create(&file, path, err));
    uint64_t length = strlen(header);
    unsigned char prefix[8];
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)(length >> (8 * i));
    LK_TRY(lk_write_at(file.fd, prefix, sizeof prefix, 0, path, err));
    LK_TRY(lk_write_at(file.fd, header, length, sizeof prefix, path, err));
    int64_t at = (int64_t)(sizeof prefix + length);
    for (int i = 0; i < tensor_count; i++) {
        int64_t bytes = tensor_bytes(&order[i]->tensor);
        LK_TRY(lk_write_at(file.fd, order[i]->tensor.data, (size_t)bytes, at, path, err));
        at += bytes;
    }
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    lk_free(header);
    lk_free(order);
    return status;
}
