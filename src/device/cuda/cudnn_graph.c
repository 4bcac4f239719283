#include "device/cuda/cudnn_graph.h"

#include <string.h>

lk_status lk_cudnn_check(cudnnStatus_t code, const char *call, lk_error *err) {
    if (code == CUDNN_STATUS_SUCCESS) return LK_OK;
    char detail[256] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    for (char *c = detail; *c != '\0'; c++)
        if (*c == '\n') *c = ' ';
    return lk_fail(err, LK_ERR_DEVICE, "%.*s failed: %s%s%s", (int)strcspn(call, "("), call, cudnnGetErrorString(code),
                   detail[0] == '\0' ? "" : ", ", detail);
}

lk_status lk_cudnn_create(cudnnBackendDescriptor_t *out, cudnnBackendDescriptorType_t type, lk_error *err) {
    *out = NULL;
    return lk_cudnn_check(cudnnBackendCreateDescriptor(type, out), "cudnnBackendCreateDescriptor", err);
}

lk_status lk_cudnn_set(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t count, const void *values, lk_error *err) {
    return lk_cudnn_check(cudnnBackendSetAttribute(descriptor, name, type, count, values), "cudnnBackendSetAttribute",
                          err);
}

lk_status lk_cudnn_get(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t most, int64_t *count, void *values, lk_error *err) {
    return lk_cudnn_check(cudnnBackendGetAttribute(descriptor, name, type, most, count, values),
                          "cudnnBackendGetAttribute", err);
}

void lk_cudnn_destroy(cudnnBackendDescriptor_t descriptor) {
    if (descriptor != NULL) (void)cudnnBackendDestroyDescriptor(descriptor);
}

static lk_status finalize(cudnnBackendDescriptor_t descriptor, lk_error *err) {
    return lk_cudnn_check(cudnnBackendFinalize(descriptor), "cudnnBackendFinalize", err);
}

static lk_status add(lk_cudnn_graph *graph, cudnnBackendDescriptor_t *out, cudnnBackendDescriptorType_t type,
                     lk_error *err) {
    LK_RETURN_IF(lk_cudnn_create(out, type, err));
    graph->parts[graph->count++] = *out;
    return LK_OK;
}

/* A tensor of dims n, c, h, w whose channels are contiguous and whose pixels are `block` elements apart. */
static lk_status add_tensor(lk_cudnn_graph *graph, cudnnBackendDescriptor_t *out, int64_t uid, const int64_t dims[4],
                            int64_t block, cudnnDataType_t type, lk_error *err) {
    lk_status status = LK_OK;
    const int64_t strides[4] = {dims[2] * dims[3] * block, 1, dims[3] * block, block};
    const int64_t alignment = 16;
    LK_TRY(add(graph, out, CUDNN_BACKEND_TENSOR_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment, err));
    LK_TRY(finalize(*out, err));
out:
    return status;
}

static lk_status add_convolution(lk_cudnn_graph *graph, cudnnBackendDescriptor_t *out, const lk_cudnn_conv *conv,
                                 lk_error *err) {
    lk_status status = LK_OK;
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t spatial = 2, before[2] = {conv->pad_top, conv->pad_left}, after[2] = {conv->pad_end, conv->pad_end},
                  strides[2] = {conv->stride, conv->stride}, dilations[2] = {conv->dilation, conv->dilation};
    LK_TRY(add(graph, out, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides, err));
    LK_TRY(lk_cudnn_set(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations, err));
    LK_TRY(finalize(*out, err));
out:
    return status;
}

/* The attributes of one pass's operation. */
static const struct pass {
    const char *name;
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t conv, x, weight, y, alpha, beta;
} PASSES[LK_CUDNN_PASSES] = {
    {"forward", CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {"data gradient", CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {"weight gradient", CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

const char *lk_cudnn_pass_name(lk_cudnn_pass pass) { return PASSES[pass].name; }

static lk_status add_operation(lk_cudnn_graph *graph, cudnnBackendDescriptor_t *out, const struct pass *pass,
                               cudnnBackendDescriptor_t conv, cudnnBackendDescriptor_t x,
                               cudnnBackendDescriptor_t weight, cudnnBackendDescriptor_t y, lk_error *err) {
    lk_status status = LK_OK;
    const float one = 1, zero = 0;
    LK_TRY(add(graph, out, pass->type, err));
    LK_TRY(lk_cudnn_set(*out, pass->conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &conv, err));
    LK_TRY(lk_cudnn_set(*out, pass->x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x, err));
    LK_TRY(lk_cudnn_set(*out, pass->weight, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &weight, err));
    LK_TRY(lk_cudnn_set(*out, pass->y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y, err));
    LK_TRY(lk_cudnn_set(*out, pass->alpha, CUDNN_TYPE_FLOAT, 1, &one, err));
    LK_TRY(lk_cudnn_set(*out, pass->beta, CUDNN_TYPE_FLOAT, 1, &zero, err));
    LK_TRY(finalize(*out, err));
out:
    return status;
}

static cudnnDataType_t type_of(lk_dtype dtype) {
    return dtype == LK_BF16 ? CUDNN_DATA_BFLOAT16 : dtype == LK_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

lk_status lk_cudnn_graph_create(lk_cudnn_graph *graph, const lk_cudnn_target *target, const lk_cudnn_conv *conv,
                                lk_cudnn_pass pass, lk_error *err) {
    lk_status status = LK_OK;
    cudnnBackendDescriptor_t x, weight, y, convolution, operation, all;
    cudnnDataType_t type = type_of(conv->dtype);
    cudnnDataType_t weight_type = pass == LK_CUDNN_WEIGHT && !conv->short_dweight ? CUDNN_DATA_FLOAT : type;
    const int64_t group = conv->c / conv->groups, x_dims[4] = {conv->n, conv->c, conv->h, conv->w},
                  y_dims[4] = {conv->n, conv->k, conv->out_h, conv->out_w},
                  weight_dims[4] = {conv->k, group, conv->kernel_h, conv->kernel_w};
    memset(graph, 0, sizeof *graph);
    LK_TRY(add_tensor(graph, &x, LK_CUDNN_UID_X, x_dims, conv->x_block, type, err));
    LK_TRY(add_tensor(graph, &weight, LK_CUDNN_UID_WEIGHT, weight_dims, group, weight_type, err));
    LK_TRY(add_tensor(graph, &y, LK_CUDNN_UID_Y, y_dims, conv->y_block, type, err));
    LK_TRY(add_convolution(graph, &convolution, conv, err));
    LK_TRY(add_operation(graph, &operation, &PASSES[pass], convolution, x, weight, y, err));
    LK_TRY(add(graph, &all, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, err));
    LK_TRY(lk_cudnn_set(all, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &operation, err));
    if (target->handle != NULL)
        LK_TRY(lk_cudnn_set(all, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target->handle, err));
    LK_TRY(finalize(all, err));
out:
    return status;
}

void lk_cudnn_graph_free(lk_cudnn_graph *graph) {
    for (int i = graph->count - 1; i >= 0; i--) (void)cudnnBackendDestroyDescriptor(graph->parts[i]);
    memset(graph, 0, sizeof *graph);
}
