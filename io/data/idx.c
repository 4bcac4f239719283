#include "io/data/idx.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "core/memory.h"

enum { RANK_MAX = 3, READ_MAX = 1 << 20 };

struct lk_idx {
    char *path;
    gzFile file; /* zlib passes plain files through */
    int32_t dims[RANK_MAX];
};

lk_status lk_idx_read(lk_idx *idx, uint8_t *buffer, int64_t bytes, lk_error *err) {
    while (bytes > 0) {
        int got = gzread(idx->file, buffer, bytes < READ_MAX ? (unsigned)bytes : READ_MAX);
        int code = 0;
        const char *reason = gzerror(idx->file, &code);
        if (got < 0 && code == Z_ERRNO) return lk_fail_errno(err, "read", idx->path);
        if (got < 0 || (got == 0 && code != Z_OK))
            return lk_fail(err, LK_ERR_DATA, "%s is damaged (%s): fetch it again", idx->path, reason);
        if (got == 0)
            return lk_fail(err, LK_ERR_DATA, "%s is truncated: it ends %lld bytes early; fetch it again", idx->path,
                           (long long)bytes);
        buffer += got;
        bytes -= got;
    }
    return LK_OK;
}

lk_status lk_idx_end(lk_idx *idx, lk_error *err) {
    uint8_t byte;
    int got = gzread(idx->file, &byte, 1);
    if (got > 0) return lk_fail(err, LK_ERR_DATA, "%s has bytes behind its last entry: fetch it again", idx->path);
    int code = 0;
    const char *reason = gzerror(idx->file, &code);
    if (got < 0 || code != Z_OK)
        return lk_fail(err, LK_ERR_DATA, "%s is damaged (%s): fetch it again", idx->path, reason);
    return LK_OK;
}

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static lk_status read_header(lk_idx *idx, int rank, lk_error *err) {
    uint8_t head[4 + 4 * RANK_MAX] = {0};
    LK_RETURN_IF(lk_idx_read(idx, head, 4 + 4 * rank, err));
    if (head[0] != 0 || head[1] != 0 || head[2] != 8 || head[3] != rank)
        return lk_fail(err, LK_ERR_DATA, "%s is not an IDX file of unsigned bytes with %d dimensions", idx->path, rank);
    for (int i = 0; i < rank; i++) {
        uint32_t dim = big_endian(head + 4 + 4 * i);
        uint32_t most = i == 0 ? INT32_MAX : 65500;
        if (dim < 1 || dim > most)
            return lk_fail(err, LK_ERR_DATA, "%s is damaged: its dimension %d is %u", idx->path, i, dim);
        idx->dims[i] = (int32_t)dim;
    }
    return LK_OK;
}

lk_status lk_idx_open(lk_idx **out, const char *path, int rank, lk_error *err) {
    lk_status status = LK_OK;
    lk_idx *idx = NULL;
    *out = NULL;
    LK_TRY(LK_NEW(&idx, 1, "an IDX reader", err));
    LK_TRY(lk_strdup(&idx->path, path, err));
    errno = 0;
    idx->file = gzopen(path, "rbe");
    if (idx->file == NULL) {
        if (errno == 0) errno = ENOMEM;
        LK_TRY(lk_fail_errno(err, "open", path));
    }
    (void)gzbuffer(idx->file, READ_MAX);
    LK_TRY(read_header(idx, rank, err));
    *out = idx;
    idx = NULL;
out:
    lk_idx_free(idx);
    return status;
}

void lk_idx_free(lk_idx *idx) {
    if (idx == NULL) return;
    if (idx->file != NULL) (void)gzclose(idx->file);
    lk_free(idx->path);
    lk_free(idx);
}

const int32_t *lk_idx_dims(const lk_idx *idx) { return idx->dims; }
