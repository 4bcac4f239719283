#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/model/atomic.h"
#include "io/model/onnx_model.h"

#define MAX_INITIALIZERS 100000

static lk_status fail_file(const char *path, const char *name, const char *reason, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s is not an ONNX file of this program: '%.100s' %s", path,
                   name == NULL ? "" : name, reason);
}

static lk_status check_initializer(const Onnx__TensorProto *proto, const char *path, lk_error *err) {
    if (proto->name == NULL || proto->n_dims > LK_MAX_DIMS || !proto->has_raw_data ||
        (proto->data_type != LK_ONNX_TYPE_F32 && proto->data_type != LK_ONNX_TYPE_I64))
        return fail_file(path, proto->name, "is no float32 or int64 initialiser of at most 6 dimensions", err);
    lk_shape shape = {.rank = (int)proto->n_dims};
    for (int i = 0; i < shape.rank; i++) shape.dims[i] = proto->dims[i];
    int64_t count;
    size_t width = proto->data_type == LK_ONNX_TYPE_I64 ? 8 : 4;
    if (lk_shape_count_checked(&count, &shape, NULL) != LK_OK || count > LK_ONNX_MAX_BYTES ||
        (size_t)count * width != proto->raw_data.len)
        return fail_file(path, proto->name, "has another size than its shape", err);
    return LK_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lk_status check_unique(const Onnx__GraphProto *graph, const char *path, lk_error *err) {
    const char **names = NULL;
    LK_RETURN_IF(lk_alloc((void **)&names, graph->n_initializer, sizeof *names, "names of initialisers", err));
    for (size_t i = 0; i < graph->n_initializer; i++) names[i] = graph->initializer[i]->name;
    qsort(names, graph->n_initializer, sizeof *names, compare_names);
    lk_status status = LK_OK;
    for (size_t i = 1; i < graph->n_initializer && status == LK_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0) status = fail_file(path, names[i], "occurs twice", err);
    lk_free(names);
    return status;
}

static lk_status check_model(const Onnx__ModelProto *model, const char *path, lk_error *err) {
    const Onnx__GraphProto *graph = model->graph;
    if (graph == NULL || graph->n_initializer > MAX_INITIALIZERS)
        return fail_file(path, "graph", "is missing or has too many initialisers", err);
    for (size_t i = 0; i < graph->n_initializer; i++) LK_RETURN_IF(check_initializer(graph->initializer[i], path, err));
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (model->metadata_props[i]->key == NULL || model->metadata_props[i]->value == NULL)
            return fail_file(path, "metadata_props", "has an entry without key or value", err);
    for (size_t i = 0; i < graph->n_input; i++)
        if (graph->input[i]->name == NULL) return fail_file(path, "input", "has no name", err);
    return check_unique(graph, path, err);
}

static lk_status read_bytes(uint8_t **bytes, size_t *size, const char *path, lk_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return lk_fail_errno(err, "open", path);
    struct stat info;
    lk_status status = LK_OK;
    if (fstat(fd, &info) != 0)
        status = lk_fail_errno(err, "examine", path);
    else if (!S_ISREG(info.st_mode) || info.st_size == 0 || info.st_size > LK_ONNX_MAX_BYTES)
        status = fail_file(path, "file", "is empty, larger than 2 GiB or no regular file", err);
    LK_TRY(status);
    *size = (size_t)info.st_size;
    LK_TRY(LK_NEW(bytes, *size, "an ONNX file", err));
    LK_TRY(lk_read_at(fd, *bytes, *size, 0, path, err));
out:
    close(fd);
    return status;
}

lk_status lk_onnx_open(lk_onnx **out, const char *path, lk_error *err) {
    *out = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    lk_onnx *onnx = NULL;
    lk_status status = LK_OK;
    LK_TRY(read_bytes(&bytes, &size, path, err));
    LK_TRY(LK_NEW(&onnx, 1, "an ONNX graph", err));
    onnx->model = onnx__model_proto__unpack(NULL, size, bytes);
    if (onnx->model == NULL) {
        status = fail_file(path, "file", "does not parse; it may be truncated", err);
        goto out;
    }
    LK_TRY(check_model(onnx->model, path, err));
    *out = onnx;
    onnx = NULL;
out:
    lk_onnx_free(onnx);
    lk_free(bytes);
    return status;
}

int lk_onnx_initializer_count(const lk_onnx *onnx) { return (int)onnx->model->graph->n_initializer; }

lk_named_tensor lk_onnx_get_initializer(const lk_onnx *onnx, int i) {
    const Onnx__TensorProto *proto = onnx->model->graph->initializer[i];
    lk_named_tensor out = {.name = proto->name};
    out.tensor.dtype = proto->data_type == LK_ONNX_TYPE_I64 ? LK_I64 : LK_F32;
    out.tensor.shape.rank = (int)proto->n_dims;
    for (int d = 0; d < out.tensor.shape.rank; d++) out.tensor.shape.dims[d] = proto->dims[d];
    out.tensor.data = proto->raw_data.data;
    return out;
}

const char *lk_onnx_get_metadata(const lk_onnx *onnx, const char *key) {
    const Onnx__ModelProto *model = onnx->model;
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (strcmp(model->metadata_props[i]->key, key) == 0) return model->metadata_props[i]->value;
    return NULL;
}

bool lk_onnx_has_input(const lk_onnx *onnx, const char *name) {
    const Onnx__GraphProto *graph = onnx->model->graph;
    for (size_t i = 0; i < graph->n_input; i++)
        if (strcmp(graph->input[i]->name, name) == 0) return true;
    return false;
}

/* Two messages are equal when their bytes are; fields that this program does not know are part of them. */
static lk_status messages_equal(bool *equal, const ProtobufCMessage *a, const ProtobufCMessage *b, lk_error *err) {
    size_t size = protobuf_c_message_get_packed_size(a);
    *equal = size == protobuf_c_message_get_packed_size(b);
    if (!*equal) return LK_OK;
    uint8_t *bytes = NULL;
    LK_RETURN_IF(LK_NEW(&bytes, 2 * size, "comparing ONNX nodes", err));
    protobuf_c_message_pack(a, bytes);
    protobuf_c_message_pack(b, bytes + size);
    *equal = memcmp(bytes, bytes + size, size) == 0;
    lk_free(bytes);
    return LK_OK;
}

static lk_status lists_equal(ProtobufCMessage *const *a, size_t count_a, ProtobufCMessage *const *b, size_t count_b,
                             const char *what, const char *where, lk_error *err) {
    if (count_a != count_b)
        return lk_fail(err, LK_ERR_DATA,
                       "%s does not hold the graph that its architecture has: %zu %ss instead of %zu; convert it again",
                       where, count_a, what, count_b);
    for (size_t i = 0; i < count_a; i++) {
        bool equal;
        LK_RETURN_IF(messages_equal(&equal, a[i], b[i], err));
        if (!equal)
            return lk_fail(err, LK_ERR_DATA,
                           "%s does not hold the graph that its architecture has: %s %zu differs; convert it again",
                           where, what, i);
    }
    return LK_OK;
}

/* Empty fields are NULL, which memcmp does not take. */
static bool equal_bytes(const void *a, const void *b, size_t size) { return size == 0 || memcmp(a, b, size) == 0; }

static bool tensors_equal(const Onnx__TensorProto *a, const Onnx__TensorProto *b) {
    return strcmp(a->name, b->name) == 0 && a->data_type == b->data_type && a->n_dims == b->n_dims &&
           equal_bytes(a->dims, b->dims, a->n_dims * sizeof *a->dims) && a->raw_data.len == b->raw_data.len &&
           equal_bytes(a->raw_data.data, b->raw_data.data, a->raw_data.len) && a->base.n_unknown_fields == 0;
}

static lk_status initializers_equal(const Onnx__GraphProto *a, const Onnx__GraphProto *b, const char *where,
                                    lk_error *err) {
    for (size_t i = 0; i < a->n_initializer || i < b->n_initializer; i++)
        if (i >= a->n_initializer || i >= b->n_initializer || !tensors_equal(a->initializer[i], b->initializer[i]))
            return lk_fail(err, LK_ERR_DATA,
                           "%s does not hold the graph that its architecture has: initialiser %zu ('%.100s') differs; "
                           "convert it again",
                           where, i, i < a->n_initializer ? a->initializer[i]->name : b->initializer[i]->name);
    return LK_OK;
}

lk_status lk_onnx_check_graph(const lk_onnx *onnx, const lk_onnx *other, const char *where, lk_error *err) {
    const Onnx__ModelProto *a = onnx->model, *b = other->model;
    LK_RETURN_IF(lists_equal((ProtobufCMessage **)a->opset_import, a->n_opset_import,
                             (ProtobufCMessage **)b->opset_import, b->n_opset_import, "operator set", where, err));
    LK_RETURN_IF(lists_equal((ProtobufCMessage **)a->graph->input, a->graph->n_input,
                             (ProtobufCMessage **)b->graph->input, b->graph->n_input, "input", where, err));
    LK_RETURN_IF(lists_equal((ProtobufCMessage **)a->graph->output, a->graph->n_output,
                             (ProtobufCMessage **)b->graph->output, b->graph->n_output, "output", where, err));
    LK_RETURN_IF(lists_equal((ProtobufCMessage **)a->graph->node, a->graph->n_node, (ProtobufCMessage **)b->graph->node,
                             b->graph->n_node, "node", where, err));
    return initializers_equal(a->graph, b->graph, where, err);
}
