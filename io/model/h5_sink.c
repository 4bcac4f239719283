#include "io/model/h5_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<H5FDdevelop.h>)
#include <H5FDdevelop.h>
#endif

#include "io/hdf5/quiet.h"
#include "io/model/atomic.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are written as they lie in memory");

typedef struct sink_file {
    H5FD_t base; /* HDF5's part, first */
    lk_h5_sink *sink;
    haddr_t end_allocated, end_written;
} sink_file;

typedef struct sink_info {
    lk_h5_sink *sink;
} sink_info;

static H5FD_t *sink_open(const char *name, unsigned flags, hid_t fapl, haddr_t max_address) {
    (void)name, (void)flags, (void)max_address;
    const sink_info *info = H5Pget_driver_info(fapl);
    sink_file *file = info == NULL ? NULL : calloc(1, sizeof *file);
    if (file == NULL) return NULL;
    file->sink = info->sink;
    return &file->base;
}

static herr_t sink_close(H5FD_t *base) {
    free(base);
    return 0;
}

static herr_t sink_query(const H5FD_t *base, unsigned long *flags) {
    (void)base;
    *flags = H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t sink_get_eoa(const H5FD_t *base, H5FD_mem_t type) {
    (void)type;
    return ((const sink_file *)base)->end_allocated;
}

static herr_t sink_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address) {
    (void)type;
    ((sink_file *)base)->end_allocated = address;
    return 0;
}

static haddr_t sink_get_eof(const H5FD_t *base, H5FD_mem_t type) {
    (void)type;
    return ((const sink_file *)base)->end_written;
}

static herr_t sink_read(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, void *buffer) {
    (void)type, (void)dxpl;
    const sink_file *file = (const sink_file *)base;
    memset(buffer, 0, size);
    if (address >= file->end_written) return 0;
    if (size > file->end_written - address) size = file->end_written - address;
    lk_status status = lk_read_at(file->sink->fd, buffer, size, (int64_t)address, file->sink->path, NULL);
    return status == LK_OK ? 0 : -1;
}

static herr_t sink_write(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, const void *buffer) {
    (void)type, (void)dxpl;
    sink_file *file = (sink_file *)base;
    lk_h5_sink *sink = file->sink;
    if (sink->code == 0) {
        errno = 0;
        if (lk_write_at(sink->fd, buffer, size, (int64_t)address, sink->path, NULL) != LK_OK)
            sink->code = errno != 0 ? errno : EIO;
    }
    if (address + size > file->end_written) file->end_written = address + size;
    return 0;
}

/* Space that was allocated but never written must exist in the file all the same. */
static herr_t sink_truncate(H5FD_t *base, hid_t dxpl, hbool_t closing) {
    (void)dxpl, (void)closing;
    sink_file *file = (sink_file *)base;
    if (file->end_written == file->end_allocated) return 0;
    if (file->sink->code == 0 && ftruncate(file->sink->fd, (off_t)file->end_allocated) != 0) file->sink->code = errno;
    file->end_written = file->end_allocated;
    return 0;
}

static const H5FD_class_t SINK_CLASS = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = 600, /* HDF5 leaves 512 to 65535 to applications */
#endif
    .name = "lockstep_sink",
    .maxaddr = (haddr_t)INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(sink_info),
    .open = sink_open,
    .close = sink_close,
    .query = sink_query,
    .get_eoa = sink_get_eoa,
    .set_eoa = sink_set_eoa,
    .get_eof = sink_get_eof,
    .read = sink_read,
    .write = sink_write,
    .truncate = sink_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

static lk_status fail_call(lk_h5_sink *sink, const char *call, const char *name, lk_error *err) {
    if (sink->code != 0) return lk_fail_write(err, sink->code, sink->path);
    return lk_fail(err, LK_ERR_INTERNAL, "%s refused '%s' while writing %s", call, name, sink->path);
}

lk_status lk_h5_start(lk_h5_sink *sink, int fd, const char *path, int64_t user_block, lk_error *err) {
    *sink = (lk_h5_sink){.fd = fd, .path = path, .file = H5I_INVALID_HID, .driver = H5I_INVALID_HID};
    lk_hdf5_quiet();
    sink_info info = {sink};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    sink->driver = H5FDregister(&SINK_CLASS);
    if (access >= 0 && creation >= 0 && sink->driver >= 0 && H5Pset_driver(access, sink->driver, &info) >= 0 &&
        H5Pset_userblock(creation, (hsize_t)user_block) >= 0)
        sink->file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    H5Pclose(access);
    H5Pclose(creation);
    return sink->file >= 0 ? LK_OK : fail_call(sink, "H5Fcreate", "/", err);
}

