#include "io/data/sample_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "io/data/format.h"

static lk_status read_descriptor(int fd, uint8_t **bytes, size_t *capacity, int64_t *length, lk_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return lk_fail(err, LK_ERR_IO, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(info.st_mode)) return lk_fail(err, LK_ERR_DATA, "is not a file");
    if (info.st_size == 0) return lk_fail(err, LK_ERR_DATA, "is empty");
    if (info.st_size > LK_FORMAT_SAMPLE_BYTES_MAX)
        return lk_fail(err, LK_ERR_DATA, "has %lld bytes, more than the %lld a sample may have",
                       (long long)info.st_size, (long long)LK_FORMAT_SAMPLE_BYTES_MAX);
    LK_RETURN_IF(lk_grow((void **)bytes, capacity, (size_t)info.st_size, 1, "an image file", err));
    int64_t used = 0;
    while (used < info.st_size) {
        ssize_t got = read(fd, *bytes + used, (size_t)(info.st_size - used));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lk_fail(err, LK_ERR_IO, "cannot be read: %s", strerror(errno));
        if (got == 0) return lk_fail(err, LK_ERR_IO, "became shorter while it was read");
        used += got;
    }
    *length = used;
    return LK_OK;
}

lk_status lk_sample_file_read(uint8_t **bytes, size_t *capacity, int64_t *length, const char *root, const char *source,
                              lk_error *err) {
    char *path = NULL;
    bool absolute = source[0] == '/';
    *length = 0;
    LK_RETURN_IF(lk_format(&path, err, "%s%s%s", absolute ? "" : root, absolute ? "" : "/", source));
    /* O_NONBLOCK: a named pipe among the images must not hang the whole run. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    lk_free(path);
    if (fd < 0) return lk_fail(err, LK_ERR_IO, "cannot be opened: %s", strerror(errno));
    lk_status status = read_descriptor(fd, bytes, capacity, length, err);
    close(fd);
    return status;
}
