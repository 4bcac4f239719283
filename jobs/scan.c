/* lockstep scan: what is wrong with a data set before anything is trained on it. */
#include "io/scan/scan.h"

#include <stddef.h>
#include <stdio.h>

#include "core/memory.h"
#include "dist/topology.h"
#include "jobs/command.h"
#include "report/html.h"
#include "report/scan_page.h"

typedef struct scan_options {
    char *output, *csv, *run, *path_column, *label_column, *split_column, *images;
    double similarity;
    int64_t workers, thumbnails;
    bool json, strict, help;
} scan_options;

#define AT(field) offsetof(scan_options, field)
static const lk_option options[] = {
    {.name = "output",
     .type = LK_OPTION_STRING,
     .offset = AT(output),
     .help = "also write the page with pictures of what was found into this HTML file",
     .letter = 'o',
     .optional = true},
    {.name = "csv",
     .type = LK_OPTION_STRING,
     .offset = AT(csv),
     .help = "also write all findings into this CSV file, a line for each image",
     .optional = true},
    {.name = "run",
     .type = LK_OPTION_STRING,
     .offset = AT(run),
     .help = "a finished run, or the folder of lockstep kfold; more may follow: finds likely label errors",
     .optional = true},
    {.name = "similarity",
     .type = LK_OPTION_DOUBLE,
     .offset = AT(similarity),
     .default_text = "0.99",
     .min = 0.9,
     .max = 1,
     .help = "correlation of thumbnails from which images are near duplicates"},
    {.name = "strict",
     .type = LK_OPTION_BOOL,
     .offset = AT(strict),
     .default_text = "false",
     .help = "exit status 1 when there is any finding; else only unreadable images give it"},
    {.name = "json", .type = LK_OPTION_BOOL, .offset = AT(json), .default_text = "false", .help = "the result as JSON"},
    {.name = "thumbnails",
     .type = LK_OPTION_INT,
     .offset = AT(thumbnails),
     .default_text = "240",
     .max = 1000,
     .help = "pictures on the page, at most"},
    {.name = "workers",
     .type = LK_OPTION_INT,
     .offset = AT(workers),
     .default_text = "0",
     .max = 1024,
     .help = "threads; 0: one for each core"},
    {.name = "path-col",
     .type = LK_OPTION_STRING,
     .offset = AT(path_column),
     .default_text = "path",
     .help = "CSV: column of image paths"},
    {.name = "label-col",
     .type = LK_OPTION_STRING,
     .offset = AT(label_column),
     .default_text = "label",
     .help = "CSV: column of class names; '' when there is none"},
    {.name = "split-col",
     .type = LK_OPTION_STRING,
     .offset = AT(split_column),
     .help = "CSV: column of train, validation, test or predict",
     .optional = true},
    {.name = "images",
     .type = LK_OPTION_STRING,
     .offset = AT(images),
     .help = "CSV: folder that the paths start from; without it that of the CSV file",
     .optional = true},
    LK_COMMAND_HELP(AT(help)),
};

static lk_status open_source(lk_scan_source *source, const scan_options *given, const char *path, lk_error *err) {
    const lk_pack_options pack = {.undivided = true,
                                  .path_column = given->path_column,
                                  .label_column = given->label_column,
                                  .split_column = given->split_column,
                                  .images = given->images};
    return lk_scan_source_open(source, path, &pack, err);
}

static lk_status find_label_errors(lk_label_errors *out, const lk_scan_source *source, char *const *runs, int count,
                                   lk_error *err) {
    lk_status status = LK_OK;
    lk_out_of_fold predictions = {0};
    int32_t *labels = NULL;
    if (source->dataset == NULL)
        return lk_fail(err, LK_ERR_CONFIG,
                       "--run needs the packed data set that the run was trained on, not %s: a run names samples by "
                       "their numbers",
                       source->path);
    LK_TRY(lk_out_of_fold_read(&predictions, source->dataset, runs, count, err));
    LK_TRY(LK_NEW(&labels, source->count, "labels", err));
    for (int64_t i = 0; i < source->count; i++) labels[i] = lk_scan_source_label(source, i);
    LK_TRY(lk_label_errors_find(out, &predictions, labels, source->count, source->class_count, err));
out:
    lk_free(labels);
    lk_out_of_fold_free(&predictions);
    return status;
}

