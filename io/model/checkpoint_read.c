/* Reads checkpoints by their index and byte ranges. No byte reaches the HDF5 library, whose parser is not made for
 * hostile files; what the index says is checked against the size of the file before anything is allocated. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/model/atomic.h"
#include "io/model/checkpoint_format.h"

typedef struct entry {
    lk_named_tensor tensor; /* first: entries are handed out as named tensors */
    int64_t offset;
} entry;

struct lk_checkpoint {
    char *path;
    int fd;
    int64_t size; /* bytes of the file */
    entry *entries;
    int count;
    lk_named_text *texts;
    int text_count;
};

static lk_status fail_index(const lk_checkpoint *c, const char *name, const char *reason, lk_error *err) {
    return lk_fail(err, LK_ERR_DATA, "%s is not a valid checkpoint: in its index, '%.100s' %s", c->path, name, reason);
}

static bool range_inside(const lk_checkpoint *c, int64_t offset, int64_t length) {
    return offset >= LK_CHECKPOINT_BLOCK && offset <= c->size && length >= 0 && length <= c->size - offset;
}

static lk_status parse_shape(lk_shape *shape, const json_t *dims, const lk_checkpoint *c, const char *name,
                             lk_error *err) {
    if (!json_is_array(dims) || json_array_size(dims) > LK_MAX_DIMS)
        return fail_index(c, name, "has no shape of at most 6 dimensions", err);
    shape->rank = (int)json_array_size(dims);
    for (int d = 0; d < shape->rank; d++) {
        const json_t *dim = json_array_get(dims, (size_t)d);
        if (!json_is_integer(dim)) return fail_index(c, name, "has a dimension that is not a whole number", err);
        shape->dims[d] = json_integer_value(dim);
    }
    return LK_OK;
}

static lk_status parse_tensor(entry *e, const json_t *json, const lk_checkpoint *c, lk_error *err) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const char *dtype = json_string_value(json_object_get(json, "dtype"));
    if (name == NULL || name[0] != '/' || strlen(name) > LK_CHECKPOINT_MAX_NAME)
        return fail_index(c, name == NULL ? "" : name, "is not a tensor's name", err);
    int type = 0;
    while (type < LK_DTYPE_COUNT && (dtype == NULL || strcmp(dtype, lk_dtype_name((lk_dtype)type)) != 0)) type++;
    if (type == LK_DTYPE_COUNT) return fail_index(c, name, "has an unknown data type", err);
    e->tensor.tensor.dtype = (lk_dtype)type;
    LK_RETURN_IF(parse_shape(&e->tensor.tensor.shape, json_object_get(json, "shape"), c, name, err));
    int64_t elements;
    if (lk_shape_count_checked(&elements, &e->tensor.tensor.shape, NULL) != LK_OK || elements > c->size)
        return fail_index(c, name, "has a shape that does not fit into the file", err);
    const json_t *offset = json_object_get(json, "offset");
    e->offset = json_is_integer(offset) ? json_integer_value(offset) : -1;
    if (elements > 0 && !range_inside(c, e->offset, elements * (int64_t)lk_dtype_size((lk_dtype)type)))
        return fail_index(c, name, "lies outside the file", err);
    return lk_strdup((char **)&e->tensor.name, name, err);
}

/* *budget: bytes of text that may still be allocated, so that many entries for one range cannot exhaust memory. */
static lk_status parse_text(lk_named_text *out, const json_t *json, const lk_checkpoint *c, int64_t *budget,
                            lk_error *err) {
    const char *name = json_string_value(json_object_get(json, "name"));
    const json_t *offset = json_object_get(json, "offset"), *length = json_object_get(json, "length");
    if (name == NULL || strlen(name) > LK_CHECKPOINT_MAX_NAME) return fail_index(c, "", "is not a text's name", err);
    int64_t bytes = json_integer_value(length);
    if (!json_is_integer(offset) || !json_is_integer(length) || !range_inside(c, json_integer_value(offset), bytes) ||
        bytes > *budget)
        return fail_index(c, name, "lies outside the file", err);
    *budget -= bytes;
    char *text = NULL;
    LK_RETURN_IF(LK_NEW(&text, bytes + 1, "a text of a checkpoint", err));
    out->text = text;
    LK_RETURN_IF(lk_read_at(c->fd, text, (size_t)bytes, json_integer_value(offset), c->path, err));
    if (strlen(text) != (size_t)bytes) return fail_index(c, name, "is a text with a zero byte inside", err);
    return lk_strdup((char **)&out->name, name, err);
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const entry *)a)->tensor.name, ((const entry *)b)->tensor.name);
}

