#include "io/model/onnx.h"

#include <stdio.h>
#include <string.h>

#include "io/model/atomic.h"
#include "io/model/onnx_model.h"

#define IR_VERSION 8
#define OPSET_VERSION 17

enum { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 }; /* AttributeProto.AttributeType */

/* Allocates and initialises a message of the tree. */
#define NEW_MESSAGE(out, init, err) new_message((void **)(out), sizeof **(out), (void (*)(void *))(init), err)

static lk_status new_message(void **out, size_t size, void (*init)(void *), lk_error *err) {
    LK_RETURN_IF(lk_alloc(out, 1, size, "an ONNX graph", err));
    init(*out);
    return LK_OK;
}

/* Appends to a repeated field; the tree owns `item` from here on. */
static lk_status append(void ***items, size_t *count, size_t *capacity, void *item, lk_error *err) {
    LK_RETURN_IF(lk_grow((void **)items, capacity, *count + 1, sizeof(void *), "an ONNX graph", err));
    (*items)[(*count)++] = item;
    return LK_OK;
}

static void init_model(void *p) { onnx__model_proto__init(p); }
static void init_graph(void *p) { onnx__graph_proto__init(p); }
static void init_opset(void *p) { onnx__operator_set_id_proto__init(p); }
static void init_value(void *p) { onnx__value_info_proto__init(p); }
static void init_type(void *p) { onnx__type_proto__init(p); }
static void init_tensor_type(void *p) { onnx__type_proto__tensor__init(p); }
static void init_shape(void *p) { onnx__tensor_shape_proto__init(p); }
static void init_dimension(void *p) { onnx__tensor_shape_proto__dimension__init(p); }
static void init_tensor(void *p) { onnx__tensor_proto__init(p); }
static void init_node(void *p) { onnx__node_proto__init(p); }
static void init_attribute(void *p) { onnx__attribute_proto__init(p); }
static void init_entry(void *p) { onnx__string_string_entry_proto__init(p); }

lk_status lk_onnx_create(lk_onnx **out, const char *name, lk_error *err) {
    *out = NULL;
    lk_onnx *onnx = NULL;
    LK_RETURN_IF(LK_NEW(&onnx, 1, "an ONNX graph", err));
    lk_status status = LK_OK;
    LK_TRY(NEW_MESSAGE(&onnx->model, init_model, err));
    Onnx__ModelProto *model = onnx->model;
    model->has_ir_version = 1;
    model->ir_version = IR_VERSION;
    LK_TRY(lk_strdup(&model->producer_name, "lockstep", err));
    LK_TRY(lk_strdup(&model->producer_version, LK_VERSION, err));
    LK_TRY(NEW_MESSAGE(&model->graph, init_graph, err));
    LK_TRY(lk_strdup(&model->graph->name, name, err));
    LK_TRY(lk_alloc((void **)&model->opset_import, 1, sizeof(void *), "an ONNX graph", err));
    LK_TRY(NEW_MESSAGE(&model->opset_import[0], init_opset, err));
    model->n_opset_import = 1;
    LK_TRY(lk_strdup(&model->opset_import[0]->domain, "", err));
    model->opset_import[0]->has_version = 1;
    model->opset_import[0]->version = OPSET_VERSION;
    *out = onnx;
    onnx = NULL;
out:
    lk_onnx_free(onnx);
    return status;
}

void lk_onnx_free(lk_onnx *onnx) {
    if (onnx == NULL) return;
    if (onnx->model != NULL) onnx__model_proto__free_unpacked(onnx->model, NULL);
    lk_free(onnx);
}

static lk_status add_dimension(Onnx__TensorShapeProto *shape, int64_t value, lk_error *err) {
    Onnx__TensorShapeProto__Dimension *dim = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&dim, init_dimension, err));
    shape->dim[shape->n_dim++] = dim;
    if (value < 0) return lk_strdup(&dim->dim_param, "batch", err);
    dim->has_dim_value = 1;
    dim->dim_value = value;
    return LK_OK;
}

