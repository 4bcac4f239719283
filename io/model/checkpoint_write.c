#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/model/atomic.h"
#include "io/model/checkpoint_format.h"
#include "io/model/h5_sink.h"

typedef struct content {
    const lk_named_tensor *tensors;
    int tensor_count;
    const lk_named_text *texts;
    int text_count;
} content;

static lk_status check_content(const content *c, const char *path, lk_error *err) {
    if (c->tensor_count > LK_CHECKPOINT_MAX_TENSORS || c->text_count > LK_CHECKPOINT_MAX_TEXTS)
        return lk_fail(err, LK_ERR_INTERNAL, "cannot write %s: %d tensors and %d texts are too many", path,
                       c->tensor_count, c->text_count);
    for (int i = 0; i < c->tensor_count; i++) {
        const lk_named_tensor *t = &c->tensors[i];
        int64_t count;
        if (t->name[0] != '/' || strlen(t->name) > LK_CHECKPOINT_MAX_NAME || strncmp(t->name, "/text/", 6) == 0 ||
            strcmp(t->name, "/index") == 0)
            return lk_fail(err, LK_ERR_INTERNAL, "cannot write %s: '%s' cannot name a tensor", path, t->name);
        if (t->tensor.shape.rank < 0 || t->tensor.shape.rank > LK_MAX_DIMS ||
            lk_shape_count_checked(&count, &t->tensor.shape, NULL) != LK_OK)
            return lk_fail(err, LK_ERR_INTERNAL, "cannot write %s: '%s' has no valid shape", path, t->name);
    }
    for (int i = 0; i < c->text_count; i++)
        if (strlen(c->texts[i].name) > LK_CHECKPOINT_MAX_NAME - 6 || c->texts[i].name[0] == '\0' ||
            strchr(c->texts[i].name, '/') != NULL)
            return lk_fail(err, LK_ERR_INTERNAL, "cannot write %s: '%s' cannot name a text", path, c->texts[i].name);
    return LK_OK;
}

static json_t *describe_tensor(const lk_named_tensor *t, int64_t offset) {
    json_t *dims = json_array();
    for (int d = 0; d < t->tensor.shape.rank; d++) json_array_append_new(dims, json_integer(t->tensor.shape.dims[d]));
    return json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "dtype", lk_dtype_name(t->tensor.dtype), "shape", dims,
                     "offset", (json_int_t)offset);
}

/* Writes all data sets; the index, which says where each lies, comes last. */
static lk_status write_data(lk_h5_sink *sink, const content *c, lk_checkpoint_block *block, lk_error *err) {
    lk_status status = LK_OK;
    json_t *tensors = json_array(), *texts = json_array(), *index = NULL;
    char *name = NULL, *dump = NULL;
    int64_t offset;
    bool described = true;
    for (int i = 0; i < c->tensor_count; i++) {
        LK_TRY(lk_h5_tensor(sink, c->tensors[i].name, &c->tensors[i].tensor, &offset, err));
        described = described && json_array_append_new(tensors, describe_tensor(&c->tensors[i], offset)) == 0;
    }
    for (int i = 0; i < c->text_count; i++) {
        lk_free(name);
        LK_TRY(lk_format(&name, err, "/text/%s", c->texts[i].name));
        LK_TRY(lk_h5_text(sink, name, c->texts[i].text, &offset, err));
        json_t *entry = json_pack("{s:s, s:I, s:I}", "name", c->texts[i].name, "offset", (json_int_t)offset, "length",
                                  (json_int_t)strlen(c->texts[i].text));
        described = described && json_array_append_new(texts, entry) == 0;
    }
    index = json_pack("{s:O, s:O}", "tensors", tensors, "texts", texts);
    dump = index == NULL || !described ? NULL : json_dumps(index, JSON_COMPACT);
    if (dump == NULL) {
        status = lk_fail(err, LK_ERR_INTERNAL,
                         "cannot describe the content of %s: a name is not UTF-8 or memory is short", sink->path);
        goto out;
    }
    LK_TRY(lk_h5_text(sink, "/index", dump, &block->index_offset, err));
    block->index_length = (int64_t)strlen(dump);
out:
    json_decref(tensors);
    json_decref(texts);
    json_decref(index);
    free(dump);
    lk_free(name);
    return status;
}