static lk_status parse_index(lk_checkpoint *c, const json_t *index, lk_error *err) {
    const json_t *tensors = json_object_get(index, "tensors"), *texts = json_object_get(index, "texts");
    size_t tensor_count = json_array_size(tensors), text_count = json_array_size(texts);
    if (!json_is_array(tensors) || !json_is_array(texts) || tensor_count > LK_CHECKPOINT_MAX_TENSORS ||
        text_count > LK_CHECKPOINT_MAX_TEXTS)
        return fail_index(c, "tensors", "or 'texts' is missing or too long", err);
    LK_RETURN_IF(LK_NEW(&c->entries, tensor_count, "a checkpoint's index", err));
    LK_RETURN_IF(LK_NEW(&c->texts, text_count, "a checkpoint's index", err));
    for (size_t i = 0; i < tensor_count; i++) {
        c->count = (int)i + 1;
        LK_RETURN_IF(parse_tensor(&c->entries[i], json_array_get(tensors, i), c, err));
    }
    int64_t budget = c->size;
    for (size_t i = 0; i < text_count; i++) {
        c->text_count = (int)i + 1;
        LK_RETURN_IF(parse_text(&c->texts[i], json_array_get(texts, i), c, &budget, err));
    }
    qsort(c->entries, tensor_count, sizeof *c->entries, compare_entries);
    for (int i = 1; i < c->count; i++)
        if (compare_entries(&c->entries[i - 1], &c->entries[i]) == 0)
            return fail_index(c, c->entries[i].tensor.name, "occurs twice", err);
    return LK_OK;
}

static lk_status read_index(lk_checkpoint *c, const lk_checkpoint_block *block, lk_error *err) {
    if (!range_inside(c, block->index_offset, block->index_length) || block->index_length > LK_CHECKPOINT_MAX_INDEX)
        return lk_fail(err, LK_ERR_DATA, "%s is not a valid checkpoint: its index lies outside the file", c->path);
    char *text = NULL;
    json_t *index = NULL;
    lk_status status = LK_OK;
    LK_TRY(LK_NEW(&text, block->index_length + 1, "a checkpoint's index", err));
    LK_TRY(lk_read_at(c->fd, text, (size_t)block->index_length, block->index_offset, c->path, err));
    json_error_t reason;
    index = json_loadb(text, (size_t)block->index_length, JSON_REJECT_DUPLICATES, &reason);
    if (index == NULL) {
        status = lk_fail(err, LK_ERR_DATA, "%s is not a valid checkpoint: its index does not parse: %s", c->path,
                         reason.text);
        goto out;
    }
    LK_TRY(parse_index(c, index, err));
out:
    json_decref(index);
    lk_free(text);
    return status;
}

static lk_status check_whole(lk_checkpoint *c, lk_checkpoint_block *block, lk_error *err) {
    struct stat info;
    if (fstat(c->fd, &info) != 0) return lk_fail_errno(err, "examine", c->path);
    if (!S_ISREG(info.st_mode))
        return lk_fail(err, LK_ERR_DATA, "%s is not a checkpoint: it is no regular file", c->path);
    c->size = info.st_size;
    unsigned char bytes[LK_CHECKPOINT_BLOCK] = {0};
    size_t head = c->size < LK_CHECKPOINT_BLOCK ? (size_t)c->size : LK_CHECKPOINT_BLOCK;
    LK_RETURN_IF(lk_read_at(c->fd, bytes, head, 0, c->path, err));
    if (head < LK_CHECKPOINT_BLOCK && memcmp(bytes, "LKCKPT01", head < 8 ? head : 8) == 0)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is truncated: it has %lld bytes; copy it again or use an earlier checkpoint", c->path,
                       (long long)c->size);
    LK_RETURN_IF(lk_checkpoint_block_read(block, bytes, c->path, err));
    if (c->size - LK_CHECKPOINT_BLOCK != block->length)
        return lk_fail(err, LK_ERR_DATA,
                       "%s is %s: it has %lld bytes instead of %lld; copy it again or use an earlier checkpoint",
                       c->path, c->size - LK_CHECKPOINT_BLOCK < block->length ? "truncated" : "damaged",
                       (long long)c->size, (long long)block->length + LK_CHECKPOINT_BLOCK);
    unsigned char hash[16];
    LK_RETURN_IF(lk_checkpoint_hash(hash, c->fd, c->size, c->path, err));
    if (memcmp(hash, block->hash, sizeof hash) != 0)
        return lk_fail(
            err, LK_ERR_DATA,
            "%s is damaged: its content does not have the hash it was written with; use an earlier checkpoint "
            "or copy it again",
            c->path);
    return LK_OK;
}

