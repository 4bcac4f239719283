/* Writes what a run logs, for the packages that read it: make_logs FOLDER makes TensorBoard events and predictions.h5
 * of fixed content (tests/parity/test_checkpoint_logs.py knows it). */
#include <stdio.h>

#include "core/memory.h"
#include "io/log/events.h"
#include "io/log/predictions.h"

static lk_status write_events(const char *folder, lk_error *err) {
    lk_events *events;
    LK_RETURN_IF(lk_events_create(&events, folder, err));
    lk_status status = LK_OK;
    for (int i = 0; i < 100; i++) {
        LK_TRY(lk_events_scalar(events, "loss/train", i, 1.0 / (i + 1), err));
        if (i % 10 == 0) LK_TRY(lk_events_scalar(events, "f1/validation", (int64_t)i << 33, 0.01 * i, err));
    }
    LK_TRY(lk_events_flush(events, err));
out:
    lk_events_free(events);
    return status;
}

static lk_status write_predictions(const char *folder, lk_error *err) {
    static const int64_t samples[] = {5, 7, INT64_C(1) << 40};
    static const int32_t labels[] = {0, -1, 2};
    static const float logits[] = {0.5f, 1, 2, 3, 4, -5, 6, 7, 8.25f};
    static const char *const names[] = {"T-shirt", "", "Gr\xc3\xbcn"};
    const lk_predictions groups[] = {{"best_loss/validation", 3, 3, samples, labels, logits},
                                     {"best_f1/test", 2, 3, samples, labels, logits},
                                     {"best_f1/validation", 0, 3, samples, labels, logits}};
    char *path = NULL;
    LK_RETURN_IF(lk_format(&path, err, "%s/predictions.h5", folder));
    lk_status status = lk_predictions_write(path, groups, 3, names, err);
    lk_free(path);
    return status;
}

int main(int argc, char **argv) {
    lk_error err = {0};
    lk_status status = argc == 2 ? LK_OK : lk_fail(&err, LK_ERR_USAGE, "give one folder");
    if (status == LK_OK) status = write_events(argv[1], &err);
    if (status == LK_OK) status = write_predictions(argv[1], &err);
    if (status != LK_OK) fprintf(stderr, "make_logs: %s\n", err.message);
    return lk_exit_status(status);
}