static lk_status write_block(int fd, lk_checkpoint_block *block, const char *path, lk_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return lk_fail_errno(err, "examine", path);
    block->length = info.st_size - LK_CHECKPOINT_BLOCK;
    LK_RETURN_IF(lk_checkpoint_hash(block->hash, fd, info.st_size, path, err));
    unsigned char bytes[LK_CHECKPOINT_BLOCK];
    lk_checkpoint_block_write(bytes, block);
    return lk_write_at(fd, bytes, sizeof bytes, 0, path, err);
}

static lk_status compare_tensor(lk_checkpoint *written, const lk_named_tensor *t, char *buffer, size_t chunk,
                                const char *path, lk_error *err) {
    const lk_named_tensor *found = lk_checkpoint_find(written, t->name);
    bool same = found != NULL && found->tensor.dtype == t->tensor.dtype &&
                lk_shape_equal(&found->tensor.shape, &t->tensor.shape);
    int fd = -1;
    int64_t offset = same ? lk_checkpoint_offset(written, t->name, &fd) : 0;
    size_t size = (size_t)lk_shape_count(&t->tensor.shape) * lk_dtype_size(t->tensor.dtype);
    for (size_t done = 0; same && done < size; done += chunk) {
        size_t part = size - done < chunk ? size - done : chunk;
        LK_RETURN_IF(lk_read_at(fd, buffer, part, offset + (int64_t)done, path, err));
        same = memcmp(buffer, (const char *)t->tensor.data + done, part) == 0;
    }
    if (same) return LK_OK;
    return lk_fail(
        err, LK_ERR_IO,
        "cannot write %s: '%s' reads back other than it was written, so the disk or memory is faulty; earlier "
        "files are untouched",
        path, t->name);
}

/* Reads the file back from the disk, not from the page cache where the system allows that, and compares. */
static lk_status verify(const lk_atomic_file *file, const content *c, lk_error *err) {
    if (fsync(file->fd) != 0) return lk_fail_write(err, errno, file->path);
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    int fd = dup(file->fd);
    if (fd < 0) return lk_fail_errno(err, "read back", file->path);
    const size_t chunk = (size_t)1 << 20;
    lk_checkpoint *written = NULL;
    char *buffer = NULL;
    lk_status status = LK_OK;
    LK_TRY(lk_checkpoint_open_fd(&written, fd, file->path, err));
    LK_TRY(LK_NEW(&buffer, chunk, "reading a checkpoint back", err));
    for (int i = 0; i < c->tensor_count; i++)
        LK_TRY(compare_tensor(written, &c->tensors[i], buffer, chunk, file->path, err));
    for (int i = 0; i < c->text_count; i++) {
        const char *text = lk_checkpoint_text(written, c->texts[i].name);
        if (text == NULL || strcmp(text, c->texts[i].text) != 0) {
            status = lk_fail(err, LK_ERR_IO,
                             "cannot write %s: text '%s' reads back other than it was written; earlier files are "
                             "untouched",
                             file->path, c->texts[i].name);
            goto out;
        }
    }
out:
    lk_checkpoint_free(written);
    lk_free(buffer);
    return status;
}

lk_status lk_checkpoint_write(const char *path, const lk_named_tensor *tensors, int tensor_count,
                              const lk_named_text *texts, int text_count, lk_error *err) {
    content c = {tensors, tensor_count, texts, text_count};
    LK_RETURN_IF(check_content(&c, path, err));
    lk_atomic_file file;
    LK_RETURN_IF(lk_atomic_create(&file, path, err));
    lk_checkpoint_block block = {0};
    lk_h5_sink sink;
    lk_status status = lk_h5_start(&sink, file.fd, path, LK_CHECKPOINT_BLOCK, err);
    if (status == LK_OK) status = write_data(&sink, &c, &block, err);
    lk_status finished = lk_h5_finish(&sink, err);
    if (status == LK_OK) status = finished;
    LK_TRY(status);
    LK_TRY(write_block(file.fd, &block, path, err));
    LK_TRY(verify(&file, &c, err));
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    return status;
}