static lk_status fill_value(Onnx__ValueInfoProto *value, const char *name, lk_dtype dtype, const lk_shape *shape,
                            lk_error *err) {
    LK_RETURN_IF(lk_strdup(&value->name, name, err));
    LK_RETURN_IF(NEW_MESSAGE(&value->type, init_type, err));
    LK_RETURN_IF(NEW_MESSAGE(&value->type->tensor_type, init_tensor_type, err));
    Onnx__TypeProto__Tensor *type = value->type->tensor_type;
    type->has_elem_type = 1;
    type->elem_type = dtype == LK_U8 ? LK_ONNX_TYPE_U8 : LK_ONNX_TYPE_F32;
    LK_RETURN_IF(NEW_MESSAGE(&type->shape, init_shape, err));
    LK_RETURN_IF(lk_alloc((void **)&type->shape->dim, (size_t)shape->rank, sizeof(void *), "an ONNX graph", err));
    for (int i = 0; i < shape->rank; i++) LK_RETURN_IF(add_dimension(type->shape, shape->dims[i], err));
    return LK_OK;
}

lk_status lk_onnx_input(lk_onnx *onnx, const char *name, lk_dtype dtype, const lk_shape *shape, lk_error *err) {
    Onnx__GraphProto *graph = onnx->model->graph;
    Onnx__ValueInfoProto *value = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&value, init_value, err));
    lk_status status = append((void ***)&graph->input, &graph->n_input, &onnx->input_capacity, value, err);
    if (status != LK_OK) {
        lk_free(value);
        return status;
    }
    return fill_value(value, name, dtype, shape, err);
}

lk_status lk_onnx_output(lk_onnx *onnx, const char *name, lk_dtype dtype, const lk_shape *shape, lk_error *err) {
    Onnx__GraphProto *graph = onnx->model->graph;
    Onnx__ValueInfoProto *value = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&value, init_value, err));
    lk_status status = append((void ***)&graph->output, &graph->n_output, &onnx->output_capacity, value, err);
    if (status != LK_OK) {
        lk_free(value);
        return status;
    }
    return fill_value(value, name, dtype, shape, err);
}

static lk_status fill_tensor(Onnx__TensorProto *proto, const char *name, const lk_tensor *tensor, lk_error *err) {
    LK_RETURN_IF(lk_strdup(&proto->name, name, err));
    LK_RETURN_IF(LK_NEW(&proto->dims, tensor->shape.rank, "an ONNX graph", err));
    proto->n_dims = (size_t)tensor->shape.rank;
    for (int i = 0; i < tensor->shape.rank; i++) proto->dims[i] = tensor->shape.dims[i];
    proto->has_data_type = 1;
    proto->data_type = tensor->dtype == LK_I64 ? LK_ONNX_TYPE_I64 : LK_ONNX_TYPE_F32;
    size_t bytes = (size_t)lk_shape_count(&tensor->shape) * lk_dtype_size(tensor->dtype);
    LK_RETURN_IF(LK_NEW(&proto->raw_data.data, bytes, "an ONNX initialiser", err));
    proto->has_raw_data = 1;
    proto->raw_data.len = bytes;
    if (bytes > 0) memcpy(proto->raw_data.data, tensor->data, bytes);
    return LK_OK;
}

lk_status lk_onnx_initializer(lk_onnx *onnx, const char *name, const lk_tensor *tensor, lk_error *err) {
    if (tensor->dtype != LK_F32 && tensor->dtype != LK_I64)
        return lk_fail(err, LK_ERR_INTERNAL, "an ONNX initialiser '%s' cannot be %s", name,
                       lk_dtype_name(tensor->dtype));
    Onnx__GraphProto *graph = onnx->model->graph;
    Onnx__TensorProto *proto = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&proto, init_tensor, err));
    lk_status status =
        append((void ***)&graph->initializer, &graph->n_initializer, &onnx->initializer_capacity, proto, err);
    if (status != LK_OK) {
        lk_free(proto);
        return status;
    }
    return fill_tensor(proto, name, tensor, err);
}

