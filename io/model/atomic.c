#include "io/model/atomic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/model/checkpoint.h"

lk_status lk_fail_write(lk_error *err, int code, const char *path) {
    if (code == ENOSPC)
        return lk_fail(err, LK_ERR_IO,
                       "cannot write %s: no space left on its file system; earlier files are untouched, free some "
                       "space and run again",
                       path);
    if (code == EDQUOT || code == EFBIG)
        return lk_fail(err, LK_ERR_IO,
                       "cannot write %s: %s; earlier files are untouched, raise the limit and run again", path,
                       code == EDQUOT ? "the disk quota is used up" : "the file size limit is reached");
    return lk_fail(err, LK_ERR_IO, "cannot write %s: %s; earlier files are untouched", path, strerror(code));
}

lk_status lk_write_at(int fd, const void *data, size_t size, int64_t offset, const char *path, lk_error *err) {
    const char *bytes = data;
    while (size > 0) {
        size_t part = size < ((size_t)1 << 30) ? size : (size_t)1 << 30;
        ssize_t done = pwrite(fd, bytes, part, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return lk_fail_write(err, done < 0 ? errno : ENOSPC, path);
        bytes += done;
        size -= (size_t)done;
        offset += done;
    }
    return LK_OK;
}

lk_status lk_read_at(int fd, void *data, size_t size, int64_t offset, const char *path, lk_error *err) {
    char *bytes = data;
    while (size > 0) {
        size_t part = size < ((size_t)1 << 30) ? size : (size_t)1 << 30;
        ssize_t done = pread(fd, bytes, part, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return lk_fail_errno(err, "read", path);
        if (done == 0)
            return lk_fail(err, LK_ERR_DATA, "%s is truncated at byte %lld; copy it again from its source", path,
                           (long long)offset);
        bytes += done;
        size -= (size_t)done;
        offset += done;
    }
    return LK_OK;
}

/* The folder's entry must reach the disk too, or a power cut could undo the rename. */
static lk_status sync_folder(const char *path, lk_error *err) {
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    LK_RETURN_IF(
        lk_format(&folder, err, "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1, slash == NULL ? "." : path));
    lk_status status = LK_OK;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        status = lk_fail_errno(err, "open folder", folder);
    } else {
        /* Some network file systems cannot sync a folder and say EINVAL. */
        if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) status = lk_fail_errno(err, "sync folder", folder);
        close(fd);
    }
    lk_free(folder);
    return status;
}

lk_status lk_atomic_create(lk_atomic_file *out, const char *path, lk_error *err) {
    *out = (lk_atomic_file){.fd = -1};
    lk_status status = LK_OK;
    LK_TRY(lk_strdup(&out->path, path, err));
    LK_TRY(lk_format(&out->temporary, err, "%s.tmp.%ld", path, (long)getpid()));
    out->fd = open(out->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (out->fd < 0) {
        status =
            errno == ENOSPC || errno == EDQUOT ? lk_fail_write(err, errno, path) : lk_fail_errno(err, "create", path);
        lk_free(out->temporary); /* nothing to remove */
        out->temporary = NULL;
    }
out:
    if (status != LK_OK) lk_atomic_discard(out);
    return status;
}

lk_status lk_atomic_commit(lk_atomic_file *file, lk_error *err) {
    if (fsync(file->fd) != 0) return lk_fail_write(err, errno, file->path);
    int closed = close(file->fd);
    file->fd = -1;
    if (closed != 0) return lk_fail_write(err, errno, file->path);
    if (rename(file->temporary, file->path) != 0) return lk_fail_errno(err, "rename a new file over", file->path);
    lk_free(file->temporary);
    file->temporary = NULL;
    return sync_folder(file->path, err);
}

void lk_atomic_discard(lk_atomic_file *file) {
    if (file->path != NULL && file->fd >= 0) close(file->fd);
    if (file->temporary != NULL) unlink(file->temporary);
    lk_free(file->path);
    lk_free(file->temporary);
    *file = (lk_atomic_file){.fd = -1};
}

lk_status lk_text_write(const char *path, const char *text, lk_error *err) {
    lk_atomic_file file;
    LK_RETURN_IF(lk_atomic_create(&file, path, err));
    lk_status status = LK_OK;
    LK_TRY(lk_write_at(file.fd, text, strlen(text), 0, path, err));
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    return status;
}

lk_status lk_link_replace(const char *path, const char *name, lk_error *err) {
    char *temporary = NULL;
    LK_RETURN_IF(lk_format(&temporary, err, "%s.tmp.%ld", path, (long)getpid()));
    lk_status status = LK_OK;
    if (unlink(temporary) != 0 && errno != ENOENT) {
        status = lk_fail_errno(err, "replace", temporary);
        goto out;
    }
    if (symlink(name, temporary) != 0) {
        status = errno == ENOSPC || errno == EDQUOT ? lk_fail_write(err, errno, path)
                                                    : lk_fail_errno(err, "create link", path);
        goto out;
    }
    if (rename(temporary, path) != 0) {
        status = lk_fail_errno(err, "rename a new link over", path);
        unlink(temporary);
        goto out;
    }
    LK_TRY(sync_folder(path, err));
out:
    lk_free(temporary);
    return status;
}

/* The process id in "NAME.tmp.PID", or 0. */
static long temporary_owner(const char *name) {
    const char *mark = NULL;
    for (const char *at = strstr(name, ".tmp."); at != NULL; at = strstr(at + 1, ".tmp.")) mark = at;
    if (mark == NULL || mark == name || mark[5] < '1' || mark[5] > '9') return 0;
    char *end;
    errno = 0;
    long pid = strtol(mark + 5, &end, 10);
    return *end == '\0' && errno == 0 ? pid : 0;
}

lk_status lk_temporaries_remove(const char *folder, int *removed, lk_error *err) {
    if (removed != NULL) *removed = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL) return lk_fail_errno(err, "open folder", folder);
    lk_status status = LK_OK;
    for (struct dirent *entry = readdir(dir); entry != NULL && status == LK_OK; entry = readdir(dir)) {
        long pid = temporary_owner(entry->d_name);
        if (pid == 0 || pid == (long)getpid()) continue;
        if (kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) != 0 && errno != ENOENT) {
            status = lk_fail_errno(err, "remove a leftover file in", folder);
        } else if (removed != NULL) {
            (*removed)++;
        }
    }
    closedir(dir);
    return status;
}
