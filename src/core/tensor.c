#include "core/tensor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

size_t lk_dtype_size(lk_dtype dtype) {
    switch (dtype) {
        case LK_F32:
        case LK_TF32:
        case LK_I32: return 4;
        case LK_F64:
        case LK_I64: return 8;
        case LK_BF16:
        case LK_F16: return 2;
        case LK_U8: return 1;
        case LK_DTYPE_COUNT: break;
    }
    return 0;
}

const char *lk_dtype_name(lk_dtype dtype) {
    switch (dtype) {
        case LK_F32: return "float32";
        case LK_F64: return "float64";
        case LK_BF16: return "bfloat16";
        case LK_F16: return "float16";
        case LK_I64: return "int64";
        case LK_I32: return "int32";
        case LK_U8: return "uint8";
        case LK_TF32: return "tf32";
        case LK_DTYPE_COUNT: break;
    }
    return "unknown";
}

const char *const LK_COMPUTES[] = {"float32", "bfloat16", "tf32", "float16", NULL};

lk_dtype lk_compute_of(int index) {
    static const lk_dtype types[] = {LK_F32, LK_BF16, LK_TF32, LK_F16};
    return types[index];
}

int64_t lk_shape_count(const lk_shape *shape) {
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++) count *= shape->dims[i];
    return count;
}

lk_status lk_shape_count_checked(int64_t *out, const lk_shape *shape, lk_error *err) {
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++) {
        int64_t dim = shape->dims[i];
        if (dim < 0) return lk_fail(err, LK_ERR_DATA, "a tensor has the negative dimension %" PRId64, dim);
        if (dim != 0 && count > (INT64_C(1) << 62) / dim)
            return lk_fail(err, LK_ERR_DATA, "a tensor's shape overflows 2^62 elements");
        count *= dim;
    }
    *out = count;
    return LK_OK;
}

bool lk_shape_equal(const lk_shape *a, const lk_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return false;
    return true;
}

lk_shape lk_shape_of(int rank, ...) {
    lk_shape shape = {.rank = rank};
    va_list args;
    va_start(args, rank);
    for (int i = 0; i < rank && i < LK_MAX_DIMS; i++) shape.dims[i] = va_arg(args, int64_t);
    va_end(args);
    return shape;
}

char *lk_shape_print(const lk_shape *shape, char *text, size_t size) {
    size_t used = 0;
    if (size == 0) return text;
    text[0] = '\0';
    if (shape->rank == 0) snprintf(text, size, "scalar");
    for (int i = 0; i < shape->rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i == 0 ? "%" PRId64 : " x %" PRId64, shape->dims[i]);
    return text;
}
