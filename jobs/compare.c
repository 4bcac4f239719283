/* lockstep compare: which of several runs is better, and how sure that is. */
#include <stddef.h>
#include <stdio.h>

#include "core/memory.h"
#include "io/model/atomic.h"
#include "jobs/command.h"
#include "report/decided.h"
#include "report/page.h"
#include "report/tables.h"

typedef struct compare_options {
    char *output;
    int64_t resamples, seed, thumbnails;
    int checkpoint, format;
    bool allow_different, decision, help;
} compare_options;

static const char *const checkpoints[] = {"best_f1", "best_loss", NULL};
enum { FORMAT_TEXT, FORMAT_MARKDOWN, FORMAT_CSV, FORMAT_JSON };
static const char *const formats[] = {"text", "markdown", "csv", "json", NULL};

#define AT(field) offsetof(compare_options, field)
static const lk_option options[] = {
    {.name = "output",
     .type = LK_OPTION_STRING,
     .offset = AT(output),
     .help = "also write the page with all charts into this HTML file",
     .letter = 'o',
     .optional = true},
    {.name = "format",
     .type = LK_OPTION_CHOICE,
     .offset = AT(format),
     .default_text = "text",
     .choices = formats,
     .help = "of what is printed"},
    {.name = "checkpoint",
     .type = LK_OPTION_CHOICE,
     .offset = AT(checkpoint),
     .default_text = "best_f1",
     .choices = checkpoints,
     .help = "whose predictions are compared"},
    {.name = "resamples",
     .type = LK_OPTION_INT,
     .offset = AT(resamples),
     .default_text = "10000",
     .min = 100,
     .max = 1000000,
     .help = "of the bootstrap"},
    {.name = "seed",
     .type = LK_OPTION_INT,
     .offset = AT(seed),
     .default_text = "1",
     .max = 9007199254740992.0,
     .help = "of the bootstrap"},
    {.name = "thumbnails",
     .type = LK_OPTION_INT,
     .offset = AT(thumbnails),
     .default_text = "24",
     .max = 1000,
     .help = "wrongly classified images of each recipe on the page; 0: none"},
    {.name = "allow-different-data",
     .type = LK_OPTION_BOOL,
     .offset = AT(allow_different),
     .default_text = "false",
     .help = "runs of other data sets or splits too: figures, but no intervals"},
    {.name = "decision",
     .type = LK_OPTION_BOOL,
     .offset = AT(decision),
     .default_text = "false",
     .help = "also each recipe with the decision layer of 'lockstep calibrate', fitted on its validation predictions"},
    LK_COMMAND_HELP(AT(help)),
};

static lk_status print(const lk_comparison *comparison, int format, lk_error *err) {
    switch (format) {
        case FORMAT_MARKDOWN: return lk_comparison_write_markdown(comparison, stdout, err);
        case FORMAT_JSON: return lk_comparison_write_json(comparison, stdout, err);
        case FORMAT_CSV: lk_comparison_write_csv(comparison, stdout); return LK_OK;
        default: lk_comparison_print(comparison, stdout); return LK_OK;
    }
}

static lk_status compare(const compare_options *given, char *const *folders, int count, lk_error *err) {
    lk_status status = LK_OK;
    lk_run_record **runs = NULL;
    int read = 0;
    lk_comparison *comparison = NULL;
    lk_comparison_config config = {.best = given->checkpoint == 0 ? LK_BEST_F1 : LK_BEST_LOSS,
                                   .resamples = (int)given->resamples,
                                   .seed = (uint64_t)given->seed,
                                   .allow_different = given->allow_different};
    LK_TRY(LK_NEW(&runs, 2 * count, "runs", err));
    for (int i = 0; i < count; i++) {
        LK_TRY(lk_run_record_read(&runs[read++], folders[i], err));
        if (!given->decision || runs[read - 1]->predictions[config.best][LK_FINAL_VALIDATION].count == 0) continue;
        LK_TRY(lk_run_record_read(&runs[read++], folders[i], err));
        LK_TRY(lk_run_record_decide(runs[read - 1], err));
    }
    LK_TRY(lk_comparison_create(&comparison, runs, read, &config, err));
    if (given->output != NULL) LK_TRY(lk_page_write(comparison, given->output, (int)given->thumbnails, err));
    LK_TRY(print(comparison, given->format, err));
out:
    lk_comparison_free(comparison);
    for (int i = 0; runs != NULL && i < read; i++) lk_run_record_free(runs[i]);
    lk_free(runs);
    return status;
}

static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    return compare(flags, arguments, count, err);
}

const lk_command lk_command_compare = {
    .synopsis = "compare RUN ... [-o report.html] [options]",
    .about =
        "Compares runs on the same test images: macro-F1 with intervals (bootstrap over images and seeds),\n"
        "whether the differences are shown, and a page with every chart. Runs that differ in the seed alone\n"
        "are one recipe.",
    LK_COMMAND_OPTIONS(options, compare_options),
    .least = 1,
    .most = -1,
    .wrong = "compare needs the folders of runs: lockstep compare RUN ... -o report.html",
    .run = run};
