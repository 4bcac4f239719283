/* When a descriptor may be finalised, as cuDNN 9 documents it. */
#include <string.h>

#include "cudnn_sim.h"

static cudnnStatus_t tensor(sim_descriptor *d) {
    const int64_t *uid = sim_attribute_get(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1);
    const int64_t *dims = sim_attribute_get(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4);
    const int64_t *strides = sim_attribute_get(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4);
    const int64_t *alignment = sim_attribute_get(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1);
    const cudnnDataType_t *type = sim_attribute_get(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1);
    if (uid == NULL || dims == NULL || strides == NULL || alignment == NULL || type == NULL)
        return CUDNN_STATUS_BAD_PARAM;
    if (*alignment < 1 || (*alignment & (*alignment - 1)) != 0) return CUDNN_STATUS_BAD_PARAM;
    if (sim_type_size(*type) == 0) return CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE;
    for (int i = 0; i < 4; i++)
        if (dims[i] < 1 || strides[i] < 1) return CUDNN_STATUS_BAD_PARAM;
    d->tensor = (sim_tensor){.uid = *uid, .alignment = *alignment, .type = *type};
    memcpy(d->tensor.dims, dims, sizeof d->tensor.dims);
    memcpy(d->tensor.strides, strides, sizeof d->tensor.strides);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t convolution(sim_descriptor *d) {
    sim_convolution *c = &d->convolution;
    const cudnnDataType_t *compute = sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1);
    const cudnnConvolutionMode_t *mode =
        sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1);
    const int64_t *spatial = sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1);
    const int64_t *before = sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2);
    const int64_t *after = sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2);
    const int64_t *strides = sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2);
    const int64_t *dilations = sim_attribute_get(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2);
    if (compute == NULL || mode == NULL || spatial == NULL || before == NULL || after == NULL || strides == NULL ||
        dilations == NULL || *spatial != 2)
        return CUDNN_STATUS_BAD_PARAM;
    if (*compute != CUDNN_DATA_FLOAT || *mode != CUDNN_CROSS_CORRELATION) return CUDNN_STATUS_NOT_SUPPORTED;
    for (int i = 0; i < 2; i++) {
        if (before[i] < 0 || after[i] < 0 || strides[i] < 1 || dilations[i] < 1) return CUDNN_STATUS_BAD_PARAM;
        c->pads[i] = before[i];
        c->pads_after[i] = after[i];
        c->strides[i] = strides[i];
        c->dilations[i] = dilations[i];
    }
    return CUDNN_STATUS_SUCCESS;
}

