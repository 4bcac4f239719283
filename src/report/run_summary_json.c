#include <jansson.h>
#include <math.h>

#include "report/run_summary.h"

static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *epochs_json(const lk_run_record *run) {
    json_t *epochs = json_array();
    for (size_t i = 0; i < run->epoch_count; i++) {
        const lk_run_record_epoch *e = &run->epochs[i];
        json_array_append_new(epochs, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "epoch", (json_int_t)e->epoch, "lr",
                                                real(e->lr), "train_loss", real(e->train_loss), "loss", real(e->loss),
                                                "accuracy", real(e->accuracy), "macro_f1", real(e->macro_f1)));
    }
    return epochs;
}

static json_t *finals_json(const lk_run_record *run) {
    json_t *finals = json_array();
    for (int b = 0; b < LK_BEST_COUNT; b++)
        for (int s = 0; s < LK_FINAL_SPLITS; s++) {
            const lk_run_record_final *f = &run->finals[b][s];
            if (!f->present) continue;
            json_array_append_new(
                finals, json_pack("{s:s, s:s, s:o, s:o, s:o, s:I}", "checkpoint", lk_best_name((lk_best)b), "split",
                                  lk_final_split_name((lk_final_split)s), "macro_f1", real(f->macro_f1), "accuracy",
                                  real(f->accuracy), "loss", real(f->loss), "images", (json_int_t)f->samples));
        }
    return finals;
}

static json_t *run_json(const lk_run_record *run) {
    lk_run_totals t = lk_run_total(run);
    return json_pack("{s:s, s:s, s:b, s:s, s:s, s:I, s:I, s:I, s:f, s:o, s:o, s:f, s:I, s:I, s:o, s:o, s:o}", "run",
                     run->folder, "state", lk_run_record_state(run), "finished", run->finished, "model", run->job.model,
                     "data", run->job.data, "epochs_done", (json_int_t)t.epochs, "epochs", (json_int_t)run->job.epochs,
                     "updates", (json_int_t)t.updates, "seconds", t.seconds, "images_per_second",
                     real(t.images_per_second), "data_wait", real(t.data_wait), "peak_memory_mib", t.peak_memory_mib,
                     "best_loss_epoch", (json_int_t)run->best_epochs[LK_BEST_LOSS], "best_f1_epoch",
                     (json_int_t)run->best_epochs[LK_BEST_F1], "lr",
                     run->update_count > 0 ? real(run->updates[run->update_count - 1].lr) : json_null(), "history",
                     epochs_json(run), "final", finals_json(run));
}

lk_status lk_run_summary_json(lk_run_record *const *runs, int count, FILE *out, lk_error *err) {
    json_t *all = json_array();
    bool made = all != NULL;
    for (int i = 0; i < count && made; i++) made = json_array_append_new(all, run_json(runs[i])) == 0;
    int code = made ? json_dumpf(all, out, JSON_INDENT(1)) : -1;
    json_decref(all);
    if (code != 0)
        return lk_fail(err, LK_ERR_DATA, "the runs cannot be written as JSON: is a folder's name not UTF-8?");
    fputc('\n', out);
    return LK_OK;
}
