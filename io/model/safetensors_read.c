#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/model/safetensors.h"

#define MAX_HEADER (UINT64_C(100) << 20) /* bytes; the format's own limit */
#define MAX_TENSORS 100000

typedef struct entry {
    lk_named_tensor tensor;
    int64_t begin, end; /* in the data part */
} entry;

struct lk_safetensors {
    char *path;
    const unsigned char *bytes; /* the mapped file */
    size_t size;
    json_t *header; /* owns names and metadata */
    entry *entries;
    int count;
};

static lk_status fail_entry(const lk_safetensors *f, const char *name, const char *reason, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s is not a valid safetensors file: '%.100s' %s", f->path, name, reason);
}

static bool parse_dtype(lk_dtype *out, const char *code) {
    static const struct {
        const char *code;
        lk_dtype dtype;
    } codes[] = {{"F32", LK_F32}, {"F64", LK_F64}, {"BF16", LK_BF16}, {"F16", LK_F16},
                 {"I64", LK_I64}, {"I32", LK_I32}, {"U8", LK_U8}};
    for (size_t i = 0; code != NULL && i < sizeof codes / sizeof codes[0]; i++) {
        if (strcmp(code, codes[i].code) != 0) continue;
        *out = codes[i].dtype;
        return true;
    }
    return false;
}

static lk_status parse_tensor(entry *e, const char *name, const json_t *json, const lk_safetensors *f,
                              int64_t data_bytes, lk_error *err) {
    lk_tensor *tensor = &e->tensor.tensor;
    e->tensor.name = name;
    if (!parse_dtype(&tensor->dtype, json_string_value(json_object_get(json, "dtype"))))
        return fail_entry(f, name, "has an unknown dtype", err);
    const json_t *shape = json_object_get(json, "shape"), *offsets = json_object_get(json, "data_offsets");
    if (!json_is_array(shape) || json_array_size(shape) > LK_MAX_DIMS)
        return fail_entry(f, name, "has no shape of at most 6 dimensions", err);
    tensor->shape.rank = (int)json_array_size(shape);
    for (int d = 0; d < tensor->shape.rank; d++) {
        const json_t *dim = json_array_get(shape, (size_t)d);
        if (!json_is_integer(dim)) return fail_entry(f, name, "has a dimension that is not a whole number", err);
        tensor->shape.dims[d] = json_integer_value(dim);
    }
    int64_t elements;
    if (lk_shape_count_checked(&elements, &tensor->shape, NULL) != LK_OK || elements > data_bytes)
        return fail_entry(f, name, "has a shape that does not fit into the file", err);
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return fail_entry(f, name, "has no pair of data_offsets", err);
    e->begin = json_integer_value(begin);
    e->end = json_integer_value(end);
    if (e->begin < 0 || e->begin > e->end || e->end > data_bytes)
        return fail_entry(f, name, "lies outside the file", err);
    if (e->end - e->begin != elements * (int64_t)lk_dtype_size(tensor->dtype))
        return fail_entry(f, name, "has another size than its shape", err);
    return LK_OK;
}

static int compare_begin(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static int compare_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->tensor.name, ((const entry *)b)->tensor.name);
}

static lk_status check_metadata(const lk_safetensors *f, json_t *metadata, lk_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return fail_entry(f, "__metadata__", "is no mapping", err);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) return fail_entry(f, key, "in __metadata__ is no text", err);
    }
    return LK_OK;
}

static lk_status parse_entries(lk_safetensors *f, size_t header_end, lk_error *err) {
    int64_t data_bytes = (int64_t)(f->size - header_end);
    size_t room = json_object_size(f->header);
    if (room > MAX_TENSORS) return fail_entry(f, "header", "names too many tensors", err);
    LK_RETURN_IF(LK_NEW(&f->entries, room, "the names of tensors", err));
    const char *name;
    json_t *value;
    json_object_foreach(f->header, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            LK_RETURN_IF(check_metadata(f, value, err));
        } else {
            LK_RETURN_IF(parse_tensor(&f->entries[f->count], name, value, f, data_bytes, err));
            f->count++;
        }
    }
    qsort(f->entries, (size_t)f->count, sizeof *f->entries, compare_begin);
    int64_t at = 0;
    for (int i = 0; i < f->count; i++) {
        entry *e = &f->entries[i];
        if (e->begin != at)
            return fail_entry(f, e->tensor.name, e->begin < at ? "overlaps another tensor" : "leaves a gap before it",
                              err);
        at = e->end;
        /* Read-only memory: the view's type has no const, its users do not write. */
        e->tensor.tensor.data = (void *)(uintptr_t)(f->bytes + header_end + e->begin);
    }
    if (at != data_bytes) return fail_entry(f, "data", "goes on after the last tensor", err);
    qsort(f->entries, (size_t)f->count, sizeof *f->entries, compare_name);
    return LK_OK;
}

static lk_status map_file(lk_safetensors *f, lk_error *err) {
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return lk_fail_errno(err, "open", f->path);
    struct stat info;
    lk_status status = LK_OK;
    if (fstat(fd, &info) != 0) {
        status = lk_fail_errno(err, "examine", f->path);
    } else if (!S_ISREG(info.st_mode) || info.st_size < 10) {
        status = lk_fail(err, LK_ERR_DATA, "%s is not a safetensors file: it has no header", f->path);
    } else {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            status = lk_fail_errno(err, "map", f->path);
        } else {
            f->bytes = bytes;
            f->size = (size_t)info.st_size;
        }
    }
    close(fd);
    return status;
}

static lk_status parse_file(lk_safetensors *f, lk_error *err) {
    uint64_t length = 0;
    for (int i = 0; i < 8; i++) length |= (uint64_t)f->bytes[i] << (8 * i);
    if (length < 2 || length > MAX_HEADER || length > f->size - 8 || f->bytes[8] != '{')
        return lk_fail(err, LK_ERR_DATA,
                       "%s is not a valid safetensors file: its header of %llu bytes does not fit or does not begin "
                       "with '{'; it may be truncated",
                       f->path, (unsigned long long)length);
    json_error_t reason;
    f->header = json_loadb((const char *)f->bytes + 8, length, JSON_REJECT_DUPLICATES, &reason);
    if (f->header == NULL)
        return lk_fail(err, LK_ERR_DATA, "%s is not a valid safetensors file: its header does not parse: %s", f->path,
                       reason.text);
    return parse_entries(f, 8 + (size_t)length, err);
}

lk_status lk_safetensors_open(lk_safetensors **out, const char *path, lk_error *err) {
    *out = NULL;
    lk_safetensors *f = NULL;
    LK_RETURN_IF(LK_NEW(&f, 1, "a safetensors file", err));
    lk_status status = LK_OK;
    LK_TRY(lk_strdup(&f->path, path, err));
    LK_TRY(map_file(f, err));
    LK_TRY(parse_file(f, err));
    *out = f;
    f = NULL;
out:
    lk_safetensors_free(f);
    return status;
}

void lk_safetensors_free(lk_safetensors *f) {
    if (f == NULL) return;
    json_decref(f->header);
    if (f->bytes != NULL) munmap((void *)(uintptr_t)f->bytes, f->size);
    lk_free(f->entries);
    lk_free(f->path);
    lk_free(f);
}

int lk_safetensors_count(const lk_safetensors *f) { return f->count; }

const lk_named_tensor *lk_safetensors_get(const lk_safetensors *f, int i) { return &f->entries[i].tensor; }

const char *lk_safetensors_metadata(const lk_safetensors *f, const char *name) {
    return json_string_value(json_object_get(json_object_get(f->header, "__metadata__"), name));
}
