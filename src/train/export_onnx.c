/* A graph of layers as ONNX nodes. Names of initialisers are those of the state_dict; a value is named like its layer.
 */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "train/export.h"

#define VALUE_SIZE (LK_NAME_SIZE + 16)

typedef struct exporter {
    lk_onnx *onnx;
    const lk_graph *graph;
    char (*values)[VALUE_SIZE]; /* name of each node's value */
    bool pixels, has_relu6;
} exporter;

/* One node with at most five inputs. */
static lk_status add_node(exporter *e, const char *op, const char *output, const char *const *inputs, int input_count,
                          const lk_onnx_attribute *attributes, int attribute_count, lk_error *err) {
    return lk_onnx_node(e->onnx, op, output, inputs, input_count, output, attributes, attribute_count, err);
}

static lk_status add_constant(exporter *e, const char *name, const float *values, int64_t count, lk_error *err) {
    float copy[LK_MAX_CHANNELS_IN];
    memcpy(copy, values, (size_t)count * sizeof *copy);
    lk_shape shape = count == 1 ? lk_shape_of(0) : lk_shape_of(3, count, (int64_t)1, (int64_t)1);
    lk_tensor tensor = {LK_F32, shape, copy};
    return lk_onnx_initializer(e->onnx, name, &tensor, err);
}

/* uint8 N x H x W x C -> (x / 255 - mean) / std in N x C x H x W, in the order that training uses. */
static lk_status add_pixels(exporter *e, const lk_node *node, const char *value, lk_error *err) {
    int64_t to_nchw[] = {0, 3, 1, 2};
    lk_onnx_attribute cast = {.name = "to", .kind = LK_ONNX_INT, .i = 1};
    lk_onnx_attribute perm = {.name = "perm", .kind = LK_ONNX_INTS, .ints = to_nchw, .ints_count = 4};
    float scale = 255;
    lk_shape shape = lk_shape_of(4, (int64_t)-1, node->h, node->w, node->c);
    LK_RETURN_IF(lk_onnx_input(e->onnx, "pixels", LK_U8, &shape, err));
    LK_RETURN_IF(add_constant(e, "normalise.scale", &scale, 1, err));
    LK_RETURN_IF(add_constant(e, "normalise.mean", node->op.input.mean, node->c, err));
    LK_RETURN_IF(add_constant(e, "normalise.std", node->op.input.std, node->c, err));
    LK_RETURN_IF(add_node(e, "Transpose", "normalise.nchw", (const char *[]){"pixels"}, 1, &perm, 1, err));
    LK_RETURN_IF(add_node(e, "Cast", "normalise.float", (const char *[]){"normalise.nchw"}, 1, &cast, 1, err));
    LK_RETURN_IF(
        add_node(e, "Div", "normalise.unit", (const char *[]){"normalise.float", "normalise.scale"}, 2, NULL, 0, err));
    LK_RETURN_IF(
        add_node(e, "Sub", "normalise.centred", (const char *[]){"normalise.unit", "normalise.mean"}, 2, NULL, 0, err));
    return add_node(e, "Div", value, (const char *[]){"normalise.centred", "normalise.std"}, 2, NULL, 0, err);
}

static lk_status add_input(exporter *e, const lk_node *node, const char *value, lk_error *err) {
    if (e->pixels) return add_pixels(e, node, value, err);
    lk_shape shape = lk_shape_of(4, (int64_t)-1, node->c, node->h, node->w);
    return lk_onnx_input(e->onnx, value, LK_F32, &shape, err);
}

static lk_status add_conv(exporter *e, const lk_node *node, const char *x, const char *value, lk_error *err) {
    char weight[VALUE_SIZE], bias[VALUE_SIZE];
    snprintf(weight, sizeof weight, "%s.weight", node->name);
    snprintf(bias, sizeof bias, "%s.bias", node->name);
    int64_t kernel[] = {node->op.conv.kernel_h, node->op.conv.kernel_w};
    int64_t strides[] = {node->op.conv.stride, node->op.conv.stride};
    int64_t dilations[] = {node->op.conv.dilation, node->op.conv.dilation};
    int64_t pad = node->op.conv.pad;
    int64_t pads[] = {pad - node->op.conv.pad_less_top, pad - node->op.conv.pad_less_left, pad, pad};
    lk_onnx_attribute attributes[] = {
        {.name = "dilations", .kind = LK_ONNX_INTS, .ints = dilations, .ints_count = 2},
        {.name = "group", .kind = LK_ONNX_INT, .i = node->op.conv.groups},
        {.name = "kernel_shape", .kind = LK_ONNX_INTS, .ints = kernel, .ints_count = 2},
        {.name = "pads", .kind = LK_ONNX_INTS, .ints = pads, .ints_count = 4},
        {.name = "strides", .kind = LK_ONNX_INTS, .ints = strides, .ints_count = 2},
    };
    const char *inputs[] = {x, weight, bias};
    return add_node(e, "Conv", value, inputs, node->op.conv.bias ? 3 : 2, attributes, 5, err);
}

