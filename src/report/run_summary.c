#include "report/run_summary.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/text.h"
#include "report/sparkline.h"

enum { LABEL = 14, CURVE = 48, NAME = 24, LINE_CURVE = 12 }; /* columns */

lk_run_totals lk_run_total(const lk_run_record *run) {
    lk_run_totals t = {.images_per_second = NAN, .data_wait = NAN};
    double images = 0, waited = 0;
    for (size_t i = 0; i < run->epoch_count; i++) {
        const lk_run_record_epoch *e = &run->epochs[i];
        t.seconds += e->seconds;
        images += e->images_per_second * e->seconds;
        waited += e->data_wait * e->seconds;
        if (e->peak_memory_mib > t.peak_memory_mib) t.peak_memory_mib = e->peak_memory_mib;
    }
    if (t.seconds > 0) {
        t.images_per_second = images / t.seconds;
        t.data_wait = waited / t.seconds;
    }
    if (run->epoch_count > 0) t.epochs = run->epochs[run->epoch_count - 1].epoch;
    if (run->epoch_count > 0) t.updates = run->epochs[run->epoch_count - 1].update;
    if (run->update_count > 0) t.updates = run->updates[run->update_count - 1].update;
    return t;
}

/* "finished", or since when nothing was written: nobody can tell a stopped run from a slow one by its files. */
static void print_state(const lk_run_record *run, double now, FILE *out) {
    char ago[24];
    fputs(lk_run_record_state(run), out);
    if (!run->finished && run->last_written > 0)
        fprintf(out, " (last written %s ago)", lk_clock_duration_text(now - run->last_written, ago, sizeof ago));
}

/* "label  curve  first -> last", the curve over `values`. */
static void print_curve(const char *label, const double *values, size_t count, int digits,
                        const lk_summary_style *style, FILE *out) {
    char curve[LK_SPARKLINE_SIZE];
    int room = style->width - LABEL - 4 - 24;
    if (count == 0) return;
    lk_sparkline(values, count, room < CURVE ? (room < 4 ? 4 : room) : CURVE, style->ascii, curve);
    fprintf(out, "  %-*s%s  %.*g -> %.*g", LABEL, label, curve, digits, values[0], digits, values[count - 1]);
}

/* Epochs of a run as an array. */
static void take_column(const lk_run_record *run, size_t offset, double *values) {
    for (size_t i = 0; i < run->epoch_count; i++)
        memcpy(&values[i], (const char *)&run->epochs[i] + offset, sizeof *values);
}

static void print_best(const lk_run_record *run, lk_best best, const double *values, FILE *out) {
    int64_t epoch = run->best_epochs[best];
    for (size_t i = 0; i < run->epoch_count; i++)
        if (epoch > 0 && run->epochs[i].epoch == epoch) fprintf(out, "; best %.4g in epoch %" PRId64, values[i], epoch);
    fputc('\n', out);
}

static lk_status print_curves(const lk_run_record *run, const lk_summary_style *style, FILE *out, lk_error *err) {
    double *values;
    size_t most = run->epoch_count > run->update_count ? run->epoch_count : run->update_count;
    LK_RETURN_IF(LK_NEW(&values, most, "a curve", err));
    for (size_t i = 0; i < run->update_count; i++) values[i] = run->updates[i].lr;
    print_curve("learning rate", values, run->update_count, 4, style, out);
    if (run->update_count > 0) fputc('\n', out);
    take_column(run, offsetof(lk_run_record_epoch, train_loss), values);
    print_curve("train loss", values, run->epoch_count, 4, style, out);
    if (run->epoch_count > 0) fputc('\n', out);
    take_column(run, offsetof(lk_run_record_epoch, loss), values);
    print_curve("val. loss", values, run->epoch_count, 4, style, out);
    if (run->epoch_count > 0) print_best(run, LK_BEST_LOSS, values, out);
    take_column(run, offsetof(lk_run_record_epoch, macro_f1), values);
    print_curve("val. macro-F1", values, run->epoch_count, 4, style, out);
    if (run->epoch_count > 0) print_best(run, LK_BEST_F1, values, out);
    lk_free(values);
    return LK_OK;
}

static void print_finals(const lk_run_record *run, FILE *out) {
    bool any = false;
    for (int b = 0; b < LK_BEST_COUNT; b++)
        for (int s = 0; s < LK_FINAL_SPLITS; s++) {
            const lk_run_record_final *f = &run->finals[b][s];
            if (!f->present) continue;
            if (!any) fputs("  checkpoint    split       macro-F1  accuracy    loss  images\n", out);
            any = true;
            fprintf(out, "  %-12s  %-10s  %8.4f  %8.4f  %6.4f  %6" PRId64 "\n", lk_best_name((lk_best)b),
                    lk_final_split_name((lk_final_split)s), f->macro_f1, f->accuracy, f->loss, f->samples);
        }
}

