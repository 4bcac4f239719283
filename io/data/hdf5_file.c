#include "io/data/hdf5_file.h"

#include <stdio.h>
#include <string.h>

typedef struct stack_reason {
    char system[128]; /* the operating system's words, where it refused */
    char text[256];   /* HDF5's innermost description */
} stack_reason;

static herr_t take_reason(unsigned n, const H5E_error2_t *entry, void *data) {
    stack_reason *reason = data;
    if (n == 0 && entry->desc != NULL) snprintf(reason->text, sizeof reason->text, "%s", entry->desc);
    static const char mark[] = "error message = '";
    const char *start = entry->desc == NULL ? NULL : strstr(entry->desc, mark);
    if (start != NULL && reason->system[0] == '\0') {
        start += sizeof mark - 1;
        size_t length = strcspn(start, "'");
        snprintf(reason->system, sizeof reason->system, "%.*s", (int)length, start);
    }
    return 0;
}

lk_status lk_hdf5_fail(const char *what, const char *path, lk_error *err) {
    stack_reason reason = {{0}, {0}};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_reason, &reason);
    H5Eclear2(H5E_DEFAULT);
    if (reason.system[0] != '\0') return lk_fail(err, LK_ERR_IO, "cannot %s %s: %s", what, path, reason.system);
    return lk_fail(err, LK_ERR_DATA, "cannot %s %s: HDF5 says \"%s\"", what, path,
                   reason.text[0] != '\0' ? reason.text : "no reason");
}

lk_status lk_hdf5_create(hid_t *file, const char *path, const char *shown, lk_error *err) {
    lk_hdf5_quiet();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    /* The 1.8 format puts a checksum on every piece of metadata, which the older one does not. */
    herr_t ok = H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    if (ok >= 0) ok = H5Pset_file_locking(access, false, true);
    /* Without times two packs of the same input are the same bytes; here the root's. */
    if (ok >= 0) ok = H5Pset_obj_track_times(create, false);
    *file = ok < 0 ? H5I_INVALID_HID : H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    /* Before anything else is called: every call of HDF5 clears its error stack. */
    lk_status status = *file < 0 ? lk_hdf5_fail("create", shown, err) : LK_OK;
    H5Pclose(create);
    H5Pclose(access);
    return status;
}

static hid_t stored_type(lk_index_type type, size_t width) {
    switch (type) {
        case LK_INDEX_I32: return H5Tcopy(H5T_STD_I32LE);
        case LK_INDEX_I64: return H5Tcopy(H5T_STD_I64LE);
        case LK_INDEX_U8:
        case LK_INDEX_BYTES16: return H5Tcopy(H5T_STD_U8LE);
        case LK_INDEX_TEXT: break;
    }
    hid_t text = H5Tcopy(H5T_C_S1);
    if (text < 0) return text;
    if (H5Tset_size(text, width == 0 ? 1 : width) < 0 || H5Tset_strpad(text, H5T_STR_NULLPAD) < 0 ||
        H5Tset_cset(text, H5T_CSET_UTF8) < 0) {
        H5Tclose(text);
        return H5I_INVALID_HID;
    }
    return text;
}

static herr_t put_names(hid_t dataset, const char *const *names, int count) {
    enum { WIDTH = 16 };
    char table[16][WIDTH] = {{0}};
    if (count > 16) return -1;
    for (int i = 0; i < count; i++) {
        size_t length = strnlen(names[i], WIDTH);
        memcpy(table[i], names[i], length);
    }
    hsize_t dims = (hsize_t)count;
    hid_t type = stored_type(LK_INDEX_TEXT, WIDTH), space = H5Screate_simple(1, &dims, NULL);
    hid_t attribute = H5Acreate2(dataset, "names", type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t ok = attribute < 0 ? -1 : H5Awrite(attribute, type, table);
    if (attribute >= 0 && H5Aclose(attribute) < 0) ok = -1;
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

lk_status lk_hdf5_write(hid_t file, const char *name, lk_index_type type, int64_t count, size_t width, const void *data,
                        const char *const *names, int name_count, const char *path, lk_error *err) {
    hsize_t dims[2] = {(hsize_t)count, LK_FORMAT_HASH_BYTES};
    hid_t stored = stored_type(type, width), space = H5Screate_simple(type == LK_INDEX_BYTES16 ? 2 : 1, dims, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), dataset = H5I_INVALID_HID;
    herr_t ok = H5Pset_obj_track_times(create, false);
    if (ok >= 0) ok = H5Pset_layout(create, H5D_CONTIGUOUS);
    if (ok >= 0) ok = H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY);
    if (ok >= 0) ok = H5Pset_fill_time(create, H5D_FILL_TIME_NEVER);
    if (ok >= 0) dataset = H5Dcreate2(file, name, stored, space, H5P_DEFAULT, create, H5P_DEFAULT);
    ok = dataset < 0 ? -1 : H5Dwrite(dataset, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (ok >= 0 && names != NULL) ok = put_names(dataset, names, name_count);
    lk_status status = ok < 0 ? lk_hdf5_fail("write", path, err) : LK_OK;
    if (dataset >= 0 && H5Dclose(dataset) < 0 && status == LK_OK) status = lk_hdf5_fail("write", path, err);
    H5Pclose(create);
    H5Sclose(space);
    H5Tclose(stored);
    return status;
}

lk_status lk_hdf5_make_group(hid_t file, const char *name, const char *path, lk_error *err) {
    hid_t create = H5Pcreate(H5P_GROUP_CREATE), group = H5I_INVALID_HID;
    if (H5Pset_obj_track_times(create, false) >= 0) group = H5Gcreate2(file, name, H5P_DEFAULT, create, H5P_DEFAULT);
    herr_t ok = group < 0 ? -1 : H5Gclose(group);
    lk_status status = ok < 0 ? lk_hdf5_fail("write", path, err) : LK_OK;
    H5Pclose(create);
    return status;
}

static lk_status put_attribute(hid_t file, const char *name, hid_t type, const void *data, const char *path,
                               lk_error *err) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t ok = attribute < 0 ? -1 : H5Awrite(attribute, type, data);
    lk_status status = ok < 0 ? lk_hdf5_fail("write", path, err) : LK_OK;
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == LK_OK) status = lk_hdf5_fail("write", path, err);
    H5Sclose(space);
    return status;
}

lk_status lk_hdf5_put_text(hid_t file, const char *name, const char *text, const char *path, lk_error *err) {
    hid_t type = stored_type(LK_INDEX_TEXT, strlen(text));
    lk_status status = put_attribute(file, name, type, text, path, err);
    H5Tclose(type);
    return status;
}

lk_status lk_hdf5_put_int(hid_t file, const char *name, int32_t value, const char *path, lk_error *err) {
    return put_attribute(file, name, H5T_STD_I32LE, &value, path, err);
}
