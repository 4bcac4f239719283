/* Named arrays and settings in HDF5, for the parity programs. */
#ifndef LK_TESTS_MODEL_TOOL_H5_H
#define LK_TESTS_MODEL_TOOL_H5_H

#include <hdf5.h>
#include <stdint.h>

#include "core/tensor.h"

/* Attributes of the root. Errors: LK_ERR_DATA naming the attribute. */
LK_MUST_CHECK lk_status tool_get_int(hid_t file, const char *name, int64_t *out, lk_error *err);
LK_MUST_CHECK lk_status tool_get_double(hid_t file, const char *name, double *out, lk_error *err);
LK_MUST_CHECK lk_status tool_get_text(hid_t file, const char *name, char *out, size_t size, lk_error *err);

/* A whole data set of `count` elements, converted to the memory type. Errors: LK_ERR_DATA naming it. */
LK_MUST_CHECK lk_status tool_read(hid_t file, const char *name, hid_t type, void *out, int64_t count, lk_error *err);
/* Writes doubles; groups on the way are made. */
LK_MUST_CHECK lk_status tool_write(hid_t file, const char *name, const lk_shape *shape, const double *values,
                                   lk_error *err);

#endif
