#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/model/torch_internal.h"

/* Low eight bytes of the magic number 0x1950a86a20f9469cfc6c, and the protocol. Source: torch.serialization. */
#define MAGIC INT64_C(-6311195672802689940)
#define PROTOCOL 1001

static lk_status read_bytes(const lk_torch_archive *a, void *into, int64_t bytes, int64_t offset, lk_error *err) {
    for (int64_t done = 0; done < bytes;) {
        ssize_t got = pread(a->fd, (char *)into + done, (size_t)(bytes - done), offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lk_fail_errno(err, "read", a->path);
        if (got == 0) return lk_fail(err, LK_ERR_DATA, "%s is truncated", a->path);
        done += got;
    }
    return LK_OK;
}

/* Reads the next pickle of the front matter; *root: its value's number where it is one. */
static lk_status skip_pickle(lk_torch_archive *a, lk_pickle *pickle, lk_error *err) {
    LK_RETURN_IF(lk_pickle_parse(pickle, a->head + a->pickle_at, a->head_size - a->pickle_at, a->path, err));
    a->pickle_at += pickle->size;
    return LK_OK;
}

static lk_status expect_number(lk_torch_archive *a, int64_t wanted, lk_error *err) {
    lk_pickle pickle;
    lk_status status = skip_pickle(a, &pickle, err);
    if (status == LK_OK &&
        (pickle.values[pickle.root].kind != LK_PICKLE_INT || pickle.values[pickle.root].integer != wanted))
        status = lk_fail(err, LK_ERR_DATA, "%s is not a file of torch.save of a version that is known", a->path);
    lk_pickle_free(&pickle);
    return status;
}

/* {protocol_version: 1001, little_endian: True, type_sizes: {...}}. */
static lk_status check_system(lk_torch_archive *a, lk_error *err) {
    lk_pickle pickle;
    lk_status status = skip_pickle(a, &pickle, err);
    int32_t little = status == LK_OK ? lk_pickle_lookup(&pickle, pickle.root, "little_endian") : -1;
    if (status == LK_OK &&
        (little < 0 || pickle.values[little].kind != LK_PICKLE_BOOL || pickle.values[little].integer != 1))
        status = lk_fail(err, LK_ERR_DATA, "%s was written with another byte order than little-endian", a->path);
    lk_pickle_free(&pickle);
    return status;
}

lk_status lk_torch_stream_open(lk_torch_archive *a, lk_error *err) {
    a->fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (a->fd < 0) return lk_fail_errno(err, "open", a->path);
    a->head_size = (uint64_t)a->size < LK_TORCH_MAX_PICKLE ? (size_t)a->size : LK_TORCH_MAX_PICKLE;
    LK_RETURN_IF(LK_NEW(&a->head, a->head_size, "a pickle", err));
    LK_RETURN_IF(read_bytes(a, a->head, (int64_t)a->head_size, 0, err));
    LK_RETURN_IF(expect_number(a, MAGIC, err));
    LK_RETURN_IF(expect_number(a, PROTOCOL, err));
    return check_system(a, err);
}

/* Behind the state dict: a list of the storages' keys, then for each its number of elements (int64) and its bytes. */
static lk_status locate(lk_torch_archive *a, lk_torch_storage *storages, int count, const lk_pickle *keys, size_t at,
                        lk_error *err) {
    const lk_pickle_value *list = &keys->values[keys->root];
    int64_t place = (int64_t)at;
    if (list->kind != LK_PICKLE_LIST || list->count != count)
        return lk_fail(err, LK_ERR_DATA, "%s: its list of storages is not that of its pickle", a->path);
    for (int32_t item = list->head; item >= 0; item = keys->items[item].next) {
        const lk_pickle_value *key = &keys->values[keys->items[item].value];
        const lk_torch_storage *found =
            key->kind == LK_PICKLE_TEXT ? lk_torch_find_storage(storages, count, key->text, key->length) : NULL;
        if (found == NULL || found->place != 0)
            return lk_fail(err, LK_ERR_DATA, "%s: its list of storages is not that of its pickle", a->path);
        int64_t elements, bytes = lk_torch_storage_bytes(found);
        LK_RETURN_IF(read_bytes(a, &elements, sizeof elements, place, err));
        place += (int64_t)sizeof elements;
        if (elements != found->count || bytes > a->size - place)
            return lk_fail(err, LK_ERR_DATA,
                           "%s: storage '%.100s' has another size than its pickle says: the file may be truncated",
                           a->path, found->key);
        storages[found - storages].place = place;
        place += bytes;
    }
    return LK_OK;
}

lk_status lk_torch_stream_locate(lk_torch_archive *a, lk_torch_storage *storages, int count, size_t pickle_end,
                                 lk_error *err) {
    lk_pickle keys;
    a->pickle_at = pickle_end;
    lk_status status = skip_pickle(a, &keys, err);
    if (status == LK_OK) status = locate(a, storages, count, &keys, a->pickle_at, err);
    lk_pickle_free(&keys);
    return status;
}

lk_status lk_torch_stream_read(const lk_torch_archive *a, const lk_torch_storage *storage, void *into, lk_error *err) {
    return read_bytes(a, into, lk_torch_storage_bytes(storage), storage->place, err);
}

void lk_torch_stream_close(lk_torch_archive *a) {
    if (a->fd >= 0) close(a->fd);
    a->fd = -1;
}
