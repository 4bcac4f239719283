/* Inside io/model: the parts of reading PyTorch's files. */
#ifndef LK_IO_MODEL_TORCH_INTERNAL_H
#define LK_IO_MODEL_TORCH_INTERNAL_H

#include "io/model/pickle.h"
#include "io/model/torch_file.h"

#define LK_TORCH_MAX_PICKLE ((size_t)16 << 20) /* bytes; the pickle of a large model's state dict has 200 kB */
#define LK_TORCH_MAX_STORAGES (1 << 20)

/* One storage: a row of elements that tensors are views of. */
typedef struct lk_torch_storage {
    char *key;
    lk_dtype dtype;
    int64_t count; /* elements */
    int64_t place; /* zip: index of the entry; stream: offset of the first element in the file */
} lk_torch_storage;

/* Where pickle and storages come from. */
typedef struct lk_torch_archive {
    const char *path; /* borrowed */
    int fd;           /* of the stream form; -1 */
    void *zip;        /* zip_t of the zip form; NULL */
    int64_t size;     /* of the file */
    uint8_t *head;    /* bytes that hold the pickles */
    size_t head_size;
    size_t pickle_at; /* where the state dict's pickle begins in head */
    char *folder;     /* zip: what stands before "data.pkl" in its name */
} lk_torch_archive;

/* Opens and finds the pickle. On failure too the caller closes. Errors: LK_ERR_IO, LK_ERR_DATA, LK_ERR_MEMORY. */
LK_MUST_CHECK lk_status lk_torch_zip_open(lk_torch_archive *archive, lk_error *err);
LK_MUST_CHECK lk_status lk_torch_stream_open(lk_torch_archive *archive, lk_error *err);

/* Finds the storages (sorted by key), checking that the file holds all their bytes. pickle_end: where the state dict's
 * pickle ends in head. Errors: LK_ERR_DATA. */
LK_MUST_CHECK lk_status lk_torch_zip_locate(lk_torch_archive *archive, lk_torch_storage *storages, int count,
                                            lk_error *err);
LK_MUST_CHECK lk_status lk_torch_stream_locate(lk_torch_archive *archive, lk_torch_storage *storages, int count,
                                               size_t pickle_end, lk_error *err);

/* All bytes of a storage into `into`. */
LK_MUST_CHECK lk_status lk_torch_zip_read(const lk_torch_archive *archive, const lk_torch_storage *storage, void *into,
                                          lk_error *err);
LK_MUST_CHECK lk_status lk_torch_stream_read(const lk_torch_archive *archive, const lk_torch_storage *storage,
                                             void *into, lk_error *err);
void lk_torch_zip_close(lk_torch_archive *archive);
void lk_torch_stream_close(lk_torch_archive *archive);

static inline int64_t lk_torch_storage_bytes(const lk_torch_storage *storage) {
    return storage->count * (int64_t)lk_dtype_size(storage->dtype);
}

/* The storage called `key` among those sorted by key, or NULL. */
const lk_torch_storage *lk_torch_find_storage(const lk_torch_storage *storages, int count, const char *key,
                                              size_t key_length);

/* A tensor of the state dict: a view of one storage. */
typedef struct lk_torch_view {
    lk_named_tensor tensor; /* name owned */
    int storage;
    int64_t offset, strides[LK_MAX_DIMS]; /* elements */
} lk_torch_view;

/* torch_state.c: what a pickle says, checked. */
/* All storages that the pickle names, sorted by key. Owner: the caller, each key and the list with lk_free. */
LK_MUST_CHECK lk_status lk_torch_list_storages(lk_torch_storage **out, int *count, const lk_pickle *pickle,
                                               const char *path, lk_error *err);
/* The state dict's tensors, sorted by name; *key: where it was found, static. Owner: as above. */
LK_MUST_CHECK lk_status lk_torch_list_views(lk_torch_view **out, int *count, const char **key, const lk_pickle *pickle,
                                            const lk_torch_storage *storages, int storage_count, const char *path,
                                            lk_error *err);

#endif