/* The bounds of ReLU6 are initialisers, which may stand in the graph once. */
static lk_status add_relu6(exporter *e, const char *x, const char *value, lk_error *err) {
    static const char least[] = "relu6.least", most[] = "relu6.most";
    float bounds[] = {0, 6};
    if (!e->has_relu6) {
        LK_RETURN_IF(add_constant(e, least, &bounds[0], 1, err));
        LK_RETURN_IF(add_constant(e, most, &bounds[1], 1, err));
        e->has_relu6 = true;
    }
    return add_node(e, "Clip", value, (const char *[]){x, least, most}, 3, NULL, 0, err);
}

static lk_status add_silu(exporter *e, const char *x, const char *value, lk_error *err) {
    char gate[VALUE_SIZE];
    snprintf(gate, sizeof gate, "%s.sigmoid", value);
    LK_RETURN_IF(add_node(e, "Sigmoid", gate, &x, 1, NULL, 0, err));
    return add_node(e, "Mul", value, (const char *[]){x, gate}, 2, NULL, 0, err);
}

static lk_status add_activation(exporter *e, lk_act act, const char *x, const char *value, lk_error *err) {
    /* y = max(0, min(1, alpha x + beta)) */
    lk_onnx_attribute hard[] = {{.name = "alpha", .kind = LK_ONNX_FLOAT, .f = 1.0f / 6},
                                {.name = "beta", .kind = LK_ONNX_FLOAT, .f = 0.5f}};
    switch (act) {
        case LK_ACT_RELU: return add_node(e, "Relu", value, &x, 1, NULL, 0, err);
        case LK_ACT_RELU6: return add_relu6(e, x, value, err);
        case LK_ACT_SILU: return add_silu(e, x, value, err);
        case LK_ACT_HARD_SWISH: return add_node(e, "HardSwish", value, &x, 1, NULL, 0, err);
        case LK_ACT_SIGMOID: return add_node(e, "Sigmoid", value, &x, 1, NULL, 0, err);
        case LK_ACT_HARD_SIGMOID: return add_node(e, "HardSigmoid", value, &x, 1, hard, 2, err);
        case LK_ACT_NONE:
        case LK_ACT_COUNT: break;
    }
    return lk_fail(err, LK_ERR_UNSUPPORTED, "activation %s has no ONNX form in this program", lk_act_name(act));
}

/* BatchNormalization, then Add and the activation where they were fused into it. The last one's output is called
 * `value`. */
static lk_status add_batchnorm(exporter *e, const lk_node *node, const char *x, const char *value, lk_error *err) {
    static const char *const suffixes[] = {"weight", "bias", "running_mean", "running_var"};
    char names[4][VALUE_SIZE], normalised[VALUE_SIZE], summed[VALUE_SIZE];
    const char *inputs[5] = {x};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "%s.%s", node->name, suffixes[i]);
        inputs[i + 1] = names[i];
    }
    bool adds = node->residual >= 0, acts = node->op.batchnorm.act != LK_ACT_NONE;
    snprintf(normalised, sizeof normalised, "%s%s", value, adds || acts ? ".normalised" : "");
    snprintf(summed, sizeof summed, "%s%s", value, acts ? ".summed" : "");
    lk_onnx_attribute epsilon = {.name = "epsilon", .kind = LK_ONNX_FLOAT, .f = (float)node->op.batchnorm.eps};
    LK_RETURN_IF(add_node(e, "BatchNormalization", normalised, inputs, 5, &epsilon, 1, err));
    const char *sum[] = {normalised, adds ? e->values[node->residual] : NULL};
    if (adds) LK_RETURN_IF(add_node(e, "Add", summed, sum, 2, NULL, 0, err));
    return acts ? add_activation(e, node->op.batchnorm.act, adds ? summed : normalised, value, err) : LK_OK;
}

static lk_status add_add(exporter *e, const lk_node *node, const char *x, const char *value, lk_error *err) {
    char summed[VALUE_SIZE];
    bool acts = node->op.add.act != LK_ACT_NONE;
    snprintf(summed, sizeof summed, "%s%s", value, acts ? ".summed" : "");
    const char *inputs[] = {x, e->values[node->residual]};
    LK_RETURN_IF(add_node(e, "Add", summed, inputs, 2, NULL, 0, err));
    return acts ? add_activation(e, node->op.add.act, summed, value, err) : LK_OK;
}

static lk_status add_scale(exporter *e, const lk_node *node, const char *x, const char *value, lk_error *err) {
    return add_node(e, "Mul", value, (const char *[]){x, e->values[node->residual]}, 2, NULL, 0, err);
}

