#include "io/log/predictions.h"

#include <string.h>

#include "io/model/atomic.h"
#include "io/model/h5_sink.h"

static lk_status write_tensor(lk_h5_sink *sink, const char *group, const char *set, lk_tensor tensor, lk_error *err) {
    char *name = NULL;
    LK_RETURN_IF(lk_format(&name, err, "/%s/%s", group, set));
    lk_status status = lk_h5_tensor(sink, name, &tensor, NULL, err);
    lk_free(name);
    return status;
}

static lk_status write_group(lk_h5_sink *sink, const lk_predictions *p, lk_error *err) {
    LK_RETURN_IF(write_tensor(sink, p->group, "sample",
                              (lk_tensor){LK_I64, lk_shape_of(1, p->count), (void *)(uintptr_t)p->samples}, err));
    LK_RETURN_IF(write_tensor(sink, p->group, "label",
                              (lk_tensor){LK_I32, lk_shape_of(1, p->count), (void *)(uintptr_t)p->labels}, err));
    lk_shape logits = lk_shape_of(2, p->count, (int64_t)p->classes);
    return write_tensor(sink, p->group, "logits", (lk_tensor){LK_F32, logits, (void *)(uintptr_t)p->logits}, err);
}

static lk_status write_all(lk_h5_sink *sink, const lk_predictions *groups, int group_count,
                           const char *const *class_names, lk_error *err) {
    LK_RETURN_IF(lk_h5_strings(sink, "/class_names", class_names, group_count > 0 ? groups[0].classes : 0, err));
    for (int i = 0; i < group_count; i++) LK_RETURN_IF(write_group(sink, &groups[i], err));
    return LK_OK;
}

lk_status lk_predictions_write(const char *path, const lk_predictions *groups, int group_count,
                               const char *const *class_names, lk_error *err) {
    for (int i = 1; i < group_count; i++)
        if (groups[i].classes != groups[0].classes)
            return lk_fail(err, LK_ERR_INTERNAL, "cannot write %s: %s has %d classes, %s has %d", path, groups[0].group,
                           groups[0].classes, groups[i].group, groups[i].classes);
    lk_atomic_file file;
    LK_RETURN_IF(lk_atomic_create(&file, path, err));
    lk_h5_sink sink;
    lk_status status = lk_h5_start(&sink, file.fd, path, 0, err);
    if (status == LK_OK) status = write_all(&sink, groups, group_count, class_names, err);
    lk_status finished = lk_h5_finish(&sink, err);
    if (status == LK_OK) status = finished;
    LK_TRY(status);
    LK_TRY(lk_atomic_commit(&file, err));
out:
    lk_atomic_discard(&file);
    return status;
}