/* float16 and bfloat16 by their bit fields: HDF5 1.10 has no name for them. */
static hid_t make_half_type(size_t exponent_bits, size_t mantissa_bits) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0) return type;
    if (H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits) < 0 || H5Tset_precision(type, 16) < 0 ||
        H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, ((size_t)1 << (exponent_bits - 1)) - 1) < 0) {
        H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

static hid_t make_type(lk_dtype dtype) {
    switch (dtype) {
        case LK_F32: return H5Tcopy(H5T_IEEE_F32LE);
        case LK_F64: return H5Tcopy(H5T_IEEE_F64LE);
        case LK_BF16: return make_half_type(8, 7);
        case LK_F16: return make_half_type(5, 10);
        case LK_I64: return H5Tcopy(H5T_STD_I64LE);
        case LK_I32: return H5Tcopy(H5T_STD_I32LE);
        case LK_U8: return H5Tcopy(H5T_STD_U8LE);
        case LK_TF32:
        case LK_DTYPE_COUNT: break;
    }
    return H5I_INVALID_HID;
}

/* Takes over type and space. */
static lk_status write_data_set(lk_h5_sink *sink, const char *name, hid_t type, hid_t space, const void *data,
                                int64_t *offset, lk_error *err) {
    hid_t links = H5Pcreate(H5P_LINK_CREATE), creation = H5Pcreate(H5P_DATASET_CREATE), set = H5I_INVALID_HID;
    lk_status status = LK_OK;
    if (type < 0 || space < 0 || H5Pset_create_intermediate_group(links, 1) < 0 ||
        H5Pset_obj_track_times(creation, 0) < 0 || H5Pset_layout(creation, H5D_CONTIGUOUS) < 0)
        status = fail_call(sink, "H5Pcreate", name, err);
    if (status == LK_OK) {
        set = H5Dcreate2(sink->file, name, type, space, links, creation, H5P_DEFAULT);
        if (set < 0) status = fail_call(sink, "H5Dcreate2", name, err);
    }
    bool empty = space >= 0 && H5Sget_simple_extent_npoints(space) == 0;
    if (status == LK_OK && !empty && H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        status = fail_call(sink, "H5Dwrite", name, err);
    if (status == LK_OK && offset != NULL) {
        haddr_t address = empty ? 0 : H5Dget_offset(set);
        if (address == HADDR_UNDEF) status = fail_call(sink, "H5Dget_offset", name, err);
        *offset = (int64_t)address;
    }
    if (set >= 0 && H5Dclose(set) < 0 && status == LK_OK) status = fail_call(sink, "H5Dclose", name, err);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    H5Pclose(links);
    H5Pclose(creation);
    return status;
}

lk_status lk_h5_tensor(lk_h5_sink *sink, const char *name, const lk_tensor *tensor, int64_t *offset, lk_error *err) {
    hsize_t dims[LK_MAX_DIMS] = {0};
    for (int i = 0; i < tensor->shape.rank; i++) dims[i] = (hsize_t)tensor->shape.dims[i];
    hid_t space = tensor->shape.rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(tensor->shape.rank, dims, NULL);
    return write_data_set(sink, name, make_type(tensor->dtype), space, tensor->data, offset, err);
}

static hid_t make_string_type(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, size) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

lk_status lk_h5_text(lk_h5_sink *sink, const char *name, const char *text, int64_t *offset, lk_error *err) {
    return write_data_set(sink, name, make_string_type(strlen(text) + 1), H5Screate(H5S_SCALAR), text, offset, err);
}

lk_status lk_h5_strings(lk_h5_sink *sink, const char *name, const char *const *texts, int count, lk_error *err) {
    hsize_t dims[1] = {(hsize_t)count};
    return write_data_set(sink, name, make_string_type(H5T_VARIABLE), H5Screate_simple(1, dims, NULL), texts, NULL,
                          err);
}

lk_status lk_h5_finish(lk_h5_sink *sink, lk_error *err) {
    bool closed = sink->file < 0 || H5Fclose(sink->file) >= 0;
    if (sink->driver >= 0) H5FDunregister(sink->driver);
    if (sink->code != 0) return lk_fail_write(err, sink->code, sink->path);
    if (!closed) return lk_fail(err, LK_ERR_INTERNAL, "H5Fclose failed while writing %s", sink->path);
    return LK_OK;
}