static lk_status add_maxpool(exporter *e, const lk_node *node, const char *x, const char *value, lk_error *err) {
    int64_t kernel[] = {node->op.maxpool.kernel, node->op.maxpool.kernel};
    int64_t strides[] = {node->op.maxpool.stride, node->op.maxpool.stride};
    int64_t pad = node->op.maxpool.pad, pads[] = {pad, pad, pad, pad};
    lk_onnx_attribute attributes[] = {
        {.name = "kernel_shape", .kind = LK_ONNX_INTS, .ints = kernel, .ints_count = 2},
        {.name = "pads", .kind = LK_ONNX_INTS, .ints = pads, .ints_count = 4},
        {.name = "strides", .kind = LK_ONNX_INTS, .ints = strides, .ints_count = 2},
    };
    return add_node(e, "MaxPool", value, &x, 1, attributes, 3, err);
}

static lk_status add_linear(exporter *e, const lk_node *node, const char *x, const char *value, lk_error *err) {
    char weight[VALUE_SIZE], bias[VALUE_SIZE], flat[VALUE_SIZE];
    snprintf(weight, sizeof weight, "%s.weight", node->name);
    snprintf(bias, sizeof bias, "%s.bias", node->name);
    snprintf(flat, sizeof flat, "%s.flat", node->name);
    lk_onnx_attribute axis = {.name = "axis", .kind = LK_ONNX_INT, .i = 1};
    lk_onnx_attribute transposed = {.name = "transB", .kind = LK_ONNX_INT, .i = 1};
    LK_RETURN_IF(add_node(e, "Flatten", flat, &x, 1, &axis, 1, err));
    const char *inputs[] = {flat, weight, bias};
    return add_node(e, "Gemm", value, inputs, 3, &transposed, 1, err);
}

static lk_status add_layer(exporter *e, lk_node_id id, lk_error *err) {
    const lk_node *node = &e->graph->nodes[id];
    char *value = e->values[id];
    snprintf(value, VALUE_SIZE, "%s", id == e->graph->logits ? "logits" : node->name);
    const char *x = node->x >= 0 ? e->values[node->x] : NULL;
    switch (node->op.kind) {
        case LK_OP_INPUT: return add_input(e, node, value, err);
        case LK_OP_CONV2D: return add_conv(e, node, x, value, err);
        case LK_OP_BATCHNORM: return add_batchnorm(e, node, x, value, err);
        case LK_OP_ACTIVATION: return add_activation(e, node->op.activation.act, x, value, err);
        case LK_OP_ADD: return add_add(e, node, x, value, err);
        case LK_OP_MAXPOOL: return add_maxpool(e, node, x, value, err);
        case LK_OP_GLOBAL_AVGPOOL: return add_node(e, "GlobalAveragePool", value, &x, 1, NULL, 0, err);
        case LK_OP_LINEAR: return add_linear(e, node, x, value, err);
        case LK_OP_LOSS: return LK_OK; /* the loss stays at home */
        case LK_OP_SCALE: return add_scale(e, node, x, value, err);
        case LK_OP_DROPOUT: snprintf(value, VALUE_SIZE, "%s", x); return LK_OK; /* an identity outside of training */
        case LK_OP_COUNT: break;
    }
    return lk_fail(err, LK_ERR_UNSUPPORTED, "layer %s (%s) has no ONNX form in this program", node->name,
                   lk_op_kind_name(node->op.kind));
}

static lk_status add_weights(exporter *e, const lk_named_tensor *tensors, int count, lk_error *err) {
    for (int i = 0; i < count; i++) {
        if (tensors[i].tensor.dtype != LK_F32) continue; /* counters of batches have no use in ONNX */
        LK_RETURN_IF(lk_onnx_initializer(e->onnx, tensors[i].name, &tensors[i].tensor, err));
    }
    return LK_OK;
}

lk_status lk_export_onnx_graph(lk_onnx **out, const lk_graph *graph, const lk_named_tensor *tensors, int tensor_count,
                               bool pixels, lk_error *err) {
    *out = NULL;
    exporter e = {.graph = graph, .pixels = pixels};
    lk_status status = LK_OK;
    LK_TRY(lk_alloc((void **)&e.values, (size_t)graph->count, VALUE_SIZE, "the names of an ONNX graph", err));
    LK_TRY(lk_onnx_create(&e.onnx, "lockstep", err));
    LK_TRY(add_weights(&e, tensors, tensor_count, err));
    for (lk_node_id id = 0; id < graph->count; id++) LK_TRY(add_layer(&e, id, err));
    lk_shape logits = lk_shape_of(2, (int64_t)-1, graph->classes);
    LK_TRY(lk_onnx_output(e.onnx, "logits", LK_F32, &logits, err));
    *out = e.onnx;
    e.onnx = NULL;
out:
    lk_onnx_free(e.onnx);
    lk_free(e.values);
    return status;
}
