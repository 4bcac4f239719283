#include "train/bests.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

/* The JSON file beside a checkpoint (P24). */
static lk_status write_beside(const lk_snapshot *snapshot, const char *path, lk_error *err) {
    lk_status status;
    char *beside = NULL;
    LK_TRY(lk_format(&beside, err, "%s.json", path));
    LK_TRY(lk_text_write(beside, snapshot->meta, err));
out:
    lk_free(beside);
    return status;
}

/* Gives the file at `from` the name `to` too, atomically; writes it again where the file system has no hard links. */
static lk_status link_file(const lk_snapshot *snapshot, const char *from, const char *to, lk_error *err) {
    lk_status status = LK_OK;
    char *temporary = NULL;
    LK_TRY(lk_format(&temporary, err, "%s.tmp.%ld", to, (long)getpid()));
    unlink(temporary);
    if (link(from, temporary) != 0) {
        LK_TRY(lk_snapshot_write(snapshot, to, err));
        goto out;
    }
    if (rename(temporary, to) != 0) status = lk_fail_errno(err, "rename a checkpoint to", to);
    unlink(temporary); /* rename leaves it where both were the same file already */
out:
    lk_free(temporary);
    return status;
}

static bool is_best(const char *name, const char *kind) {
    char marker[16], *end;
    size_t length = strlen(name);
    snprintf(marker, sizeof marker, "_%s_", kind);
    strtol(name, &end, 10);
    return end != name && strncmp(end, marker, strlen(marker)) == 0 && length > 3 &&
           strcmp(name + length - 3, ".h5") == 0;
}

/* Removes a checkpoint and its JSON file. */
static lk_status remove_checkpoint(const char *folder, const char *name, lk_error *err) {
    lk_status status = LK_OK;
    char *path = NULL, *beside = NULL;
    LK_TRY(lk_format(&path, err, "%s/%s", folder, name));
    LK_TRY(lk_format(&beside, err, "%s.json", path));
    if (unlink(path) != 0 || (unlink(beside) != 0 && errno != ENOENT)) status = lk_fail_errno(err, "remove", path);
out:
    lk_free(path);
    lk_free(beside);
    return status;
}

/* Removes all but the `keep` latest bests of a kind: each new best is better than all before it. */
static lk_status prune(const char *folder, const char *kind, int64_t keep, lk_error *err) {
    struct dirent **entries = NULL;
    lk_status status = LK_OK;
    int64_t found = 0;
    int count = scandir(folder, &entries, NULL, versionsort); /* 999 before 1000 */
    if (count < 0) return lk_fail_errno(err, "read the folder", folder);
    for (int i = count - 1; i >= 0; i--) {
        bool excess = is_best(entries[i]->d_name, kind) && ++found > keep;
        if (excess && status == LK_OK) status = remove_checkpoint(folder, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* Writes or links one best and points its link at it. written: the file that holds the snapshot already, or "". */
static lk_status save_best(const lk_snapshot *snapshot, const char *folder, const char *kind, lk_best best,
                           char **written, lk_error *err) {
    lk_status status;
    char *path = NULL, *symlink_path = NULL, *name = NULL;
    LK_TRY(lk_format(&name, err, "%03lld_%s_%.4f.h5", (long long)best.epoch, kind, best.value));
    LK_TRY(lk_format(&path, err, "%s/%s", folder, name));
    LK_TRY(lk_format(&symlink_path, err, "%s/best_%s.h5", folder, kind));
    if (*written == NULL) {
        LK_TRY(lk_snapshot_write(snapshot, path, err));
        *written = path;
    } else {
        LK_TRY(link_file(snapshot, *written, path, err));
    }
    LK_TRY(write_beside(snapshot, path, err));
    LK_TRY(lk_link_replace(symlink_path, name, err));
out:
    if (*written != path) lk_free(path);
    lk_free(symlink_path);
    lk_free(name);
    return status;
}

lk_status lk_checkpoints_save(const lk_snapshot *snapshot, const char *folder, bool new_loss, bool new_f1, int64_t keep,
                              lk_error *err) {
    lk_status status;
    char *written = NULL, *last = NULL;
    LK_TRY(lk_format(&last, err, "%s/last.h5", folder));
    if (new_loss) LK_TRY(save_best(snapshot, folder, "loss", snapshot->counters->loss, &written, err));
    if (new_f1) LK_TRY(save_best(snapshot, folder, "f1", snapshot->counters->f1, &written, err));
    if (written == NULL)
        LK_TRY(lk_snapshot_write(snapshot, last, err));
    else
        LK_TRY(link_file(snapshot, written, last, err));
    LK_TRY(write_beside(snapshot, last, err));
    if (new_loss) LK_TRY(prune(folder, "loss", keep, err));
    if (new_f1) LK_TRY(prune(folder, "f1", keep, err));
    status = LK_OK;
out:
    lk_free(written);
    lk_free(last);
    return status;
}
