#include "model_tool_h5.h"

#include <stdio.h>
#include <string.h>

static lk_status get_attribute(hid_t file, const char *name, hid_t type, void *out, lk_error *err) {
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    herr_t failed = attribute < 0 ? -1 : H5Aread(attribute, type, out);
    if (attribute >= 0) H5Aclose(attribute);
    return failed < 0 ? lk_fail(err, LK_ERR_DATA, "the input has no usable attribute %s", name) : LK_OK;
}

lk_status tool_get_int(hid_t file, const char *name, int64_t *out, lk_error *err) {
    return get_attribute(file, name, H5T_NATIVE_INT64, out, err);
}

lk_status tool_get_double(hid_t file, const char *name, double *out, lk_error *err) {
    return get_attribute(file, name, H5T_NATIVE_DOUBLE, out, err);
}

lk_status tool_get_text(hid_t file, const char *name, char *out, size_t size, lk_error *err) {
    char *text = NULL;
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    lk_status status = get_attribute(file, name, type, &text, err);
    if (status == LK_OK) {
        snprintf(out, size, "%s", text);
        H5free_memory(text);
    }
    H5Tclose(type);
    return status;
}

lk_status tool_read(hid_t file, const char *name, hid_t type, void *out, int64_t count, lk_error *err) {
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0) return lk_fail(err, LK_ERR_DATA, "the input has no data set %s", name);
    hid_t space = H5Dget_space(set);
    herr_t failed = H5Sget_simple_extent_npoints(space) == count ? 0 : -1;
    if (failed == 0) failed = H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
    H5Sclose(space);
    H5Dclose(set);
    return failed < 0 ? lk_fail(err, LK_ERR_DATA, "data set %s is not %lld numbers", name, (long long)count) : LK_OK;
}

lk_status tool_write(hid_t file, const char *name, const lk_shape *shape, const double *values, lk_error *err) {
    hsize_t dims[LK_MAX_DIMS];
    for (int i = 0; i < shape->rank; i++) dims[i] = (hsize_t)shape->dims[i];
    hid_t space = H5Screate_simple(shape->rank, dims, NULL);
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(file, name, H5T_IEEE_F64LE, space, links, H5P_DEFAULT, H5P_DEFAULT);
    herr_t failed = set < 0 ? -1 : H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (set >= 0) H5Dclose(set);
    H5Pclose(links);
    H5Sclose(space);
    return failed < 0 ? lk_fail(err, LK_ERR_IO, "cannot write data set %s", name) : LK_OK;
}
