/* What the ONNX writer and reader share: the message tree that both hold. */
#ifndef LK_IO_MODEL_ONNX_MODEL_H
#define LK_IO_MODEL_ONNX_MODEL_H

#include "core/memory.h"
#include "io/model/onnx.h"
#include "proto/onnx.pb-c.h"

#define LK_ONNX_MAX_BYTES INT64_C(2147483647) /* a protobuf message */

/* Every part of the tree is allocated with malloc's family, so that protobuf-c frees built and parsed trees alike. */
struct lk_onnx {
    Onnx__ModelProto *model;
    size_t node_capacity, initializer_capacity, input_capacity, output_capacity, metadata_capacity;
};

enum { LK_ONNX_TYPE_F32 = 1, LK_ONNX_TYPE_U8 = 2, LK_ONNX_TYPE_I64 = 7 }; /* TensorProto.DataType */

#endif
