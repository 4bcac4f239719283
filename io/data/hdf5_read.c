#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/hdf5_file.h"

/* Every open goes through here: a name that is anything but a hard link could lead out of the file. */
static lk_status check_link(bool *exists, hid_t file, const char *name, const char *path, lk_error *err) {
    char part[256];
    *exists = false;
    for (const char *end = name; *end != '\0';) {
        end = strchr(end + 1, '/');
        size_t length = end == NULL ? strlen(name) : (size_t)(end - name);
        if (end == NULL) end = name + length;
        if (length >= sizeof part) return lk_fail(err, LK_ERR_INTERNAL, "the HDF5 name %s is too long", name);
        memcpy(part, name, length);
        part[length] = '\0';
        htri_t found = H5Lexists(file, part, H5P_DEFAULT);
        if (found < 0) return lk_hdf5_fail("read", path, err);
        if (found == 0) return LK_OK;
        H5L_info_t info;
        if (H5Lget_info(file, part, &info, H5P_DEFAULT) < 0) return lk_hdf5_fail("read", path, err);
        if (info.type != H5L_TYPE_HARD)
            return lk_fail(err, LK_ERR_DATA,
                           "%s: %s is a link, which data sets never use: pack it again with lockstep pack", path, part);
    }
    *exists = true;
    return LK_OK;
}

static bool is_type(hid_t stored, lk_index_type type) {
    switch (type) {
        case LK_INDEX_I32: return H5Tequal(stored, H5T_STD_I32LE) > 0;
        case LK_INDEX_I64: return H5Tequal(stored, H5T_STD_I64LE) > 0;
        case LK_INDEX_U8:
        case LK_INDEX_BYTES16: return H5Tequal(stored, H5T_STD_U8LE) > 0;
        case LK_INDEX_TEXT: break;
    }
    return H5Tget_class(stored) == H5T_STRING && H5Tis_variable_str(stored) == 0;
}

/* Takes shape, element size and place from an open data set. Returns what is wrong with it, or NULL. */
static const char *measure(lk_hdf5_range *out, hid_t dataset, lk_index_type type, int64_t file_bytes) {
    const char *problem = NULL;
    hid_t stored = H5Dget_type(dataset), space = H5Dget_space(dataset), create = H5Dget_create_plist(dataset);
    hsize_t dims[2] = {0, LK_FORMAT_HASH_BYTES};
    int rank = type == LK_INDEX_BYTES16 ? 2 : 1;
    if (stored < 0 || space < 0 || create < 0) {
        problem = "cannot be read";
    } else if (H5Pget_layout(create) != H5D_CONTIGUOUS || H5Pget_external_count(create) != 0 ||
               H5Pget_nfilters(create) != 0) {
        problem = "is not stored as plain contiguous bytes of this file";
    } else if (!is_type(stored, type)) {
        problem = "has another element type";
    } else if (H5Sget_simple_extent_ndims(space) != rank || H5Sget_simple_extent_dims(space, dims, NULL) != rank ||
               dims[1] != LK_FORMAT_HASH_BYTES) {
        problem = "has another shape";
    } else {
        haddr_t offset = H5Dget_offset(dataset);
        uint64_t size = type == LK_INDEX_TEXT ? H5Tget_size(stored) : lk_index_type_size(type);
        uint64_t limit = (uint64_t)file_bytes;
        if (dims[0] == 0 || size == 0)
            problem = "is empty";
        else if (offset == HADDR_UNDEF || offset > limit || size > limit || dims[0] > (limit - offset) / size)
            problem = "lies outside the file";
        else
            *out = (lk_hdf5_range){(int64_t)offset, (int64_t)dims[0], (int64_t)size};
    }
    if (create >= 0) H5Pclose(create);
    if (space >= 0) H5Sclose(space);
    if (stored >= 0) H5Tclose(stored);
    return problem;
}

lk_status lk_hdf5_locate(lk_hdf5_range *out, bool *exists, hid_t file, const char *name, lk_index_type type,
                         int64_t file_bytes, const char *path, lk_error *err) {
    bool found = false;
    LK_RETURN_IF(check_link(&found, file, name, path, err));
    if (exists != NULL) *exists = found;
    if (!found && exists != NULL) return LK_OK;
    if (!found) return lk_fail(err, LK_ERR_DATA, "%s is damaged: it has no %s; pack it again", path, name);
    hid_t dataset = H5Oopen(file, name, H5P_DEFAULT);
    if (dataset < 0) return lk_hdf5_fail("read", path, err);
    if (H5Iget_type(dataset) != H5I_DATASET) {
        H5Oclose(dataset);
        return lk_fail(err, LK_ERR_DATA, "%s is damaged: %s is not an array; pack it again", path, name);
    }
    const char *problem = measure(out, dataset, type, file_bytes);
    H5Oclose(dataset);
    H5Eclear2(H5E_DEFAULT);
    if (problem != NULL) return lk_fail(err, LK_ERR_DATA, "%s is damaged: %s %s; pack it again", path, name, problem);
    return LK_OK;
}