static lk_status add_attribute(Onnx__NodeProto *node, const lk_onnx_attribute *attribute, lk_error *err) {
    Onnx__AttributeProto *proto = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&proto, init_attribute, err));
    node->attribute[node->n_attribute++] = proto;
    LK_RETURN_IF(lk_strdup(&proto->name, attribute->name, err));
    proto->has_type = 1;
    switch (attribute->kind) {
        case LK_ONNX_INT:
            proto->type = ATTRIBUTE_INT;
            proto->has_i = 1;
            proto->i = attribute->i;
            break;
        case LK_ONNX_FLOAT:
            proto->type = ATTRIBUTE_FLOAT;
            proto->has_f = 1;
            proto->f = attribute->f;
            break;
        case LK_ONNX_INTS:
            proto->type = ATTRIBUTE_INTS;
            LK_RETURN_IF(LK_NEW(&proto->ints, attribute->ints_count, "an ONNX attribute", err));
            proto->n_ints = (size_t)attribute->ints_count;
            for (int i = 0; i < attribute->ints_count; i++) proto->ints[i] = attribute->ints[i];
            break;
    }
    return LK_OK;
}

static lk_status fill_node(Onnx__NodeProto *node, const char *op_type, const char *name, const char *const *inputs,
                           int input_count, const char *output, lk_error *err) {
    LK_RETURN_IF(lk_strdup(&node->op_type, op_type, err));
    LK_RETURN_IF(lk_strdup(&node->name, name, err));
    LK_RETURN_IF(LK_NEW(&node->input, input_count, "an ONNX node", err));
    for (int i = 0; i < input_count; i++) {
        LK_RETURN_IF(lk_strdup(&node->input[i], inputs[i], err));
        node->n_input++;
    }
    LK_RETURN_IF(LK_NEW(&node->output, 1, "an ONNX node", err));
    LK_RETURN_IF(lk_strdup(&node->output[0], output, err));
    node->n_output = 1;
    return LK_OK;
}

lk_status lk_onnx_node(lk_onnx *onnx, const char *op_type, const char *name, const char *const *inputs, int input_count,
                       const char *output, const lk_onnx_attribute *attributes, int attribute_count, lk_error *err) {
    Onnx__GraphProto *graph = onnx->model->graph;
    Onnx__NodeProto *node = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&node, init_node, err));
    lk_status status = append((void ***)&graph->node, &graph->n_node, &onnx->node_capacity, node, err);
    if (status != LK_OK) {
        lk_free(node);
        return status;
    }
    LK_RETURN_IF(fill_node(node, op_type, name, inputs, input_count, output, err));
    LK_RETURN_IF(lk_alloc((void **)&node->attribute, (size_t)attribute_count, sizeof(void *), "an ONNX node", err));
    for (int i = 0; i < attribute_count; i++) LK_RETURN_IF(add_attribute(node, &attributes[i], err));
    return LK_OK;
}

lk_status lk_onnx_metadata(lk_onnx *onnx, const char *key, const char *value, lk_error *err) {
    Onnx__ModelProto *model = onnx->model;
    Onnx__StringStringEntryProto *entry = NULL;
    LK_RETURN_IF(NEW_MESSAGE(&entry, init_entry, err));
    lk_status status =
        append((void ***)&model->metadata_props, &model->n_metadata_props, &onnx->metadata_capacity, entry, err);
    if (status != LK_OK) {
        lk_free(entry);
        return status;
    }
    LK_RETURN_IF(lk_strdup(&entry->key, key, err));
    return lk_strdup(&entry->value, value, err);
}

/* Lower bound of the message's size that cannot overflow, unlike protobuf-c's own 32-bit length fields. */
static int64_t raw_bytes(const Onnx__GraphProto *graph) {
    int64_t bytes = 0;
    for (size_t i = 0; i < graph->n_initializer; i++) bytes += (int64_t)graph->initializer[i]->raw_data.len;
    return bytes;
}

lk_status lk_onnx_write(lk_onnx *onnx, const char *path, lk_error *err) {
    size_t size = 0;
    if (raw_bytes(onnx->model->graph) <= LK_ONNX_MAX_BYTES) size = onnx__model_proto__get_packed_size(onnx->model);
    if (size == 0 || size > LK_ONNX_MAX_BYTES)
        return lk_fail(err, LK_ERR_DATA,
                       "cannot write %s: the model is larger than the 2 GiB of one ONNX file; convert to safetensors",
                       path);
    lk_atomic_file file = {.fd = -1};
    uint8_t *bytes = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&bytes, size, "an ONNX file", err));
    onnx__model_proto__pack(onnx->model, bytes);
    LK_TRY(lk_atomic_create(&file, path, err));
    LK_TRY(lk_write_at(file.fd, bytes, size, 0, path, err));
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    lk_free(bytes);
    return status;
}
