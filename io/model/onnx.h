/* Writes ONNX graphs (opset 17), and reads such files back. Knows nodes and initialisers, not models. */
#ifndef LK_IO_MODEL_ONNX_H
#define LK_IO_MODEL_ONNX_H

#include "io/model/checkpoint.h"

typedef struct lk_onnx lk_onnx; /* a graph being built */

/* Owner: the caller, with lk_onnx_free. name: of the graph. */
LK_MUST_CHECK lk_status lk_onnx_create(lk_onnx **out, const char *name, lk_error *err);
void lk_onnx_free(lk_onnx *onnx);
/* Dims below 0 are symbolic ("batch"). dtype LK_F32 or LK_U8. */
LK_MUST_CHECK lk_status lk_onnx_input(lk_onnx *onnx, const char *name, lk_dtype dtype, const lk_shape *shape,
                                      lk_error *err);
LK_MUST_CHECK lk_status lk_onnx_output(lk_onnx *onnx, const char *name, lk_dtype dtype, const lk_shape *shape,
                                       lk_error *err);
/* Data is copied. LK_F32 or LK_I64. */
LK_MUST_CHECK lk_status lk_onnx_initializer(lk_onnx *onnx, const char *name, const lk_tensor *tensor, lk_error *err);
typedef struct lk_onnx_attribute {
    const char *name;
    enum { LK_ONNX_INT, LK_ONNX_FLOAT, LK_ONNX_INTS } kind;
    int64_t i;
    float f;
    const int64_t *ints;
    int ints_count;
} lk_onnx_attribute;
LK_MUST_CHECK lk_status lk_onnx_node(lk_onnx *onnx, const char *op_type, const char *name, const char *const *inputs,
                                     int input_count, const char *output, const lk_onnx_attribute *attributes,
                                     int attribute_count, lk_error *err);
LK_MUST_CHECK lk_status lk_onnx_metadata(lk_onnx *onnx, const char *key, const char *value, lk_error *err);
/* Serialises and writes atomically. Errors: LK_ERR_DATA above 2 GiB; LK_ERR_IO; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_onnx_write(lk_onnx *onnx, const char *path, lk_error *err);

/* Reads a file that lk_onnx_write wrote, or one of the same kind. Owner: the caller, with lk_onnx_free.
 * Errors: LK_ERR_IO; LK_ERR_DATA (does not parse, no graph, initialisers that are not float32 or int64 raw data or
 * whose size is not their shape's, names that occur twice). */
LK_MUST_CHECK lk_status lk_onnx_open(lk_onnx **out, const char *path, lk_error *err);
int lk_onnx_initializer_count(const lk_onnx *onnx);
/* A view of initialiser i; borrowed. */
lk_named_tensor lk_onnx_get_initializer(const lk_onnx *onnx, int i);
/* Value of a metadata_props key, or NULL. Borrowed. */
const char *lk_onnx_get_metadata(const lk_onnx *onnx, const char *key);
/* Does an input of this name exist? */
bool lk_onnx_has_input(const lk_onnx *onnx, const char *name);
/* Are inputs, outputs, operator sets and all nodes with their attributes those of `other`? where: path, for the
 * message. Initialisers are not compared. Errors: LK_ERR_DATA naming the first node that differs; LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_onnx_check_graph(const lk_onnx *onnx, const lk_onnx *other, const char *where,
                                            lk_error *err);

#endif
