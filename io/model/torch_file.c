#include "io/model/torch_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "io/model/torch_internal.h"

struct lk_torch_file {
    char *path;
    lk_torch_archive archive;
    lk_pickle pickle;
    lk_torch_storage *storages;
    lk_torch_view *views;
    int storage_count, view_count;
    const char *key; /* static */
};

static bool is_zip(const uint8_t *head, size_t size) { return size >= 4 && memcmp(head, "PK\3\4", 4) == 0; }

/* A pickle of PyTorch's magic number, ten bytes long; protocols from 4 on put it into a frame. */
static bool is_stream(const uint8_t *head, size_t size) {
    static const uint8_t number[] = {0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46};
    size_t at = size > 2 && head[2] == 0x95 ? 11 : 2;
    return size >= at + sizeof number && head[0] == 0x80 && memcmp(head + at, number, sizeof number) == 0;
}

bool lk_torch_is_file(const uint8_t *head, size_t size) { return is_zip(head, size) || is_stream(head, size); }

static lk_status open_archive(lk_torch_archive *a, lk_error *err) {
    struct stat info;
    uint8_t head[LK_TORCH_HEAD] = {0};
    if (stat(a->path, &info) != 0) return lk_fail_errno(err, "open", a->path);
    if (!S_ISREG(info.st_mode)) return lk_fail(err, LK_ERR_DATA, "%s is not a file", a->path);
    a->size = info.st_size;
    FILE *file = fopen(a->path, "rbe");
    if (file == NULL) return lk_fail_errno(err, "open", a->path);
    size_t size = fread(head, 1, sizeof head, file);
    fclose(file);
    if (is_zip(head, size)) return lk_torch_zip_open(a, err);
    if (is_stream(head, size)) return lk_torch_stream_open(a, err);
    return lk_fail(err, LK_ERR_DATA, "%s is not a file of torch.save: neither a zip archive nor PyTorch's older form",
                   a->path);
}

static lk_status read_contents(lk_torch_file *f, lk_error *err) {
    lk_torch_archive *a = &f->archive;
    size_t begin = a->pickle_at;
    LK_RETURN_IF(lk_pickle_parse(&f->pickle, a->head + begin, a->head_size - begin, a->path, err));
    LK_RETURN_IF(lk_torch_list_storages(&f->storages, &f->storage_count, &f->pickle, a->path, err));
    if (a->zip != NULL)
        LK_RETURN_IF(lk_torch_zip_locate(a, f->storages, f->storage_count, err));
    else
        LK_RETURN_IF(lk_torch_stream_locate(a, f->storages, f->storage_count, begin + f->pickle.size, err));
    return lk_torch_list_views(&f->views, &f->view_count, &f->key, &f->pickle, f->storages, f->storage_count, a->path,
                               err);
}

lk_status lk_torch_file_open(lk_torch_file **out, const char *path, lk_error *err) {
    lk_torch_file *f = NULL;
    lk_status status = LK_OK;
    *out = NULL;
    LK_RETURN_IF(LK_NEW(&f, 1, "a file of torch.save", err));
    f->archive.fd = -1;
    LK_TRY(lk_strdup(&f->path, path, err));
    f->archive.path = f->path;
    LK_TRY(open_archive(&f->archive, err));
    LK_TRY(read_contents(f, err));
    *out = f;
    f = NULL;
out:
    lk_torch_file_free(f);
    return status;
}

void lk_torch_file_free(lk_torch_file *f) {
    if (f == NULL) return;
    lk_torch_zip_close(&f->archive);
    lk_torch_stream_close(&f->archive);
    for (int i = 0; i < f->storage_count; i++) lk_free(f->storages[i].key);
    for (int i = 0; i < f->view_count; i++) lk_free((char *)f->views[i].tensor.name);
    lk_free(f->storages);
    lk_free(f->views);
    lk_pickle_free(&f->pickle);
    lk_free(f->archive.head);
    lk_free(f->archive.folder);
    lk_free(f->path);
    lk_free(f);
}

int lk_torch_file_count(const lk_torch_file *f) { return f->view_count; }

const lk_named_tensor *lk_torch_file_get(const lk_torch_file *f, int i) { return &f->views[i].tensor; }

const char *lk_torch_file_key(const lk_torch_file *f) { return f->key; }

/* Gathers a view's elements in row-major order. */
static void gather(const lk_torch_view *view, const char *from, char *into) {
    const lk_shape *shape = &view->tensor.tensor.shape;
    size_t size = lk_dtype_size(view->tensor.tensor.dtype);
    int64_t index[LK_MAX_DIMS] = {0}, at = view->offset, count = lk_shape_count(shape);
    for (int64_t i = 0; i < count; i++) {
        memcpy(into + (size_t)i * size, from + (size_t)at * size, size);
        for (int d = shape->rank - 1; d >= 0; d--) {
            at += view->strides[d];
            if (++index[d] < shape->dims[d]) break;
            at -= view->strides[d] * shape->dims[d];
            index[d] = 0;
        }
    }
}

lk_status lk_torch_file_read(const lk_torch_file *f, int i, void *into, lk_error *err) {
    const lk_torch_view *view = &f->views[i];
    const lk_torch_storage *storage = &f->storages[view->storage];
    char *bytes = NULL;
    LK_RETURN_IF(lk_alloc((void **)&bytes, (size_t)storage->count, lk_dtype_size(storage->dtype), "a storage", err));
    lk_status status = f->archive.zip != NULL ? lk_torch_zip_read(&f->archive, storage, bytes, err)
                                              : lk_torch_stream_read(&f->archive, storage, bytes, err);
    if (status == LK_OK) gather(view, bytes, into);
    lk_free(bytes);
    return status;
}