static lk_status write_csv(FILE *out, const void *context, lk_error *err) {
    (void)err;
    lk_scan_report_write_csv(context, out);
    return LK_OK;
}

static lk_status write_results(const lk_scan_report *report, const scan_options *given, lk_error *err) {
    if (given->output != NULL) LK_RETURN_IF(lk_scan_page_write(report, given->output, (int)given->thumbnails, err));
    if (given->csv != NULL) LK_RETURN_IF(lk_html_write(given->csv, write_csv, report, err));
    if (given->json) return lk_scan_report_write_json(report, stdout, err);
    lk_scan_report_print(report, stdout);
    return LK_OK;
}

/* Unreadable images fail every training, so that they fail the scan; the rest is for a person to judge. */
static lk_status judge(const lk_scan_report *report, bool strict, lk_error *err) {
    size_t unreadable = report->scan->unreadable_count;
    int64_t findings = lk_scan_report_findings(report);
    const char *path = report->scan->source->path;
    if (unreadable > 0)
        return lk_fail(err, LK_ERR_DATA, "%s has %zu unreadable image%s: replace or remove %s", path, unreadable,
                       unreadable == 1 ? "" : "s", unreadable == 1 ? "it" : "them");
    if (strict && findings > 0)
        return lk_fail(err, LK_ERR_DATA, "%s has %lld finding%s, and --strict allows none", path, (long long)findings,
                       findings == 1 ? "" : "s");
    return LK_OK;
}

/* runs: run_count folders. */
static lk_status scan(const scan_options *given, const char *path, char *const *runs, int run_count, lk_error *err) {
    lk_status status = LK_OK;
    lk_scan_source source = {0};
    lk_scan *found = NULL;
    lk_label_errors labels = {0};
    lk_progress progress = {.out = stderr};
    int cores = (int)given->workers;
    LK_TRY(open_source(&source, given, path, err));
    if (run_count > 0) LK_TRY(find_label_errors(&labels, &source, runs, run_count, err));
    if (cores == 0) LK_TRY(lk_topology_cores(&cores, err));
    for (int64_t i = 0; i < source.report.note_count; i++) fprintf(stderr, "note: %s\n", source.report.notes[i]);
    const lk_scan_config config = {given->similarity, cores, &progress};
    LK_TRY(lk_scan_run(&found, &source, &config, err));
    const lk_scan_report report = {found, run_count > 0 ? &labels : NULL};
    LK_TRY(write_results(&report, given, err));
    LK_TRY(judge(&report, given->strict, err));
out:
    lk_scan_free(found);
    lk_label_errors_free(&labels);
    lk_scan_source_close(&source);
    return status;
}

/* The data set's place is free for the run that stands behind --run. */
static lk_status run(void *flags, char **arguments, int count, lk_error *err) {
    const scan_options *given = flags;
    const char *path = arguments[0];
    if (given->run == NULL && count > 1)
        return lk_fail(err, LK_ERR_USAGE,
                       "scan takes one data set; runs follow --run: lockstep scan DATA --run RUN ...");
    if (given->run != NULL) arguments[0] = given->run;
    return scan(given, path, arguments, given->run == NULL ? 0 : count, err);
}

const lk_command lk_command_scan = {
    .synopsis = "scan DATA [-o report.html] [--csv findings.csv] [--run RUN ...]",
    .about =
        "Reads every image of a data set, a folder or a .csv file, as pack takes them, and finds: unreadable,\n"
        "equal and nearly equal images (across splits, with different labels), blank and grey ones, unusual\n"
        "sizes and shapes, imbalance; with runs that predicted the images, likely label errors.",
    LK_COMMAND_OPTIONS(options, scan_options),
    .least = 1,
    .most = -1,
    .wrong = "scan takes a data set or a folder of images: lockstep scan DATA",
    .run = run};
