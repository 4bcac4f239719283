#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/text.h"
#include "io/model/checkpoint.h"
#include "jobs/sweep.h"
#include "report/decided.h"
#include "report/page.h"
#include "report/tables.h"

enum {
    RESAMPLES = 10000,
    MOST_RESAMPLES = 100000,
    THUMBNAILS = 24
}; /* those of `lockstep compare`, and more resamples for many pairs */

static const char *const STATES[] = {"not begun", "unfinished", "finished", "refused"};

void lk_sweep_list(const lk_sweep_runs *runs, FILE *out) {
    int width = 7;
    for (int i = 0; i < runs->count; i++) {
        int needed = lk_text_width(runs->runs[i].variant->name);
        if (needed > width) width = needed;
    }
    fprintf(out, "  run  %-*s        seed  state       epochs  best F1  folder\n", width, "variant");
    for (int i = 0; i < runs->count; i++) {
        const lk_sweep_run *run = &runs->runs[i];
        char f1[16] = "-";
        if (isfinite(run->best_f1)) snprintf(f1, sizeof f1, "%.4f", run->best_f1);
        fprintf(out, "%5d  %-*s  %10lld  %-10s  %6lld  %7s  %s%s%s\n", i + 1, width, run->variant->name,
                (long long)run->seed, STATES[run->state], (long long)run->epochs, f1, run->folder,
                run->reason[0] == '\0' ? "" : ": ", run->reason);
    }
}

/* Writes FOLDER/NAME through `write`. */
static lk_status write_text(const lk_sweep_runs *runs, const char *name, const lk_comparison *comparison,
                            lk_status (*write)(const lk_comparison *, FILE *, lk_error *), lk_error *err) {
    lk_status status;
    char *text = NULL, *path = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return lk_fail(err, LK_ERR_MEMORY, "cannot allocate %s", name);
    status = write(comparison, out, err);
    if (fclose(out) != 0 && status == LK_OK) status = lk_fail(err, LK_ERR_MEMORY, "cannot allocate %s", name);
    if (status == LK_OK) status = lk_format(&path, err, "%s/%s", runs->folder, name);
    if (status == LK_OK) status = lk_text_write(path, text, err);
    lk_free(path);
    free(text);
    return status;
}

static lk_status write_csv(const lk_comparison *comparison, FILE *out, lk_error *err) {
    (void)err;
    lk_comparison_write_csv(comparison, out);
    return LK_OK;
}

static lk_status write_all(const lk_sweep_runs *runs, lk_run_record **records, int count, FILE *out, lk_error *err) {
    lk_status status;
    char *page = NULL;
    lk_comparison *comparison = NULL;
    int recipes = (runs->decision ? 2 : 1) * runs->sweep.variant_count;
    int wanted = lk_comparison_wanted_resamples(RESAMPLES, recipes * (recipes - 1) / 2);
    int resamples = wanted == 0 ? RESAMPLES : wanted < MOST_RESAMPLES / 2 ? 2 * wanted : MOST_RESAMPLES;
    const lk_comparison_config config = {.best = LK_BEST_F1, .resamples = resamples, .seed = 1};
    LK_TRY(lk_comparison_create(&comparison, records, count, &config, err));
    LK_TRY(lk_format(&page, err, "%s/report.html", runs->folder));
    LK_TRY(lk_page_write(comparison, page, THUMBNAILS, err));
    LK_TRY(write_text(runs, "report.md", comparison, lk_comparison_write_markdown, err));
    LK_TRY(write_text(runs, "report.csv", comparison, write_csv, err));
    fputc('\n', out);
    lk_comparison_print(comparison, out);
    fprintf(out, "\nthe page: %s; also report.md and report.csv\n", page);
out:
    lk_comparison_free(comparison);
    lk_free(page);
    return status;
}

/* The runs that have begun, and with a decision layer those that are finished. *predicted: some run has predictions.
 * records: 2 * runs->count, zeroed. */
static lk_status read_records(lk_run_record **records, int *count, bool *predicted, const lk_sweep_runs *runs,
                              lk_error *err) {
    for (int i = 0; i < runs->count; i++) {
        const char *folder = runs->runs[i].folder;
        char *path = NULL;
        LK_RETURN_IF(lk_format(&path, err, "%s/metrics.jsonl", folder));
        bool begun = access(path, F_OK) == 0;
        lk_free(path);
        if (!begun) continue;
        LK_RETURN_IF(lk_run_record_read(&records[*count], folder, err));
        const lk_run_record *record = records[(*count)++];
        if (record->predictions[LK_BEST_F1][LK_FINAL_VALIDATION].count == 0) continue;
        *predicted = true;
        if (!runs->decision) continue;
        LK_RETURN_IF(lk_run_record_read(&records[*count], folder, err));
        LK_RETURN_IF(lk_run_record_decide(records[(*count)++], err));
    }
    return LK_OK;
}

lk_status lk_sweep_report(const lk_sweep_runs *runs, FILE *out, lk_error *err) {
    lk_status status;
    lk_run_record **records = NULL;
    int count = 0;
    bool predicted = false;
    LK_TRY(LK_NEW(&records, 2 * runs->count, "runs", err));
    LK_TRY(read_records(records, &count, &predicted, runs, err));
    if (predicted)
        LK_TRY(write_all(runs, records, count, out, err));
    else
        fprintf(out, "no run of %s is finished: there is nothing to compare yet\n", runs->folder);
out:
    for (int i = 0; i < count; i++) lk_run_record_free(records[i]);
    lk_free(records);
    return status;
}