static const struct operation {
    cudnnBackendDescriptorType_t type;
    sim_pass pass;
    cudnnBackendAttributeName_t conv, x, weight, y, alpha, beta;
} OPERATIONS[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, SIM_FORWARD,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, SIM_DATA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, SIM_WEIGHT,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

/* The one finalised descriptor of the type that an attribute holds, or NULL. */
static const sim_descriptor *part(const sim_descriptor *d, cudnnBackendAttributeName_t name,
                                  cudnnBackendDescriptorType_t type) {
    const cudnnBackendDescriptor_t *value = sim_attribute_get(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1);
    const sim_descriptor *found = value == NULL ? NULL : (const sim_descriptor *)*value;
    return found != NULL && found->finalized && found->type == type ? found : NULL;
}

static cudnnStatus_t check_shapes(const sim_convolution *c) {
    const int64_t *x = c->x.dims, *w = c->weight.dims, *y = c->y.dims;
    if (x[0] != y[0] || w[0] != y[1] || x[1] % w[1] != 0 || y[1] % c->groups != 0)
        return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
    for (int i = 0; i < 2; i++) {
        int64_t room = x[2 + i] + c->pads[i] + c->pads_after[i] - c->dilations[i] * (w[2 + i] - 1) - 1;
        if (room < 0 || room / c->strides[i] + 1 != y[2 + i]) return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
    }
    if (c->x.uid == c->weight.uid || c->x.uid == c->y.uid || c->weight.uid == c->y.uid)
        return CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES;
    bool longer = c->pass == SIM_WEIGHT && c->weight.type == CUDNN_DATA_FLOAT;
    if (c->x.type != c->y.type || (c->weight.type != c->x.type && !longer)) return CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t operation(sim_descriptor *d, const struct operation *o) {
    const sim_descriptor *conv = part(d, o->conv, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const sim_descriptor *x = part(d, o->x, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const sim_descriptor *weight = part(d, o->weight, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const sim_descriptor *y = part(d, o->y, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    const float *alpha = sim_attribute_get(d, o->alpha, CUDNN_TYPE_FLOAT, 1);
    const float *beta = sim_attribute_get(d, o->beta, CUDNN_TYPE_FLOAT, 1);
    if (conv == NULL || x == NULL || weight == NULL || y == NULL || alpha == NULL || beta == NULL)
        return CUDNN_STATUS_BAD_PARAM;
    if (*alpha != 1 || *beta != 0) return CUDNN_STATUS_NOT_SUPPORTED;
    d->convolution = conv->convolution;
    d->convolution.pass = o->pass;
    d->convolution.x = x->tensor;
    d->convolution.weight = weight->tensor;
    d->convolution.y = y->tensor;
    d->convolution.groups = x->tensor.dims[1] / weight->tensor.dims[1];
    if (d->convolution.groups < 1) return CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH;
    return check_shapes(&d->convolution);
}

static cudnnStatus_t graph(sim_descriptor *d) {
    const cudnnBackendDescriptor_t *ops =
        sim_attribute_get(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1);
    const sim_descriptor *op = ops == NULL ? NULL : (const sim_descriptor *)*ops;
    if (op == NULL || !op->finalized || op->convolution.groups == 0) return CUDNN_STATUS_BAD_PARAM;
    d->convolution = op->convolution;
    d->has_handle = sim_attribute_get(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1) != NULL;
    return CUDNN_STATUS_SUCCESS;
}

static void rank(sim_descriptor *d, sim_engine engine, int64_t knob) {
    d->configs[d->config_count++] = (sim_config){engine, knob};
}

/* NHWC with whole vectors of channels is what engines for 16-bit types read; a float32 gradient of such operands is
 * known to one fallback engine of 9.26. */
static cudnnStatus_t ranking(sim_descriptor *d) {
    const sim_descriptor *whole =
        part(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    const cudnnBackendHeurMode_t *mode = sim_attribute_get(d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1);
    if (whole == NULL || mode == NULL || !whole->has_handle) return CUDNN_STATUS_BAD_PARAM;
    const sim_convolution *c = &whole->convolution;
    d->convolution = *c;
    d->has_handle = true;
    bool longer = c->pass == SIM_WEIGHT && c->weight.type != c->x.type;
    if (longer && cudnnGetVersion() < (*mode == CUDNN_HEUR_MODE_FALLBACK ? 92600 : 990000))
        return CUDNN_STATUS_NOT_SUPPORTED;
    if (c->x.strides[1] != 1 || c->y.strides[1] != 1 || c->weight.strides[1] != 1)
        return CUDNN_STATUS_NOT_SUPPORTED_LAYOUT;
    if (*mode == CUDNN_HEUR_MODE_A) {
        rank(d, SIM_CHANCE, SIM_KNOB_FORTH);
        if (c->x.type == CUDNN_DATA_FLOAT) {
            rank(d, SIM_DOWN, SIM_KNOB_FORTH);
            rank(d, SIM_SHORT, SIM_KNOB_FORTH);
        }
        rank(d, SIM_HUGE, SIM_KNOB_FORTH);
        bool back = sim_setting("LK_SIM_ENGINES_BACK", 0) != 0;
        rank(d, SIM_GOOD, back ? SIM_KNOB_BACK : SIM_KNOB_FORTH);
        rank(d, SIM_GOOD, back ? SIM_KNOB_FORTH : SIM_KNOB_BACK);
    }
    if (*mode == CUDNN_HEUR_MODE_FALLBACK) rank(d, SIM_FALLBACK, SIM_KNOB_FORTH);
    return d->config_count > 0 ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

/* An engine that somebody names himself: one that the rankings have for the graph. */
static cudnnStatus_t engine(sim_descriptor *d) {
    const sim_descriptor *whole = part(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    const int64_t *number = sim_attribute_get(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1);
    if (whole == NULL || number == NULL || !whole->has_handle) return CUDNN_STATUS_BAD_PARAM;
    if (*number < 0 || *number >= SIM_ENGINES) return CUDNN_STATUS_NOT_SUPPORTED;
    bool longer = whole->convolution.pass == SIM_WEIGHT && whole->convolution.weight.type != whole->convolution.x.type;
    if (longer && *number != SIM_FALLBACK) return CUDNN_STATUS_NOT_SUPPORTED;
    d->convolution = whole->convolution;
    d->configs[0] = (sim_config){(sim_engine)*number, SIM_KNOB_FORTH};
    d->config_count = 1;
    d->has_handle = true;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t knob_choice(sim_descriptor *d) {
    const cudnnBackendKnobType_t *type =
        sim_attribute_get(d, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1);
    const int64_t *value = sim_attribute_get(d, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1);
    if (type == NULL || value == NULL || (int)*type != (int)SIM_KNOB) return CUDNN_STATUS_BAD_PARAM;
    if (sim_setting("LK_SIM_KNOBS", 1) == 0) return CUDNN_STATUS_NOT_SUPPORTED; /* rankings set knobs all the same */
    if (*value != SIM_KNOB_FORTH && *value != SIM_KNOB_BACK) return CUDNN_STATUS_NOT_SUPPORTED;
    d->configs[0].knob = *value;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t configuration(sim_descriptor *d) {
    const sim_descriptor *whole = part(d, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    const cudnnBackendDescriptor_t *knobs =
        sim_attribute_get(d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1);
    const sim_descriptor *knob = knobs == NULL ? NULL : (const sim_descriptor *)*knobs;
    if (whole == NULL || (knob != NULL && !knob->finalized)) return CUDNN_STATUS_BAD_PARAM;
    if (knob != NULL && !sim_has_knob(whole->configs[0].engine)) return CUDNN_STATUS_NOT_SUPPORTED;
    d->convolution = whole->convolution;
    d->configs[0] = whole->configs[0];
    if (knob != NULL) d->configs[0].knob = knob->configs[0].knob;
    d->config_count = 1;
    d->has_handle = true;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t plan(sim_descriptor *d) {
    const sim_descriptor *config = part(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (config == NULL || sim_attribute_get(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1) == NULL)
        return CUDNN_STATUS_BAD_PARAM;
    d->convolution = config->convolution;
    d->configs[0] = config->configs[0];
    d->has_handle = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t sim_finalize(sim_descriptor *d) {
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof OPERATIONS[0]; i++)
        if (OPERATIONS[i].type == d->type) return operation(d, &OPERATIONS[i]);
    switch (d->type) {
        case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return tensor(d);
        case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return convolution(d);
        case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return graph(d);
        case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: return ranking(d);
        case CUDNN_BACKEND_ENGINE_DESCRIPTOR: return engine(d);
        case CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR: return knob_choice(d);
        case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: return configuration(d);
        case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: return plan(d);
        case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: return CUDNN_STATUS_SUCCESS;
        default: return CUDNN_STATUS_NOT_SUPPORTED;
    }
}
