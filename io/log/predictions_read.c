#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/hdf5/quiet.h"
#include "io/log/predictions.h"

typedef struct reader {
    hid_t file;
    int64_t bytes; /* of the file: nothing in it is larger */
    const char *path, *group;
} reader;

static lk_status fail_damaged(const reader *r, const char *name, const char *reason, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s is damaged: /%s/%s %s; run the training's last part again with --resume",
                   r->path, r->group, name, reason);
}

/* Every step of the path must be a hard link: others could lead out of the file. */
static lk_status find(const reader *r, const char *name, bool *exists, lk_error *err) {
    char path[256];
    *exists = false;
    if (snprintf(path, sizeof path, "%s/%s", r->group, name) >= (int)sizeof path)
        return lk_fail(err, LK_ERR_INTERNAL, "the group name %s is too long", r->group);
    for (char *slash = path;;) {
        slash = strchr(slash, '/');
        if (slash != NULL) *slash = '\0';
        H5L_info_t info;
        if (H5Lexists(r->file, path, H5P_DEFAULT) <= 0) return LK_OK;
        if (H5Lget_info(r->file, path, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
            return fail_damaged(r, name, "is a link, which predictions never use", err);
        if (slash == NULL) break;
        *slash++ = '/';
    }
    *exists = true;
    return LK_OK;
}

static bool is_plain(hid_t set) {
    hid_t create = H5Dget_create_plist(set);
    bool plain = create >= 0 && H5Pget_layout(create) == H5D_CONTIGUOUS && H5Pget_external_count(create) == 0 &&
                 H5Pget_nfilters(create) == 0;
    if (create >= 0) H5Pclose(create);
    return plain;
}

/* Reads a whole array of `type`. rank 1 or 2; *columns is 1 for rank 1. */
static lk_status read_array(const reader *r, const char *name, hid_t type, int rank, void **out, int64_t *rows,
                            int64_t *columns, lk_error *err) {
    lk_status status = LK_OK;
    char path[256];
    bool exists;
    hsize_t dims[2] = {0, 1};
    hid_t set = H5I_INVALID_HID, stored = H5I_INVALID_HID, space = H5I_INVALID_HID;
    size_t size = H5Tget_size(type);
    LK_RETURN_IF(find(r, name, &exists, err));
    if (!exists) return fail_damaged(r, name, "is missing", err);
    snprintf(path, sizeof path, "%s/%s", r->group, name);
    set = H5Oopen(r->file, path, H5P_DEFAULT);
    if (set < 0 || H5Iget_type(set) != H5I_DATASET || !is_plain(set)) {
        status = fail_damaged(r, name, "is not a plain array", err);
        goto out;
    }
    stored = H5Dget_type(set);
    space = H5Dget_space(set);
    if (H5Tequal(stored, type) <= 0 || H5Sget_simple_extent_ndims(space) != rank ||
        H5Sget_simple_extent_dims(space, dims, NULL) != rank) {
        status = fail_damaged(r, name, "has another type or shape", err);
        goto out;
    }
    if (dims[0] == 0 || dims[1] == 0 || dims[0] > (hsize_t)r->bytes / size ||
        dims[1] > (hsize_t)r->bytes / size / dims[0]) {
        status = fail_damaged(r, name, "has a size that the file cannot hold", err);
        goto out;
    }
    LK_TRY(lk_alloc(out, (size_t)(dims[0] * dims[1]), size, "predictions", err));
    if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *out) < 0)
        status = fail_damaged(r, name, "cannot be read", err);
    *rows = (int64_t)dims[0];
    *columns = (int64_t)dims[1];
out:
    if (space >= 0) H5Sclose(space);
    if (stored >= 0) H5Tclose(stored);
    if (set >= 0) H5Oclose(set);
    return status;
}

static lk_status read_group(const reader *r, lk_prediction_set *out, lk_error *err) {
    int64_t labels, rows, columns, one;
    LK_RETURN_IF(read_array(r, "sample", H5T_STD_I64LE, 1, (void **)&out->samples, &out->count, &one, err));
    LK_RETURN_IF(read_array(r, "label", H5T_STD_I32LE, 1, (void **)&out->labels, &labels, &one, err));
    LK_RETURN_IF(read_array(r, "logits", H5T_IEEE_F32LE, 2, (void **)&out->logits, &rows, &columns, err));
    if (labels != out->count || rows != out->count || columns > INT32_MAX)
        return fail_damaged(r, "logits", "does not have one row a sample", err);
    out->classes = (int)columns;
    for (int64_t i = 0; i < out->count; i++)
        if (out->labels[i] < 0 || out->labels[i] >= out->classes)
            return fail_damaged(r, "label", "names a class that there is not", err);
    return LK_OK;
}

lk_status lk_predictions_read(lk_prediction_set *out, const char *path, const char *group, lk_error *err) {
    struct stat info;
    reader r = {.path = path, .group = group};
    bool exists = false;
    memset(out, 0, sizeof *out);
    if (stat(path, &info) != 0) return lk_fail_errno(err, "read", path);
    r.bytes = info.st_size;
    lk_hdf5_quiet();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    r.file = H5Pset_file_locking(access, false, true) < 0 ? H5I_INVALID_HID : H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (r.file < 0)
        return lk_fail(err, LK_ERR_DATA, "%s is not a predictions file, or it is truncated or damaged", path);
    lk_status status = find(&r, "sample", &exists, err);
    if (status == LK_OK && exists) status = read_group(&r, out, err);
    H5Fclose(r.file);
    if (status != LK_OK) lk_prediction_set_free(out);
    return status;
}

void lk_prediction_set_free(lk_prediction_set *set) {
    if (set == NULL) return;
    lk_free(set->samples);
    lk_free(set->labels);
    lk_free(set->logits);
    memset(set, 0, sizeof *set);
}