lk_status lk_checkpoint_open_fd(lk_checkpoint **out, int fd, const char *path, lk_error *err) {
    *out = NULL;
    lk_checkpoint *c = NULL;
    lk_status status = LK_NEW(&c, 1, "a checkpoint", err);
    if (status != LK_OK) {
        close(fd);
        return status;
    }
    c->fd = fd;
    lk_checkpoint_block block;
    LK_TRY(lk_strdup(&c->path, path, err));
    LK_TRY(check_whole(c, &block, err));
    LK_TRY(read_index(c, &block, err));
    *out = c;
    c = NULL;
out:
    lk_checkpoint_free(c);
    return status;
}

lk_status lk_checkpoint_open(lk_checkpoint **out, const char *path, lk_error *err) {
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make us wait */
    if (fd < 0) return lk_fail_errno(err, "open checkpoint", path);
    return lk_checkpoint_open_fd(out, fd, path, err);
}

void lk_checkpoint_free(lk_checkpoint *c) {
    if (c == NULL) return;
    close(c->fd);
    for (int i = 0; i < c->count; i++) lk_free((char *)c->entries[i].tensor.name);
    for (int i = 0; i < c->text_count; i++) {
        lk_free((char *)c->texts[i].name);
        lk_free((char *)c->texts[i].text);
    }
    lk_free(c->entries);
    lk_free(c->texts);
    lk_free(c->path);
    lk_free(c);
}

int lk_checkpoint_count(const lk_checkpoint *c) { return c->count; }

const lk_named_tensor *lk_checkpoint_get(const lk_checkpoint *c, int i) { return &c->entries[i].tensor; }

static const entry *find_entry(const lk_checkpoint *c, const char *name) {
    entry key = {.tensor = {.name = name}};
    return c->count == 0 ? NULL : bsearch(&key, c->entries, (size_t)c->count, sizeof key, compare_entries);
}

const lk_named_tensor *lk_checkpoint_find(const lk_checkpoint *c, const char *name) {
    const entry *e = find_entry(c, name);
    return e == NULL ? NULL : &e->tensor;
}

int64_t lk_checkpoint_offset(const lk_checkpoint *c, const char *name, int *fd) {
    const entry *e = find_entry(c, name);
    *fd = c->fd;
    return e == NULL ? 0 : e->offset;
}

const char *lk_checkpoint_text(const lk_checkpoint *c, const char *name) {
    for (int i = 0; i < c->text_count; i++)
        if (strcmp(c->texts[i].name, name) == 0) return c->texts[i].text;
    return NULL;
}

lk_status lk_checkpoint_read(lk_checkpoint *c, const char *name, lk_dtype dtype, const lk_shape *shape, void *data,
                             lk_error *err) {
    const entry *e = find_entry(c, name);
    if (e == NULL) return lk_fail(err, LK_ERR_DATA, "%s has no tensor '%s'; it holds another model", c->path, name);
    const lk_tensor *stored = &e->tensor.tensor;
    if (stored->dtype != dtype || !lk_shape_equal(&stored->shape, shape)) {
        char wanted[96], found[96];
        return lk_fail(err, LK_ERR_DATA, "%s: tensor '%s' is %s %s, wanted %s %s; it holds another model", c->path,
                       name, lk_dtype_name(stored->dtype), lk_shape_print(&stored->shape, found, sizeof found),
                       lk_dtype_name(dtype), lk_shape_print(shape, wanted, sizeof wanted));
    }
    return lk_read_at(c->fd, data, (size_t)lk_shape_count(shape) * lk_dtype_size(dtype), e->offset, c->path, err);
}