/* Those checkpoints that are there. */
static lk_status print_checkpoints(const lk_run_record *run, FILE *out, lk_error *err) {
    static const char *const names[] = {"best_f1.h5", "best_loss.h5", "last.h5"};
    bool any = false;
    for (int i = 0; i < 3; i++) {
        char *path;
        struct stat info;
        LK_RETURN_IF(lk_format(&path, err, "%s/checkpoints/%s", run->folder, names[i]));
        bool there = stat(path, &info) == 0;
        lk_free(path);
        if (!there) continue;
        fprintf(out, any ? ", %s" : "  checkpoints in %s/checkpoints: %s", any ? names[i] : run->folder, names[i]);
        any = true;
    }
    fputs(any ? "\n" : "  no checkpoints yet\n", out);
    return LK_OK;
}

lk_status lk_run_summary_print(const lk_run_record *run, const lk_summary_style *style, FILE *out, lk_error *err) {
    char took[24];
    lk_run_totals t = lk_run_total(run);
    fprintf(out, "%s: ", run->folder);
    print_state(run, style->now, out);
    fprintf(out, "\n  %s on %s, epoch %" PRId64 " of %" PRId64 ", %" PRId64 " updates of batch %" PRId64 "\n",
            run->job.model, run->job.data, t.epochs, run->job.epochs, t.updates, run->job.batch);
    if (run->arithmetic != NULL)
        fprintf(out, "  %" PRId64 " rank%s, %s\n", run->ranks, run->ranks == 1 ? "" : "s", run->arithmetic);
    if (run->epoch_count > 0)
        fprintf(out, "  %s of training, %.0f images/s, data wait %.1f%%, peak memory %.0f MiB\n",
                lk_clock_duration_text(t.seconds, took, sizeof took), t.images_per_second, 100 * t.data_wait,
                t.peak_memory_mib);
    LK_RETURN_IF(print_curves(run, style, out, err));
    print_finals(run, out);
    return print_checkpoints(run, out, err);
}

static lk_status print_line(const lk_run_record *run, const lk_summary_style *style, FILE *out, lk_error *err) {
    double *values;
    char name[4 * NAME + 8], curve[LK_SPARKLINE_SIZE], took[24], epochs[48], f1[3][16];
    lk_run_totals t = lk_run_total(run);
    LK_RETURN_IF(LK_NEW(&values, run->epoch_count, "a curve", err));
    take_column(run, offsetof(lk_run_record_epoch, macro_f1), values);
    double best = NAN;
    for (size_t i = 0; i < run->epoch_count; i++)
        if (run->epochs[i].epoch == run->best_epochs[LK_BEST_F1]) best = values[i];
    const lk_run_record_final *test = &run->finals[LK_BEST_F1][LK_FINAL_TEST];
    const double figures[] = {best, test->present ? test->macro_f1 : NAN, t.images_per_second};
    for (int i = 0; i < 3; i++)
        snprintf(f1[i], sizeof f1[i], isnan(figures[i]) ? "-" : i == 2 ? "%.0f" : "%.4f", figures[i]);
    lk_sparkline(values, run->epoch_count, LINE_CURVE, style->ascii, curve);
    snprintf(epochs, sizeof epochs, "%" PRId64 "/%" PRId64, t.epochs, run->job.epochs);
    fprintf(out, "%s  %7s  %8s  %8s  %8s  %8s  %s  %s\n", lk_text_fit(run->name, NAME, name, sizeof name), epochs,
            f1[0], f1[1], lk_clock_duration_text(t.seconds, took, sizeof took), f1[2], curve,
            run->finished ? "finished" : "unfinished");
    lk_free(values);
    return LK_OK;
}

lk_status lk_run_summary_list(lk_run_record *const *runs, int count, const lk_summary_style *style, FILE *out,
                              lk_error *err) {
    fprintf(out, "%-*s  %7s  %8s  %8s  %8s  %8s  %s\n", NAME, "run", "epoch", "val. F1", "test F1", "time", "images/s",
            "val. macro-F1");
    for (int i = 0; i < count; i++) LK_RETURN_IF(print_line(runs[i], style, out, err));
    return LK_OK;
}
