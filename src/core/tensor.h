/* Data types and tensor views. A view {dtype, shape, data} never owns. */
#ifndef LK_CORE_TENSOR_H
#define LK_CORE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum lk_dtype {
    LK_F32,
    LK_F64,
    LK_BF16,
    LK_F16,
    LK_I64,
    LK_I32,
    LK_U8,
    LK_DTYPE_COUNT, /* of tensors */
    LK_TF32         /* of arithmetic alone: float32 in memory, of which convolutions and products of matrices read the
                       first 10 bits of the mantissa */
} lk_dtype;

#define LK_MAX_DIMS 6

/* Row-major; rank 0 is a scalar of one element. */
typedef struct lk_shape {
    int rank;
    int64_t dims[LK_MAX_DIMS];
} lk_shape;

typedef struct lk_tensor {
    lk_dtype dtype;
    lk_shape shape;
    void *data; /* borrowed */
} lk_tensor;

/* Bytes of one element. */
size_t lk_dtype_size(lk_dtype dtype);

/* "float32", "bfloat16", ...; static. */
const char *lk_dtype_name(lk_dtype dtype);

/* What a model may be computed in, as jobs and options name it; ends with NULL. */
extern const char *const LK_COMPUTES[];
/* The type of that name, by its place in the list. */
lk_dtype lk_compute_of(int index);

/* Number of elements; 1 for rank 0. Dims are taken as checked. */
int64_t lk_shape_count(const lk_shape *shape);

/* As lk_shape_count for dims from outside. Errors: LK_ERR_DATA on a negative dim or overflow of 2^62. */
LK_MUST_CHECK lk_status lk_shape_count_checked(int64_t *out, const lk_shape *shape, lk_error *err);

bool lk_shape_equal(const lk_shape *a, const lk_shape *b);

/* Convenience: lk_shape_of(2, n, k). Up to LK_MAX_DIMS int64_t dims (cast them). */
lk_shape lk_shape_of(int rank, ...);

/* Writes "64 x 3 x 7 x 7" into text, always terminated; returns text. */
char *lk_shape_print(const lk_shape *shape, char *text, size_t size);

#endif