static lk_status check_signature(int fd, int64_t *file_bytes, const char *path, lk_error *err) {
    static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    struct stat info;
    uint8_t head[sizeof signature];
    if (fstat(fd, &info) != 0) return lk_fail_errno(err, "read", path);
    if (!S_ISREG(info.st_mode))
        return lk_fail(err, LK_ERR_DATA, "%s is not a file: give the .h5 file that lockstep pack wrote", path);
    *file_bytes = info.st_size;
    ssize_t got = pread(fd, head, sizeof head, 0);
    if (got < 0) return lk_fail_errno(err, "read", path);
    if (got != (ssize_t)sizeof head || memcmp(head, signature, sizeof head) != 0)
        return lk_fail(err, LK_ERR_DATA, "%s is not a data set: give the .h5 file that lockstep pack wrote", path);
    return LK_OK;
}

/* The descriptor behind an HDF5 handle, so that samples come from the very file whose index was checked. */
static lk_status take_descriptor(int *fd, hid_t file, const char *path, lk_error *err) {
    void *handle = NULL;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || handle == NULL) return lk_hdf5_fail("read", path, err);
    *fd = fcntl(*(int *)handle, F_DUPFD_CLOEXEC, 0);
    return *fd < 0 ? lk_fail_errno(err, "read", path) : LK_OK;
}

static lk_status check_user_block(hid_t file, const char *path, lk_error *err) {
    hsize_t block = 0;
    hid_t create = H5Fget_create_plist(file);
    herr_t ok = create < 0 ? -1 : H5Pget_userblock(create, &block);
    if (create >= 0) H5Pclose(create);
    if (ok < 0) return lk_hdf5_fail("read", path, err);
    if (block != 0)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is not a data set (it has an HDF5 user block): give a file that "
                       "lockstep pack wrote",
                       path);
    return LK_OK;
}

lk_status lk_hdf5_open(hid_t *file, int *fd, int64_t *file_bytes, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    *file = H5I_INVALID_HID;
    *fd = -1;
    lk_hdf5_quiet();
    int probe = open(path, O_RDONLY | O_CLOEXEC);
    if (probe < 0) return lk_fail_errno(err, "open", path);
    status = check_signature(probe, file_bytes, path, err);
    close(probe);
    if (status != LK_OK) return status;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (H5Pset_file_locking(access, false, true) >= 0) *file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (*file < 0) {
        H5Eclear2(H5E_DEFAULT);
        return lk_fail(err, LK_ERR_DATA, "%s is truncated or damaged (HDF5 cannot open it): copy or pack it again",
                       path);
    }
    LK_TRY(check_user_block(*file, path, err));
    LK_TRY(take_descriptor(fd, *file, path, err));
out:
    if (status != LK_OK) {
        H5Fclose(*file);
        *file = H5I_INVALID_HID;
    }
    return status;
}

/* Opens an attribute of the root. The caller closes it. */
static lk_status open_attribute(hid_t *out, hid_t file, const char *name, const char *path, lk_error *err) {
    htri_t found = H5Aexists(file, name);
    if (found < 0) return lk_hdf5_fail("read", path, err);
    if (found == 0)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is not a data set (no attribute \"%s\"): give a file that lockstep pack wrote", path, name);
    *out = H5Aopen(file, name, H5P_DEFAULT);
    return *out < 0 ? lk_hdf5_fail("read", path, err) : LK_OK;
}

static bool is_scalar(hid_t attribute) {
    hid_t space = H5Aget_space(attribute);
    bool scalar = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) H5Sclose(space);
    return scalar;
}

lk_status lk_hdf5_get_text(char **text, hid_t file, const char *name, size_t limit, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    hid_t attribute = H5I_INVALID_HID, type = H5I_INVALID_HID;
    *text = NULL;
    LK_TRY(open_attribute(&attribute, file, name, path, err));
    type = H5Aget_type(attribute);
    if (type < 0 || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || !is_scalar(attribute) ||
        H5Tget_size(type) > limit) {
        status = lk_fail(err, LK_ERR_DATA, "%s is damaged: its attribute \"%s\" is not a short text; pack it again",
                         path, name);
        goto out;
    }
    LK_TRY(lk_alloc((void **)text, H5Tget_size(type) + 1, 1, "an attribute", err));
    if (H5Aread(attribute, type, *text) < 0) status = lk_hdf5_fail("read", path, err);
out:
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    if (status != LK_OK) {
        lk_free(*text);
        *text = NULL;
    }
    return status;
}

lk_status lk_hdf5_get_int(int64_t *out, hid_t file, const char *name, const char *path, lk_error *err) {
    lk_status status = LK_OK;
    hid_t attribute = H5I_INVALID_HID, type = H5I_INVALID_HID;
    LK_TRY(open_attribute(&attribute, file, name, path, err));
    type = H5Aget_type(attribute);
    if (type < 0 || H5Tget_class(type) != H5T_INTEGER || !is_scalar(attribute))
        status =
            lk_fail(err, LK_ERR_DATA, "%s is damaged: its attribute \"%s\" is not a number; pack it again", path, name);
    else if (H5Aread(attribute, H5T_NATIVE_INT64, out) < 0)
        status = lk_hdf5_fail("read", path, err);
out:
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return status;
}
