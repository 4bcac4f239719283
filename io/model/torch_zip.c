#include <stdio.h>
#include <string.h>
#include <zip.h>

#include "core/memory.h"
#include "io/model/torch_internal.h"

#define MAX_ENTRIES 200000
#define PICKLE_NAME "data.pkl"

static lk_status fail_zip(const lk_torch_archive *a, const char *what, const char *name, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s: %s '%.120s' of its zip archive: %s", a->path, what, name,
                   zip_strerror(a->zip));
}

/* The entry's size, which must be that of stored bytes inside the file. */
static lk_status check_entry(const lk_torch_archive *a, int64_t index, const char *name, int64_t *size, lk_error *err) {
    zip_stat_t info;
    const zip_uint64_t wanted = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(a->zip, (zip_uint64_t)index, 0, &info) != 0 || (info.valid & wanted) != wanted)
        return fail_zip(a, "cannot examine entry", name, err);
    if (info.comp_method != ZIP_CM_STORE || info.encryption_method != ZIP_EM_NONE || info.size != info.comp_size)
        return lk_fail(
            err, LK_ERR_DATA,
            "%s: entry '%.120s' of its zip archive is compressed or encrypted, which PyTorch never does; load "
            "and save it again with PyTorch",
            a->path, name);
    if (info.size > (zip_uint64_t)a->size)
        return lk_fail(err, LK_ERR_DATA, "%s: entry '%.120s' of its zip archive claims more bytes than the file has",
                       a->path, name);
    *size = (int64_t)info.size;
    return LK_OK;
}

static lk_status read_entry(const lk_torch_archive *a, int64_t index, const char *name, void *into, int64_t size,
                            lk_error *err) {
    zip_file_t *file = zip_fopen_index(a->zip, (zip_uint64_t)index, 0);
    if (file == NULL) return fail_zip(a, "cannot open entry", name, err);
    lk_status status = LK_OK;
    int64_t done = 0;
    char end;
    while (done < size) {
        int64_t got = zip_fread(file, (char *)into + done, (zip_uint64_t)(size - done));
        if (got <= 0) break;
        done += got;
    }
    /* The checksum is compared where the data end, so that end must be seen. */
    if (done != size || zip_fread(file, &end, 1) != 0)
        status = lk_fail(err, LK_ERR_DATA, "%s: entry '%.120s' of its zip archive is damaged: %s", a->path, name,
                         done == size ? "its checksum is wrong" : "it is truncated");
    zip_fclose(file);
    return status;
}

/* The archive's folder is the part of "FOLDER/data.pkl" before the slash. */
static lk_status find_pickle(lk_torch_archive *a, int64_t *index, lk_error *err) {
    int64_t count = zip_get_num_entries(a->zip, 0);
    if (count < 1 || count > MAX_ENTRIES)
        return lk_fail(err, LK_ERR_DATA, "%s: its zip archive has %lld entries; 1 to %d are read", a->path,
                       (long long)count, MAX_ENTRIES);
    *index = -1;
    for (int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(a->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const char *slash = name == NULL ? NULL : strchr(name, '/');
        if (slash == NULL || strcmp(slash + 1, PICKLE_NAME) != 0) continue;
        if (*index >= 0)
            return lk_fail(err, LK_ERR_DATA, "%s: its zip archive has two entries called " PICKLE_NAME, a->path);
        *index = i;
        lk_free(a->folder);
        LK_RETURN_IF(lk_strdup(&a->folder, name, err));
        a->folder[slash - name] = '\0';
    }
    if (*index < 0)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is a zip archive without FOLDER/" PICKLE_NAME ", so it is not from torch.save", a->path);
    return LK_OK;
}

/* Index of the entry FOLDER/NAME or -1. */
static int64_t find_entry(const lk_torch_archive *a, const char *name, char *full, size_t size) {
    snprintf(full, size, "%s/%s", a->folder, name);
    return zip_name_locate(a->zip, full, ZIP_FL_ENC_RAW);
}

static lk_status check_byte_order(const lk_torch_archive *a, lk_error *err) {
    char name[512], order[8] = "";
    int64_t size, index = find_entry(a, "byteorder", name, sizeof name);
    if (index < 0) return LK_OK; /* written before there was the entry: little */
    LK_RETURN_IF(check_entry(a, index, name, &size, err));
    if (size < (int64_t)sizeof order) LK_RETURN_IF(read_entry(a, index, name, order, size, err));
    if (strcmp(order, "little") == 0) return LK_OK;
    return lk_fail(err, LK_ERR_DATA, "%s was written with another byte order than little-endian", a->path);
}

lk_status lk_torch_zip_open(lk_torch_archive *a, lk_error *err) {
    int code = 0;
    int64_t index = -1, size = 0;
    a->zip = zip_open(a->path, ZIP_RDONLY, &code);
    if (a->zip == NULL) {
        zip_error_t reason;
        zip_error_init_with_code(&reason, code);
        lk_status status = lk_fail(err, LK_ERR_DATA, "%s does not open as a zip archive (%s): it may be truncated",
                                   a->path, zip_error_strerror(&reason));
        zip_error_fini(&reason);
        return status;
    }
    LK_RETURN_IF(find_pickle(a, &index, err));
    if (zip_name_locate(a->zip, "constants.pkl", ZIP_FL_NODIR) >= 0)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is a TorchScript archive, which holds a program: save 'model.state_dict()' instead",
                       a->path);
    LK_RETURN_IF(check_byte_order(a, err));
    LK_RETURN_IF(check_entry(a, index, PICKLE_NAME, &size, err));
    if ((size_t)size > LK_TORCH_MAX_PICKLE)
        return lk_fail(err, LK_ERR_DATA, "%s: its pickle has %lld bytes; a state dict's has at most %zu", a->path,
                       (long long)size, LK_TORCH_MAX_PICKLE);
    LK_RETURN_IF(LK_NEW(&a->head, size, "a pickle", err));
    a->head_size = (size_t)size;
    return read_entry(a, index, PICKLE_NAME, a->head, size, err);
}

lk_status lk_torch_zip_locate(lk_torch_archive *a, lk_torch_storage *storages, int count, lk_error *err) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) {
        lk_torch_storage *s = &storages[i];
        char name[512], relative[300];
        int64_t size;
        snprintf(relative, sizeof relative, "data/%s", s->key);
        s->place = find_entry(a, relative, name, sizeof name);
        if (s->place < 0)
            return lk_fail(err, LK_ERR_DATA, "%s: its zip archive lacks the entry '%.120s'", a->path, name);
        LK_RETURN_IF(check_entry(a, s->place, name, &size, err));
        if (size != lk_torch_storage_bytes(s))
            return lk_fail(err, LK_ERR_DATA,
                           "%s: entry '%.120s' of its zip archive has %lld bytes and its pickle says %lld", a->path,
                           name, (long long)size, (long long)lk_torch_storage_bytes(s));
        sum += size;
        /* Entries that overlap would make a small file large. */
        if (sum > a->size) return lk_fail(err, LK_ERR_DATA, "%s: the entries of its zip archive overlap", a->path);
    }
    return LK_OK;
}

lk_status lk_torch_zip_read(const lk_torch_archive *a, const lk_torch_storage *storage, void *into, lk_error *err) {
    char name[300];
    snprintf(name, sizeof name, "data/%s", storage->key);
    return read_entry(a, storage->place, name, into, lk_torch_storage_bytes(storage), err);
}

void lk_torch_zip_close(lk_torch_archive *a) {
    if (a->zip != NULL) zip_discard(a->zip);
    a->zip = NULL;
}
