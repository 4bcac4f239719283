#include <inttypes.h>

#include "device/ops.h"

static lk_status check_row(const lk_run *run, int64_t classes, int64_t n, lk_error *err) {
    if (run->labels[n] < 0 || run->labels[n] >= classes)
        return lk_fail(err, LK_ERR_DATA,
                       "sample %" PRId64 " of a microbatch has label %d, but there are %" PRId64
                       " classes (0 to %" PRId64 "); check the data set's labels",
                       n, (int)run->labels[n], classes, classes - 1);
    if (run->label_share == NULL) return LK_OK;
    bool share = run->label_share[n] >= 0 && run->label_share[n] <= 1;
    if (share && run->partner != NULL && run->partner[n] >= 0 && run->partner[n] < run->rows) return LK_OK;
    return lk_fail(err, LK_ERR_INTERNAL,
                   "sample %" PRId64 " of a microbatch of %" PRId64 " is mixed with a sample or in a share that is not",
                   n, run->rows);
}

lk_status lk_run_check_labels(const lk_run *run, const lk_act_desc *x, lk_error *err) {
    if (run->rows < 0 || run->rows > x->n || (run->rows > 0 && run->labels == NULL))
        return lk_fail(err, LK_ERR_INTERNAL, "the loss was run on %" PRId64 " rows of a batch of %" PRId64 "%s",
                       run->rows, x->n, run->labels == NULL ? " without labels" : "");
    for (int64_t n = 0; n < run->rows; n++) LK_RETURN_IF(check_row(run, x->c, n, err));
    return LK_OK;
}

lk_loss_label lk_run_label(const lk_run *run, int64_t row) {
    if (run->label_share == NULL) return (lk_loss_label){run->labels[row], run->labels[row], 1};
    return (lk_loss_label){run->labels[row], run->labels[run->partner[row]], (double)run->label_share[row]};
}
